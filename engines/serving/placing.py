"""Which device gets the next work: the least work in hand, where a cold model counts as work too. Pure."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from types import MappingProxyType

from engines.request import Request

COLD = 500.0  # row-steps that loading a model is worth
REMEMBERED = 4  # models that a device is taken to hold still


class Placing:
    """Remembers what each device ran last. Mutable; of the event loop alone."""

    def __init__(self) -> None:
        self._served: dict[str, list[str]] = {}  # device → what it ran last, newest last

    def choose(
        self,
        request: Request,
        loads: Mapping[str, float],
        resident: Mapping[str, Collection[str]] = MappingProxyType({}),
        *,
        held: Mapping[str, int] = MappingProxyType({}),
        seats: int = 1,
    ) -> str:
        """The name of the device where `request` will be done first; among equals the one that serves fewest models.

        One that is full gets nothing while another has a seat: else a queue of short works, each worth less than a
        load, would keep to one device for ever.

        `loads`: each device's work in hand, in row-steps; `resident`: names of models in its memory, where known;
        `held`: works in hand, of which `seats` make sense.
        """
        model = getattr(request, "model", "")
        wanted = f"{type(request).name} {model}"

        def price(name: str) -> tuple[float, int]:
            served = self._served.get(name, ())
            warm = wanted in served or model in resident.get(name, ())
            return loads[name] + (0.0 if warm else COLD), len(served)

        seated = [name for name in loads if held.get(name, 0) < seats]
        name = min(seated or loads, key=price)
        served = [w for w in self._served.get(name, []) if w != wanted]
        self._served[name] = [*served, wanted][-REMEMBERED:]
        return name

    def forget(self, name: str) -> None:
        """It was started anew: nothing is loaded there."""
        self._served.pop(name, None)
