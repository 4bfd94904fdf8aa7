"""An optimizer's state away from the device while others need the memory: what it computes stays the same to the bit.

Adam's two numbers for each trained weight are needed for a moment a step. While they are away the step is taken a few
weights at a time: their numbers come, the optimizer moves these weights alone (Adam is elementwise), the numbers go
back. From a GPU they go to the host's memory, pinned; on the CPU, whose memory is the host's, to an unnamed file that
is mapped in.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import torch
from torch.optim import Optimizer

from engines.training.accelerated import Accelerated

CHUNK = 64 * 2**20  # bytes of state brought back at once
PAGE = 4096  # bytes; smaller tensors are not worth a mapping


class Away:
    """One optimizer's state, away until `back`.

    Args:
        folder: of the training, for the file where the device is the CPU.
    """

    def __init__(self, optimizer: Optimizer, folder: Path) -> None:
        self._optimizer = optimizer
        self._folder = folder
        self._each(self._sent)

    def step(self, step: Callable[[], None]) -> None:
        """`optimizer.step()` for a part of the weights after the other. All have moved, or the error is raised."""
        whole = {weight: weight.grad for weight in _weights(self._optimizer)}
        try:
            for part in self._parts():
                for weight in whole:
                    weight.grad = whole[weight] if weight in part else None
                self._each(_brought, part)
                step()
                self._each(self._sent, part)
        finally:
            for weight, gradient in whole.items():
                weight.grad = gradient

    def whole(self, step: Callable[[], bool]) -> bool:
        """`step` with everything on the device, for a loss scaler, which takes one step at a time."""
        self.back()
        try:
            return step()
        finally:
            self._each(self._sent)

    def back(self) -> None:
        """Everything on the device again."""
        self._each(_brought)

    def _parts(self) -> Iterator[set[torch.Tensor]]:
        part: set[torch.Tensor] = set()
        size = 0
        for weight in _weights(self._optimizer):
            part.add(weight)
            size += 2 * weight.nbytes
            if size >= CHUNK:
                yield part
                part, size = set(), 0
        if part:
            yield part

    def _each(
        self,
        move: Callable[[torch.Tensor, torch.Tensor], torch.Tensor],
        only: set[torch.Tensor] | None = None,
    ) -> None:
        """Move the states of the weights."""
        for weight, state in self._optimizer.state.items():
            if only is not None and weight not in only:
                continue
            for name, value in list(_large(weight, state)):
                state[name] = move(weight, value)

    def _sent(self, weight: torch.Tensor, value: torch.Tensor) -> torch.Tensor:
        if weight.device.type == "cpu":
            return self._mapped(value)
        pinned = torch.empty_like(value, device="cpu", pin_memory=weight.device.type == "cuda")
        return pinned.copy_(value)

    def _mapped(self, value: torch.Tensor) -> torch.Tensor:
        """The same numbers in a file without a name: its pages leave the memory when others need it."""
        if value.nbytes < PAGE:
            return value.clone()
        with tempfile.NamedTemporaryFile(dir=self._folder) as file:
            file.truncate(value.nbytes)
            flat = torch.from_file(file.name, shared=True, size=value.numel(), dtype=value.dtype)
        return flat.view(value.shape).copy_(value)


def _brought(weight: torch.Tensor, value: torch.Tensor) -> torch.Tensor:
    return value.to(weight.device, copy=True)


def _weights(optimizer: Optimizer) -> list[torch.Tensor]:
    return [weight for group in optimizer.param_groups for weight in group["params"]]


def _large(weight: torch.Tensor, state: dict[str, Any]) -> Iterator[tuple[str, torch.Tensor]]:
    """What there is one number of for each weight."""
    for name, value in state.items():
        if isinstance(value, torch.Tensor) and value.numel() == weight.numel() > 1:
            yield name, value


def moved(away: Away | None, accelerated: Accelerated, optimizer: Optimizer) -> bool:
    """The optimizer's step, wherever its state is; False where half precision overflowed and it was left out."""
    if away is None:
        return accelerated.step(optimizer)
    if accelerated.scaler is not None:
        return away.whole(lambda: accelerated.step(optimizer))
    away.step(optimizer.step)
    return True
