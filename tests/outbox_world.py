"""What tests of the outbox share: a clock to be moved on, an outbox at work, and when it has settled."""

from __future__ import annotations

import asyncio
import contextlib
import random
from collections.abc import AsyncIterator, Awaitable, Callable

from chat import NOW, Chat

from bot.answers.outbox import Outbox
from storage.jobs import Job
from storage.results import NewResult
from storage.store import Store


class Clock:
    """Real time that can be moved on, and that can run faster."""

    def __init__(self, speed: float = 1.0) -> None:
        self.ahead = NOW
        self.speed = speed

    def __call__(self) -> float:
        return asyncio.get_running_loop().time() * self.speed + self.ahead


@contextlib.asynccontextmanager
async def running(
    store: Store, *chats: Chat, clock: Clock | None = None, **more: object
) -> AsyncIterator[Outbox]:
    values = {"settle": 0.02, "rng": random.Random(1), **more}
    outbox = Outbox(store, {chat.name: chat for chat in chats}, clock=clock or Clock(), **values)  # type: ignore[arg-type]
    task = asyncio.create_task(outbox.run())
    try:
        yield outbox
    finally:
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await task


async def until(true: Callable[[], Awaitable[object]], seconds: float = 10.0) -> None:
    async with asyncio.timeout(seconds):
        while not await true():  # noqa: ASYNC110 (it is the disk that is looked at)
            await asyncio.sleep(0.01)


async def states(store: Store, job: Job) -> tuple[str, ...]:
    return tuple(d.state for d in await store.deliveries.of(job.id))


async def finish(store: Store, job: Job, count: int = 1, size: int = 1000) -> None:
    await store.jobs.claim(NOW)
    made = [
        NewResult(await store.blobs.put(bytes([n]) * (size - n)), f"nut-{n}.png", "image/png", {}, 8, 8)
        for n in range(count)
    ]
    assert await store.jobs.finish(job.id, results=made, notes=[], seconds=1.0, now=NOW)


async def settled(store: Store, outbox: Outbox, *jobs: Job, seconds: float = 10.0) -> None:
    async def all_settled() -> bool:
        outbox.wake()
        return all([set(await states(store, job)) <= {"sent", "dead"} for job in jobs])

    await until(all_settled, seconds)
