"""How near to its device a work's model is, for engines whose requests name it: one way for all of them."""

from __future__ import annotations

from collections.abc import Callable

from engines.engine import Work
from engines.models.memory import Models


class Near:
    """Makes an engine one that `Prefetches`. Its `prepare` has told `models` what lies on disk, as `named` says it."""

    def __init__(self, models: Models) -> None:
        self._models = models

    def named(self, work: Work) -> tuple[str, str]:
        """What the model (or the models, together) are called, and the kind of work."""
        request = work.request
        return getattr(request, "model", ""), request.name

    def prefetch(self, work: Work, wanted: Callable[[], bool]) -> None:
        """Read into main memory what can move from there (TorchScript and ONNX cannot), off the device's thread."""
        self._models.prefetch(*self.named(work), wanted)

    def ready(self, work: Work) -> bool:
        """Whether all of it is on the device."""
        return self._models.ready(*self.named(work))
