"""accelerate inside a process that serves others too: one `Accelerator` a training, each with a state of its own.

accelerate keeps one state for the whole process, made for scripts: a second training with another precision would be
refused, and the state's device would be the first one's. Here a training's state is put in place for the moment in
which it is read. No launcher, no `prepare`, nothing of the surroundings is read.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch

_one_at_a_time = threading.RLock()


class Accelerated:
    """Mixed precision, loss scaling and gradient clipping on `device`.

    Args:
        precision: "no", "fp16" or "bf16".
    """

    def __init__(self, device: str, precision: str) -> None:
        from accelerate import Accelerator
        from accelerate.state import AcceleratorState, GradientState, PartialState

        self._classes = (PartialState, AcceleratorState, GradientState)
        self._states: list[dict[str, Any]] = [{}, {}, {}]
        self.precision = precision
        with self._in_place():
            self._accelerator = Accelerator(
                mixed_precision=precision, cpu=torch.device(device).type == "cpu", device_placement=False
            )

    @contextmanager
    def _in_place(self) -> Iterator[None]:
        """This training's state as the process's, for so long."""
        with _one_at_a_time:
            before = [dict(cls._shared_state) for cls in self._classes]
            _put(self._classes, self._states)
            try:
                yield
            finally:
                self._states = [dict(cls._shared_state) for cls in self._classes]
                _put(self._classes, before)

    @contextmanager
    def autocast(self) -> Iterator[None]:
        """Compute in the training's precision."""
        with self._in_place():
            context = self._accelerator.autocast()
            context.__enter__()  # the state is read here
        try:
            yield
        finally:
            context.__exit__(None, None, None)

    def backward(self, loss: torch.Tensor) -> None:
        with self._in_place():
            self._accelerator.backward(loss)

    def clip(self, optimizer: Any, parameters: list[torch.Tensor], most: float) -> torch.Tensor:
        """Cut the gradients to length `most` together; the length they had."""
        if self.scaler is not None:
            self.scaler.unscale_(optimizer)
        with self._in_place():
            length: torch.Tensor = self._accelerator.clip_grad_norm_(parameters, most)
        return length

    def step(self, optimizer: Any) -> bool:
        """Move the weights; False where half precision overflowed and the step was left out."""
        if self.scaler is None:
            optimizer.step()
            return True
        before = self.scaler.get_scale()
        self.scaler.step(optimizer)
        self.scaler.update()
        return bool(self.scaler.get_scale() >= before)

    @property
    def scaler(self) -> Any:
        """The gradient scaler of fp16, else None."""
        return self._accelerator.scaler


def _put(classes: tuple[Any, ...], states: list[dict[str, Any]]) -> None:
    for cls, state in zip(classes, states, strict=True):
        cls._shared_state.clear()
        cls._shared_state.update(state)
