"""One resumable training loop for all the small models: schedule, weight average, atomic checkpoints."""

from __future__ import annotations

import json
import math
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from engines.embedded.muon import Muon


@dataclass(frozen=True, slots=True)
class Plan:
    """How long and how fast: learning rates at the peak, steps in all, warm-up steps, seed."""

    steps: int
    rate: float
    warm_up: int = 50
    seed: int = 0
    decay: float = 0.995
    save_every: int = 200
    muon_rate: float = 0.0
    """> 0: matrices and convolutions are trained by Muon at this rate, the rest by AdamW at `rate`."""


def pace(step: int, plan: Plan) -> float:
    """Share of the peak rate at a step: linear warm-up, then half a cosine down to 2 %."""
    if step < plan.warm_up:
        return (step + 1) / plan.warm_up
    done = (step - plan.warm_up) / max(1, plan.steps - plan.warm_up)
    return 0.02 + 0.98 * 0.5 * (1 + math.cos(math.pi * min(1.0, done)))


class Average:
    """Exponential moving average of a module's floating-point state; the mutable thing that is shipped."""

    def __init__(self, module: nn.Module, decay: float) -> None:
        self.decay, self.count = decay, 0
        self.state = {k: v.detach().clone() for k, v in module.state_dict().items()}

    @torch.no_grad()
    def follow(self, module: nn.Module) -> None:
        """Moves towards the module; fast at first so that early exports are not the random start."""
        self.count += 1
        keep = min(self.decay, (1 + self.count) / (10 + self.count))
        for name, value in module.state_dict().items():
            if value.is_floating_point():
                self.state[name].lerp_(value, 1 - keep)
            else:
                self.state[name].copy_(value)


def optimizers(module: nn.Module, plan: Plan) -> list[torch.optim.Optimizer]:
    """AdamW alone, or Muon for the inner weights beside AdamW for the rest."""
    inner: list[nn.Parameter] = []
    rest: list[nn.Parameter] = []
    for name, p in module.named_parameters():
        edge = any(part in name for part in ("conv_in", "conv_out", "embed", "positional", "class_"))
        (inner if plan.muon_rate > 0 and p.ndim >= 2 and not edge else rest).append(p)
    found: list[torch.optim.Optimizer] = [
        torch.optim.AdamW(rest, lr=plan.rate, betas=(0.9, 0.99), weight_decay=0.01)
    ]
    if inner:
        found.append(Muon(inner, lr=plan.muon_rate))
    return found


def write_atomically(path: Path, save: Callable[[Path], Any]) -> None:
    """Lets `save` write beside the path, then renames: a reader sees the old file or the new one."""
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(path.name + ".part")
    save(part)
    part.replace(path)


def train(
    name: str,
    module: nn.Module,
    plan: Plan,
    work: Path,
    loss_of: Callable[[nn.Module, np.random.Generator, int], tuple[Tensor, dict[str, float]]],
    until: int | None = None,
) -> dict[str, Tensor]:
    """Trains `module` to `plan.steps`, from the last checkpoint in `work` if there is one.

    Each step draws its data from a generator seeded by (seed, step), so a resumed run sees the same data as an
    unbroken one; `until` stops early without changing the schedule. Logs a line of losses every 20 steps.
    Returns the averaged weights.
    """
    path = work / f"{name}.pt"
    movers, average, first = optimizers(module, plan), Average(module, plan.decay), 0
    if path.exists():
        kept = torch.load(path, weights_only=True, map_location=next(module.parameters()).device)
        module.load_state_dict(kept["module"])
        average.state, average.count, first = kept["average"], kept["count"], kept["step"]
        for mover, state in zip(movers, kept["movers"], strict=True):
            mover.load_state_dict(state)
    rates = [plan.rate, plan.muon_rate][: len(movers)]
    log, began = work / f"{name}.log.jsonl", time.perf_counter()
    module.train()
    for step in range(first, min(plan.steps, until or plan.steps)):
        torch.manual_seed(plan.seed * 1_000_003 + step)
        loss, notes = loss_of(module, np.random.default_rng([plan.seed, step]), step)
        _move(module, movers, rates, loss, pace(step, plan))
        average.follow(module)
        if step % 20 == 0:
            line = {"step": step, "loss": round(loss.item(), 5), **{k: round(v, 5) for k, v in notes.items()}}
            line["seconds"] = round((time.perf_counter() - began) / (step - first + 1), 3)
            _append(log, line)
        if (step + 1) % plan.save_every == 0 or step + 1 == plan.steps:
            state = {"module": module.state_dict(), "average": average.state, "count": average.count,
                     "step": step + 1, "movers": [m.state_dict() for m in movers]}  # fmt: skip
            write_atomically(path, partial(torch.save, state))
    return average.state


def _move(
    module: nn.Module, movers: list[torch.optim.Optimizer], rates: list[float], loss: Tensor, share: float
) -> None:
    for mover, rate in zip(movers, rates, strict=True):
        mover.zero_grad(set_to_none=True)
        for group in mover.param_groups:
            group["lr"] = rate * share
    torch.autograd.backward(loss)
    nn.utils.clip_grad_norm_(module.parameters(), 1.0)
    for mover in movers:
        mover.step()


def _append(path: Path, line: dict[str, Any]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("a") as file:
        file.write(json.dumps(line) + "\n")
    print(json.dumps(line), flush=True)
