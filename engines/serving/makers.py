"""The engines of one device, each made when it is first asked for."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping

from engines.devices import Device
from engines.engine import Engine
from engines.requests import Request

log = logging.getLogger(__name__)

Factory = Callable[[Device], Engine]


class Makers:
    """Request class → engine; classes with the same factory share one. Belongs to the device's thread."""

    def __init__(self, device: Device, factories: Mapping[type[Request], Factory]) -> None:
        self._device = device
        self._factories = factories
        self._engines: dict[Factory, Engine] = {}

    def make_all(self) -> None:
        """Now, because imports take seconds and nobody waits yet. What fails is tried again when it is wanted."""
        for asked in self._factories:
            try:
                self.engine(asked)
            except Exception:
                log.exception("lane %s: no engine for /%s yet", self._device.name, asked.name)

    def engine(self, asked: type[Request]) -> Engine:
        """The engine for such requests. Raises what its factory raises."""
        factory = self._factories[asked]
        if factory not in self._engines:
            self._engines[factory] = factory(self._device)
        return self._engines[factory]
