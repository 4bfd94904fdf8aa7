"""The time of a device that a job used counts for its person, whatever the job's end; once."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator
from datetime import datetime
from pathlib import Path

import pytest
from chat import NOW, add_job
from test_dispatcher import Script, ended, picture, running, until
from toy_engine import CPU, Count, Toy

from engines.engine import Work
from engines.events import Event, Failed, Finished, Progress, Started
from engines.serving.pool import Pool
from engines.words import Words
from storage.store import Store

pytestmark = pytest.mark.timeout(60)
DAY = datetime.fromtimestamp(NOW).date().isoformat()


@pytest.fixture
async def store(tmp_path: Path) -> AsyncIterator[Store]:
    async with await Store.open(tmp_path) as store:
        yield store


async def used(store: Store) -> tuple[int, float]:
    """Jobs done and seconds, of all people today."""
    lines = await store.usage.of("all", "", DAY)
    return sum(line.jobs for line in lines), sum(line.seconds for line in lines)


def playing(*events: Event, for_ever: bool = False) -> Script:
    async def play(work: Work) -> AsyncGenerator[Event, None]:
        yield Started("test")
        for event in events:
            await asyncio.sleep(0)
            yield event
        if for_ever:
            await asyncio.sleep(3600)
        yield Finished((picture(work),), 4.0)

    return Script(play)


async def test_what_fails_counts_the_time_it_took_of_the_device(store: Store) -> None:
    job = await add_job(store)
    failed = Failed(Words("no", "아니요"), seconds=2.5)
    async with running(store, playing(Progress(1, 3, seconds=1.0), failed)):
        end = await ended(store, job)
    assert (end.state, end.seconds) == ("failed", 2.5)
    assert await used(store) == (0, 2.5)
    today = await store.usage.today("person", job.person, NOW - 3600, DAY)
    assert (today.jobs, today.seconds) == (0, 2.5), "the job is given back, its time is not"


async def test_what_is_cancelled_counts_until_then(store: Store) -> None:
    job, pool = await add_job(store), playing(Progress(2, 9, seconds=1.5), for_ever=True)
    async with running(store, pool) as dispatcher:
        await until(lambda: bool(dispatcher._used))
        assert await store.jobs.cancel(job.id, now=NOW)
        dispatcher.cancel(job.id)
        await until(lambda: not dispatcher._tasks)
    assert await used(store) == (0, 1.5)


async def test_what_never_had_a_device_counts_nothing(store: Store) -> None:
    job = await add_job(store)
    await store.jobs.cancel(job.id, now=NOW)
    assert await used(store) == (0, 0.0)


@pytest.mark.parametrize("told", [True, False], ids=["by the pool", "by a signal"])
async def test_what_is_interrupted_by_a_stop_counts_both_lives_once(store: Store, told: bool) -> None:
    job = await add_job(store)
    halt = [Failed(Words("stop", "중지"), "stopped", seconds=1.5)] if told else []
    pool = playing(Progress(2, 9, seconds=1.5), *halt, for_ever=not told)
    async with running(store, pool) as dispatcher:
        await until(lambda: dispatcher._closed if told else bool(dispatcher._used))
    assert (await store.jobs.get(job.id) or job).state == "queued"
    assert await used(store) == (0, 1.5)
    async with running(store, playing(Progress(9, 9, seconds=3.9))):
        end = await ended(store, job)
    assert end.seconds == 5.5, "of both lives, as it is told"
    assert await used(store) == (1, 5.5)
    (speed,) = (await store.together.work(9))[0]
    assert speed.seconds == 5.5, "what is learnt from it is not half of the truth"


async def test_what_is_paused_counts_until_then_and_goes_on(store: Store) -> None:
    job, pool = await add_job(store), playing(Progress(2, 9, seconds=1.5), for_ever=True)
    pool.hold = lambda job_id: None  # type: ignore[attr-defined]
    async with running(store, pool) as dispatcher:
        await until(lambda: bool(dispatcher._used))
        await store.jobs.pause(job.id)
        dispatcher.pause(job.id)
        await until(lambda: not dispatcher._tasks)
        assert await used(store) == (0, 1.5)
        pool.play = playing().play
        await store.jobs.resume(job.id)
        dispatcher.wake()
        end = await ended(store, job)
    assert end.seconds == 5.5
    assert await used(store) == (1, 5.5)


async def test_the_pool_tells_what_a_run_used_whatever_its_end(tmp_path: Path) -> None:
    toy = Toy(slow=0.02)
    pool = Pool({Count: lambda device: toy}, [CPU])
    await pool.start()

    async def told(number: int, **request: int) -> list[Event]:
        (folder := tmp_path / str(number)).mkdir()
        return [event async for event in pool.run(Work(number, "kim", Count(**request), folder))]

    failed = await told(1, steps=9, bad_at=3)
    done = await told(2, steps=5)
    broken = await told(3, steps=5, refuse=True)
    await pool.stop(5)
    (end,) = [event for event in failed if isinstance(event, Failed)]
    assert 0.06 <= end.seconds < 1
    steps = [event.seconds for event in done if isinstance(event, Progress)]
    assert steps == sorted(steps)
    assert steps[-1] >= 0.1
    assert isinstance(broken[-1], Failed)
    assert broken[-1].seconds < 0.02
