"""What tests of the dispatcher share: a pool that is a script, an ear in the place of the outbox, and waiting."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncGenerator, AsyncIterator, Callable

from chat import NOW

from bot.dispatcher import Dispatcher
from engines.engine import Work
from engines.events import Artifact, Event, Finished, Progress, Started
from engines.words import Words
from storage.jobs import Job
from storage.store import Store


class Ear:
    """What the outbox would hear."""

    def __init__(self) -> None:
        self.shown: list[tuple[int, Progress | None, float | None]] = []
        self.woken = 0

    def wake(self) -> None:
        self.woken += 1

    def show(self, job_id: int, progress: Progress | None = None, eta: float | None = None) -> None:
        self.shown.append((job_id, progress, eta))


def picture(work: Work, name: str = "nut.png") -> Artifact:
    path = work.folder / name
    path.write_bytes(b"picture of job %d" % work.id)
    return Artifact(path, name, recipe={"seed": 7}, width=8, height=8)


class Script:
    """A pool with `slots`; what `play` yields is what the device would tell. Counts what runs."""

    def __init__(
        self, play: Callable[[Work], AsyncGenerator[Event, None]] | None = None, slots: int = 2
    ) -> None:
        self.play = play or self.simple
        self.slots = slots
        self.inside = 0
        self.most = 0
        self.ran: list[int] = []
        self.closed: list[int] = []

    def room(self, *, newcomers: bool = False) -> int:
        return max(0, self.slots * (2 if newcomers else 1) - self.inside)

    def hold(self, job: int) -> None:
        pass

    async def run(self, work: Work) -> AsyncGenerator[Event, None]:
        self.inside += 1
        self.most = max(self.most, self.inside)
        self.ran.append(work.id)
        try:
            async with contextlib.aclosing(self.play(work)) as events:
                async for event in events:
                    yield event
        finally:
            self.inside -= 1
            self.closed.append(work.id)

    async def simple(self, work: Work) -> AsyncGenerator[Event, None]:
        yield Started("test")
        for step in range(1, 4):
            await asyncio.sleep(0.005)
            yield Progress(step, 3)
        yield Finished((picture(work),), 0.5, (Words("a note", "알림"),))


@contextlib.asynccontextmanager
async def running(store: Store, pool: Script, ear: Ear | None = None) -> AsyncIterator[Dispatcher]:
    dispatcher = Dispatcher(store, pool, ear or Ear(), clock=lambda: NOW)
    task = asyncio.create_task(dispatcher.run())
    try:
        yield dispatcher
    finally:
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await task


async def ended(store: Store, job: Job, seconds: float = 10.0) -> Job:
    async with asyncio.timeout(seconds):
        while (now := await store.jobs.get(job.id)) is None or now.state in ("queued", "running"):  # noqa: ASYNC110
            await asyncio.sleep(0.005)
    return now


async def until(true: Callable[[], bool], seconds: float = 10.0) -> None:
    async with asyncio.timeout(seconds):
        while not true():  # noqa: ASYNC110
            await asyncio.sleep(0.005)
