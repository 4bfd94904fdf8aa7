"""How long one still has to wait: the fair order played forward, what is learnt, and what is said of it."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncGenerator
from pathlib import Path

import pytest
from chat import NOW, add_job
from hypothesis import given
from hypothesis import strategies as st
from test_dispatcher import Ear, Script, until

from bot.dispatcher import Dispatcher
from bot.locale.numbers import about
from bot.waiting import Forecast, Task, ends, rates, speed_of
from engines.engine import Work
from engines.events import Event, Progress, Started
from storage.store import Store

TASKS = st.lists(
    st.builds(
        Task,
        id=st.just(0),
        person=st.sampled_from("abcd"),
        seconds=st.floats(0.1, 100.0),
        weight=st.just(1.0),
        background=st.booleans(),
    ),
    max_size=12,
)


def numbered(tasks: list[Task], first: int = 0) -> list[Task]:
    return [Task(first + i, t.person, t.seconds, t.weight, t.background) for i, t in enumerate(tasks)]


@given(TASKS, TASKS, st.integers(1, 6))
def test_all_end_and_one_device_is_never_idle(hand: list[Task], line: list[Task], slots: int) -> None:
    held, waiting = numbered(hand), numbered(line, len(hand))
    ended = ends(held, waiting, slots=slots)
    assert set(ended) == {task.id for task in [*held, *waiting]}
    work = sum(task.seconds for task in [*held, *waiting])
    assert max(ended.values(), default=0.0) == pytest.approx(work, rel=1e-6)


@given(TASKS, st.integers(1, 4))
def test_no_task_has_more_than_a_device_nor_all_more_than_there_are(tasks: list[Task], devices: int) -> None:
    given_out = rates(numbered(tasks), devices, 0.1)
    assert all(0 < part <= 1 + 1e-6 for part in given_out.values())
    assert sum(given_out.values()) <= devices + 1e-6


def test_a_light_person_does_not_wait_for_a_hog() -> None:
    hog = [Task(i, "hog", 100.0) for i in range(3)]
    ended = ends([*hog, Task(9, "light", 10.0)], [], slots=8)
    assert ended[9] == pytest.approx(20.0)


def test_one_behind_a_full_device_waits_for_a_seat() -> None:
    ended = ends([Task(1, "a", 10.0)], [Task(2, "a", 5.0)], slots=1)
    assert ended == {1: pytest.approx(10.0), 2: pytest.approx(15.0)}


def test_who_has_nothing_in_hand_finds_a_seat_on_a_full_device() -> None:
    line = [Task(2, "a", 5.0), Task(3, "b", 5.0), Task(4, "c", 5.0)]
    ended = ends([Task(1, "a", 10.0)], line, slots=1)
    assert ended[3] == pytest.approx(10.0), "half of the device, from the start"
    assert ended[1] == ended[4] == pytest.approx(20.0), "one of them, and the next newcomer"
    assert ended[2] == pytest.approx(25.0)


def test_a_training_gives_way_and_loses_little_time_of_others() -> None:
    ended = ends([Task(1, "a", 90.0, background=True), Task(2, "b", 9.0)], [], slots=4)
    assert ended[2] == pytest.approx(10.0)
    assert ended[1] == pytest.approx(99.0)


async def test_nothing_is_promised_where_nothing_is_known(store: Store) -> None:
    job = await add_job(store)
    assert await Forecast(store, clock=lambda: NOW).told(job.id) is None


async def test_what_a_job_took_is_learnt_and_lasts(tmp_path: Path) -> None:
    async with await Store.open(tmp_path) as store:
        job = await add_job(store, cost=50.0)
        await store.jobs.claim(NOW)
        speed = speed_of(job, 1.0, "cpu", 25.0)
        assert await store.jobs.finish(job.id, results=[], notes=[], seconds=25.0, now=NOW, speed=speed)
    async with await Store.open(tmp_path) as store:
        one, two = await add_job(store, "k2", cost=80.0), await add_job(store, "k3", cost=20.0)
        forecast = Forecast(store, clock=lambda: NOW, slots=1)
        assert await forecast.seconds(one.id) == pytest.approx(40.0)
        assert await forecast.seconds(two.id) == pytest.approx(50.0)
        await store.jobs.claim(NOW)
        forecast.heard(one.id, Progress(3, 4), None)
        forecast.changed()
        assert await forecast.seconds(two.id) == pytest.approx(20.0)


async def one_done(store: Store) -> None:
    """A job of cost 50 that took 25 seconds: speeds are known from it."""
    first = await add_job(store, cost=50.0)
    await store.jobs.claim(NOW)
    speed = speed_of(first, 1.0, "cpu", 25.0)
    assert await store.jobs.finish(first.id, results=[], notes=[], seconds=25.0, now=NOW, speed=speed)


async def test_what_was_told_is_corrected_by_how_the_last_ones_turned_out(store: Store) -> None:
    now = [NOW]
    forecast = Forecast(store, clock=lambda: now[0], slots=1)
    await one_done(store)
    for k in range(30):
        job = await add_job(store, f"late{k}", cost=20.0)
        told = await forecast.seconds(job.id)
        assert told is not None
        await store.jobs.cancel(job.id, now=NOW)
        now[0] += 20.0  # 10 were worked out
        forecast.over(job.id, well=True)
    assert told == pytest.approx(20.0, rel=0.1)


@pytest.mark.parametrize("waits", [True, False], ids=["in line", "at work"])
async def test_what_is_cancelled_is_forgotten_and_corrects_nothing(store: Store, waits: bool) -> None:
    """Cancelled at once it took no time, which says nothing of how long others take."""
    now = [NOW]
    forecast = Forecast(store, clock=lambda: now[0], slots=1)
    await one_done(store)
    pool = Script(slots=0 if waits else 2)
    pool.play = for_ever
    dispatcher = Dispatcher(store, pool, Ear(), clock=lambda: now[0], forecast=forecast)
    task = asyncio.create_task(dispatcher.run())
    for k in range(5):
        job = await add_job(store, f"more{k}", cost=20.0)
        forecast.changed()
        assert await forecast.seconds(job.id) == pytest.approx(10.0)
        dispatcher.wake()
        await until(lambda: waits or bool(pool.inside))
        await store.jobs.cancel(job.id, now=NOW)
        dispatcher.cancel(job.id)
        await until(lambda: not dispatcher._tasks)
    assert forecast._told == {}
    task.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await task


async def for_ever(work: Work) -> AsyncGenerator[Event, None]:
    yield Started("test")
    await asyncio.sleep(3600)


async def test_a_job_that_did_not_end_well_teaches_nothing(store: Store) -> None:
    job = await add_job(store)
    speed = speed_of(job, 1.0, "cpu", 25.0)
    await store.jobs.cancel(job.id, now=NOW)
    assert await store.jobs.finish(job.id, results=[], notes=[], seconds=1.0, now=NOW, speed=speed) is None
    assert (await store.together.work(0))[0] == []


def test_a_wait_is_said_without_false_precision() -> None:
    said = [about(s).en for s in (2, 8, 42, 58, 100, 200, 1000, 4000, 9000)]
    assert said == [
        "a few seconds", "about 10 s", "about 40 s", "1–2 minutes", "1–2 minutes", "about 3 minutes",
        "about 15 minutes", "about an hour", "about 2 hours",
    ]  # fmt: skip
    assert about(42).ko == "약 40초"
