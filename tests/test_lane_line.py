"""Who waits for memory on a lane, for whom, and what a bug of a library's does to others."""

from __future__ import annotations

import asyncio
import threading
from typing import Any

import pytest
from pool_conformance import all_of, ends
from toy_engine import Toy, pool_of

from engines.engine import Busy, Work
from engines.events import Failed, Finished
from engines.serving.lane import Pace
from engines.words import Words

pytestmark = pytest.mark.timeout(60)

FULL = Busy(Words("no room", "자리가 없습니다"))


class PanicException(BaseException):
    """What a library written in Rust raises where it breaks: no `Exception` (pyo3)."""


async def test_who_finds_no_seat_waits_for_one_that_is_being_finished(ask: Any) -> None:
    """A run that is decoded holds its model still."""
    ending = threading.Event()
    toy = Toy(seats=1, piece=0.02)
    toy.on_finish = lambda run: None
    async with pool_of(toy) as pool:
        first = asyncio.create_task(all_of(pool, ask("kim", steps=1, pieces=20)))
        while ("piece", 1) not in toy.log:  # noqa: ASYNC110
            await asyncio.sleep(0.005)
        ending.set()
        (end,) = ends(await all_of(pool, ask("lee", steps=1)))
        assert isinstance(end, Finished), end
        assert isinstance((await first)[-1], Finished)


async def test_who_waits_for_a_training_to_end_lets_others_pass(ask: Any) -> None:
    """A large model beside a training has no room for an hour: whoever has room goes on meanwhile."""
    toy, over = Toy(), threading.Event()

    def begin(work: Work) -> None:
        if work.person == "large" and not over.is_set():
            raise FULL

    def finish(run: Any) -> None:
        if run.background:
            over.set()

    toy.on_begin, toy.on_finish = begin, finish
    async with pool_of(toy) as pool:
        training = asyncio.create_task(all_of(pool, ask("trainer", steps=400, background=True, group="t")))
        while ("begin", 1) not in toy.log:  # noqa: ASYNC110
            await asyncio.sleep(0.005)
        toy.slow = 0.005
        large = asyncio.create_task(all_of(pool, ask("large", steps=2)))
        await asyncio.sleep(0.02)
        (end,) = ends(await all_of(pool, ask("small", steps=2)))
        assert isinstance(end, Finished)
        assert not over.is_set(), "it passed"
        toy.slow = 0.0
        assert isinstance((await large)[-1], Finished)
        assert isinstance((await training)[-1], Finished)
    begun = [number for what, number in toy.log if what == "begin"]
    assert begun == [1, 3, 2]


async def test_who_waits_for_a_training_can_be_cancelled_and_is_told_of_the_stop(ask: Any) -> None:
    toy = Toy(slow=0.005)
    training: list[str] = []

    def begin(work: Work) -> None:
        if work.person == "large":
            training.append("asked")
            raise FULL

    toy.on_begin = begin
    async with pool_of(toy) as pool:
        first = asyncio.create_task(all_of(pool, ask("trainer", steps=10**6, background=True)))
        await asyncio.sleep(0.05)
        waits, stays = ask("large"), ask("large")
        reading = [asyncio.create_task(all_of(pool, work)) for work in (waits, stays)]
        while len(training) < 2:  # noqa: ASYNC110
            await asyncio.sleep(0.005)
        reading[0].cancel()
        with pytest.raises(asyncio.CancelledError):
            await reading[0]
        assert [held.job for held in pool.running()] == [1, stays.id]
    (end,) = ends(await reading[1])
    assert isinstance(end, Failed)
    assert end.code == "stopped"
    await first
    assert len(training) == 2, "nobody asks again and again while nothing has changed"


@pytest.mark.parametrize("where", ["on_begin", "on_advance", "on_finish", "on_pack"])
async def test_a_library_that_panics_fails_its_own_work_alone(ask: Any, where: str) -> None:
    toy, culprit = Toy(pack=True, slow=0.005), ask("lee", steps=3)

    def panic(*args: Any) -> None:
        told = args[0] if args else None
        works = [run.work for run in told] if isinstance(told, list) else [getattr(told, "work", told)]
        if told is None or culprit in works:
            raise PanicException("index out of bounds")

    async with pool_of(toy) as pool:
        mate = asyncio.create_task(all_of(pool, ask("kim", steps=60)))
        await asyncio.sleep(0.05)
        setattr(toy, where, panic)
        (end,) = ends(await all_of(pool, culprit))
        setattr(toy, where, lambda *_: None)
        assert isinstance(end, Failed)
        assert end.code == "error"
        assert isinstance((await mate)[-1], Finished)
    assert toy.held == 0


async def test_a_library_that_panics_ahead_of_a_work_fails_it(ask: Any) -> None:
    class Preparing(Toy):
        def prepare(self, work: Work) -> None:
            if work.person == "lee":
                raise PanicException("index out of bounds")

    async with pool_of(Preparing()) as pool:
        async with asyncio.timeout(10):
            (end,) = ends(await all_of(pool, ask("lee")))
        assert isinstance(end, Failed)
        assert isinstance((await all_of(pool, ask("kim")))[-1], Finished)


async def test_what_a_broken_tick_ended_does_not_begin_later(
    ask: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A work that was being prepared then comes to a lane that is done with it."""
    hold = threading.Event()

    class Preparing(Toy):
        def prepare(self, work: Work) -> None:
            if work.person == "lee":
                hold.wait(5)

    toy = Preparing(slow=0.005)
    async with pool_of(toy, pace=Pace(preview_every=0)) as pool:
        late = ask("lee")
        events = pool.run(late)
        reading = asyncio.create_task(anext(events))
        runs = asyncio.create_task(all_of(pool, ask("kim", steps=10**6)))
        await asyncio.sleep(0.05)
        with monkeypatch.context() as patch:
            patch.setattr("engines.serving.lane.step", lambda *_: 1 / 0)
            assert isinstance((await runs)[-1], Failed)
        assert isinstance(await reading, Failed), "told, and not closed yet"
        hold.set()
        await asyncio.sleep(0.1)
        assert ("begin", late.id) not in toy.log
        await events.aclose()
    assert toy.held == 0
