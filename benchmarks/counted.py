"""What something costs: time, and what goes through the UNets."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch


@dataclass(slots=True)
class Counted:
    """What went through the UNets."""

    calls: int = 0
    rows: int = 0

    @contextmanager
    def of(self, unets: Iterable[torch.nn.Module]) -> Iterator[None]:
        def count(module: Any, args: tuple[torch.Tensor, ...]) -> None:
            self.calls += 1
            self.rows += len(args[0])

        hooks = [unet.register_forward_pre_hook(count) for unet in unets]
        try:
            yield
        finally:
            for hook in hooks:
                hook.remove()


@dataclass(frozen=True, slots=True)
class Figures:
    """One side's cost of all the requests."""

    wall: float  # seconds
    processor: float  # seconds over all cores
    calls: int  # of the UNet
    rows: int


def measured(what: Callable[[], None], unets: Iterable[torch.nn.Module]) -> Figures:
    counted = Counted()
    with counted.of(unets):
        wall, processor = time.perf_counter(), time.process_time()
        what()
        wall, processor = time.perf_counter() - wall, time.process_time() - processor
    return Figures(wall, processor, counted.calls, counted.rows)
