"""What the bot needs of the devices, wherever they are: this process's own (`pool`) or a Ray cluster's (`ray_pool`)."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from typing import TYPE_CHECKING, Protocol

from engines.engine import Work
from engines.events import Event

if TYPE_CHECKING:
    from engines.serving.pool import DeviceStatus, Held

NEWCOMERS = 2  # times as many works are taken on, where each further one is its person's only one


class Serves(Protocol):
    """Devices that run works. `tests/pool_conformance.py` is what each of them must keep."""

    async def start(self) -> None:
        """Open. Works handed over wait until the engines are there; `Refusal` where there can be no devices."""
        ...

    async def stop(self, grace: float) -> None:
        """Finish the step in hand, suspend every run; `grace` seconds at most.

        Whatever is in flight then ends with `Failed` of code "stopped".
        """
        ...

    @property
    def width(self) -> int:
        """How many works in flight make sense, on all devices together; known once it has started."""
        ...

    def room(self, *, newcomers: bool = False) -> int:
        """How many more works it makes sense to hand over now; `newcomers`: of people who have none here."""
        ...

    def alive(self) -> dict[str, bool]:
        """Whether each device can work."""
        ...

    def running(self) -> list[Held]:
        """What every device holds now."""
        ...

    def status(self) -> list[DeviceStatus]:
        """Every device as it is now. Waits for nothing; from any thread."""
        ...

    def hold(self, job: int) -> None:
        """Closing this job's run from now on is no cancelling: it keeps a checkpoint."""
        ...

    def run(self, work: Work) -> AsyncGenerator[Event, None]:
        """`Started`, the newest `Progress` each time, then exactly one `Finished` or `Failed`.

        Use it as `async with aclosing(pool.run(work)) as events`: closing it early cancels the run within a tick.
        """
        ...
