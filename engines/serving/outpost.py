"""One device of a cluster: an ordinary pool in a process that Ray starts and watches over. Knows nothing of Ray."""

from __future__ import annotations

import asyncio
import os
import platform
from collections.abc import AsyncGenerator, Callable
from contextlib import aclosing
from dataclasses import dataclass
from pathlib import Path
from secrets import token_hex

from engines.engine import Work
from engines.events import Event
from engines.serving.pool import DeviceStatus
from engines.serving.serves import Serves


@dataclass(frozen=True, slots=True)
class Report:
    """An outpost as it is now."""

    life: str  # another one after each start of its process
    host: str
    process: int
    status: DeviceStatus


class Outpost:
    """What Ray makes an actor of. Its methods are called from afar, several at once.

    Args:
        open: makes the pool, with one device.
    """

    def __init__(self, open: Callable[[], Serves]) -> None:
        self._pool = open()
        self._life = token_hex(8)
        self._open = False
        self._inside: dict[Path, asyncio.Event] = {}  # folders of works whose runs are not closed yet

    async def _start(self) -> None:
        if not self._open:
            self._open = True
            await self._pool.start()

    async def report(self) -> Report:
        await self._start()
        return Report(self._life, platform.node(), os.getpid(), self._pool.status()[0])

    async def run(self, work: Work) -> AsyncGenerator[Event, None]:
        """As a pool's own."""
        await self._start()
        closed = self._inside[work.folder] = asyncio.Event()
        try:
            async with aclosing(self._pool.run(work)) as events:
                async for event in events:
                    yield event
        finally:
            del self._inside[work.folder]
            closed.set()

    async def hold(self, job: int) -> None:
        self._pool.hold(job)

    async def gone(self, work: Work) -> bool:
        """Waits until the run is closed; whether nothing touches `work.folder` any more."""
        if closed := self._inside.get(work.folder):
            await closed.wait()
        return all(held.job != work.id for held in self._pool.running())

    async def stop(self, grace: float) -> None:
        await self._pool.stop(grace)
