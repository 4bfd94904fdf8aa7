"""The pool with a toy engine: every run ends once, failures stay alone, closing cancels, nothing is kept."""

from __future__ import annotations

import asyncio
import errno
import threading
from contextlib import aclosing
from pathlib import Path
from typing import Any

import pytest
from engine_conformance import Conformance
from hypothesis import given, settings
from hypothesis import strategies as st
from pool_conformance import PoolConformance, all_of, ends
from toy_engine import CPU, Count, Toy, pool_of, toy_pool

from engines.devices import Device
from engines.engine import Run, Work
from engines.events import Event, Failed, Finished, Progress
from engines.serving.lane import Pace
from engines.serving.pool import Pool
from engines.words import Refusal, Words

pytestmark = pytest.mark.timeout(60)


class TestToy(Conformance):
    """The suite itself, on an engine that is known to be honest."""

    @pytest.fixture(params=[False, True], ids=["files", "packing"])
    def engine(self, request: pytest.FixtureRequest) -> Toy:
        return Toy(pack=request.param)

    def work(self, folder: Path, number: int, seed: int) -> Work:
        return Work(number, "kim", Count(seed=seed), folder)

    def spoil(self, engine: Toy, monkeypatch: pytest.MonkeyPatch, run: Run) -> None:
        def fail(runs: Any) -> None:
            if any(mate is run for mate in runs):
                raise ValueError("spoilt")

        monkeypatch.setattr(engine, "on_advance", fail)

    def footprint(self, engine: Toy) -> int:
        return engine.held


class TestLocalPool(PoolConformance):
    def pool(self, **toy: Any) -> Pool:
        return toy_pool(**toy)


async def test_strangers_share_steps(ask: Any) -> None:
    toy, together = Toy(slow=0.005), threading.Event()
    toy.on_begin = lambda work: None if work.id > 1 else (together.wait(5), None)[1]
    async with pool_of(toy) as pool:
        asked = [asyncio.create_task(all_of(pool, ask(f"p{n}", steps=10))) for n in range(4)]
        await asyncio.sleep(0.05)
        together.set()
        await asyncio.gather(*asked)
    steps = [ids for kind, ids in toy.log if kind == "advance"]
    assert max(map(len, steps)) == 4
    assert len(steps) < 20, "forty steps alone"


async def test_too_little_memory_halves_the_batch_and_all_end_well(ask: Any) -> None:
    toy = Toy()
    async with pool_of(toy, pace=Pace(rows=16)) as pool:
        works = [ask(f"p{n}", steps=4, fits=2) for n in range(8)]
        results = await asyncio.gather(*(all_of(pool, work) for work in works))
    assert all(isinstance(events[-1], Finished) for events in results)


@pytest.mark.parametrize(("each", "most"), [(1000, 3), (10_000, 1), (0, 8)])
async def test_a_step_is_as_large_as_the_free_memory_is_good_for(
    ask: Any, monkeypatch: pytest.MonkeyPatch, each: int, most: int
) -> None:
    monkeypatch.setattr("engines.serving.lane.memory_free", lambda device: 4000)
    toy, together = Toy(), threading.Event()
    toy.on_begin = lambda work: None if toy.held else (together.wait(5), None)[1]
    async with pool_of(toy, pace=Pace(rows=16)) as pool:
        works = [ask(f"p{n}", steps=60, row_bytes=each) for n in range(8)]
        asked = [asyncio.create_task(all_of(pool, work)) for work in works]
        await asyncio.sleep(0.05)
        together.set()
        results = await asyncio.gather(*asked)
    assert all(isinstance(events[-1], Finished) for events in results)
    assert max(len(ids) for kind, ids in toy.log if kind == "advance") == most


async def test_torchs_own_memory_error_is_known_by_name(ask: Any) -> None:
    class OutOfMemoryError(RuntimeError):
        pass

    def fail(runs: Any) -> None:
        raise OutOfMemoryError("CUDA out of memory")

    async with pool_of(Toy(on_advance=fail)) as pool:
        (end,) = ends(await all_of(pool, ask()))
    assert isinstance(end, Failed)
    assert end.code == "memory"


@pytest.mark.parametrize("where", ["on_begin", "on_finish", "on_pack"])
@pytest.mark.parametrize(
    ("error", "code"),
    [
        (Refusal(Words("no such photo", "그런 사진이 없습니다")), "input"),
        (KeyError("x"), "error"),
        (OSError(errno.ENOSPC, "full"), "disk"),
        (MemoryError(), "memory"),
    ],
    ids=lambda value: value if isinstance(value, str) else type(value).__name__,
)
async def test_what_goes_wrong_is_told_wherever_it_does(
    ask: Any, where: str, error: Exception, code: str
) -> None:
    def fail(*_: Any) -> None:
        raise error

    toy = Toy(pack=True, **{where: fail})  # type: ignore[arg-type]
    async with pool_of(toy) as pool:
        (end,) = ends(await all_of(pool, ask()))
        setattr(toy, where, lambda *_: None)
        (then,) = ends(await all_of(pool, ask()))
    assert isinstance(end, Failed)
    assert end.code == code
    if isinstance(error, Refusal):
        assert end.reason == error.words
    assert isinstance(then, Finished), "the lane lives on"
    assert toy.held == 0


async def test_a_work_cancelled_before_it_began_never_begins(ask: Any) -> None:
    toy, hold = Toy(), threading.Event()
    toy.on_begin = lambda work: None if work.id != 1 else (hold.wait(5), None)[1]
    async with pool_of(toy) as pool:
        first = asyncio.create_task(all_of(pool, ask()))
        await asyncio.sleep(0.05)
        second = ask()
        reading = asyncio.create_task(all_of(pool, second))
        await asyncio.sleep(0.05)
        reading.cancel()
        await asyncio.sleep(0.01)
        hold.set()
        with pytest.raises(asyncio.CancelledError):
            await reading
        assert isinstance((await first)[-1], Finished)
        assert ("begin", second.id) not in toy.log


async def test_stopping_suspends_what_is_in_flight_and_tells_it_apart_from_failing(ask: Any) -> None:
    toy = Toy(slow=0.01)
    pool = Pool({Count: lambda device: toy}, [CPU])
    await pool.start()
    reading = [asyncio.create_task(all_of(pool, ask(steps=10**6))) for _ in range(3)]
    await asyncio.sleep(0.1)
    await pool.stop(5)
    for events in await asyncio.gather(*reading):
        (end,) = ends(events)
        assert isinstance(end, Failed)
        assert end.code == "stopped"
    assert toy.held == 0
    assert pool.room() == 0
    for thread in threading.enumerate():
        if thread.name.startswith(("lane", "pack", "fetch")):
            thread.join(5)
            assert not thread.is_alive(), thread.name
    (end,) = ends(await all_of(pool, ask()))
    assert isinstance(end, Failed)
    assert end.code == "stopped", "nothing hangs on a stopped pool"


async def test_a_device_that_hangs_does_not_hold_up_the_stop(ask: Any) -> None:
    toy, hold = Toy(), threading.Event()
    toy.on_advance = lambda runs: (hold.wait(20), None)[1]
    pool = Pool({Count: lambda device: toy}, [CPU])
    await pool.start()
    reading = asyncio.create_task(all_of(pool, ask()))
    await asyncio.sleep(0.05)
    began = asyncio.get_running_loop().time()
    await pool.stop(0.3)
    (end,) = ends(await reading)
    assert asyncio.get_running_loop().time() - began < 2
    assert isinstance(end, Failed)
    assert end.code == "stopped"
    hold.set()


async def test_results_being_written_are_waited_for_when_stopping(ask: Any) -> None:
    toy, packing = Toy(pack=True), threading.Event()
    toy.on_pack = lambda: (packing.set(), threading.Event().wait(0.2), None)[2]
    pool = Pool({Count: lambda device: toy}, [CPU])
    await pool.start()
    reading = asyncio.create_task(all_of(pool, ask()))
    await asyncio.to_thread(packing.wait, 5)
    await pool.stop(5)
    assert isinstance((await reading)[-1], Finished)


async def test_who_finds_no_seat_waits_for_one_and_is_not_overtaken(ask: Any) -> None:
    toy = Toy(seats=1, slow=0.005)
    async with pool_of(toy) as pool:
        results = await asyncio.gather(*(all_of(pool, ask(f"p{n}", steps=5)) for n in range(4)))
    assert all(isinstance(events[-1], Finished) for events in results)
    begun = [number for kind, number in toy.log if kind == "begin"]
    assert begun == sorted(begun)


async def test_no_seat_and_nobody_to_wait_for_is_told(ask: Any) -> None:
    async with pool_of(Toy(seats=0)) as pool:
        (end,) = ends(await all_of(pool, ask()))
    assert isinstance(end, Failed)
    assert end.reason.en == "all seats are taken"


async def test_preparing_happens_elsewhere_and_can_refuse(ask: Any) -> None:
    where: list[int] = []

    class Preparing(Toy):
        def prepare(self, work: Work) -> None:
            where.append(threading.get_ident())
            if work.person == "lee":
                raise Refusal(Words("no such model", "그런 모델이 없습니다"))

    toy = Preparing()
    async with pool_of(toy) as pool:
        good, bad = await asyncio.gather(all_of(pool, ask("kim")), all_of(pool, ask("lee")))
    assert isinstance(good[-1], Finished)
    assert isinstance(bad[-1], Failed)
    assert bad[-1].reason.en == "no such model"
    assert toy.thread not in where


async def test_an_engine_that_cannot_be_made_is_told_and_tried_again(ask: Any) -> None:
    tries: list[int] = []

    def make(device: Device) -> Toy:
        tries.append(1)
        if len(tries) < 3:
            raise ImportError("no driver")
        return Toy()

    pool = Pool({Count: make}, [CPU])
    await pool.start()
    (first,) = ends(await all_of(pool, ask()))
    (second,) = ends(await all_of(pool, ask()))
    await pool.stop(5)
    assert isinstance(first, Failed)
    assert isinstance(second, Finished)


async def test_a_bug_in_a_tick_ends_its_runs_and_not_the_lane(
    ask: Any, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    toy = Toy(slow=0.01)
    async with pool_of(toy) as pool:
        reading = asyncio.create_task(all_of(pool, ask(steps=1000)))
        await asyncio.sleep(0.1)
        monkeypatch.setattr("engines.serving.lane.step", lambda *_: 1 / 0)
        (end,) = ends(await reading)
        assert isinstance(end, Failed)
        monkeypatch.undo()
        assert isinstance((await all_of(pool, ask()))[-1], Finished)
    assert "a tick broke" in caplog.text
    assert toy.held == 0


async def test_an_engine_that_does_not_move_is_not_stepped_for_ever(ask: Any) -> None:
    class Stuck(Toy):
        def advance(self, runs: Any) -> None:
            pass

    async with pool_of(Stuck()) as pool:
        (end,) = ends(await all_of(pool, ask()))
    assert isinstance(end, Failed)


async def test_work_goes_where_the_model_is_warm_else_where_there_is_least_to_do(ask: Any) -> None:
    toys = {"cpu:0": Toy(slow=0.01), "cpu:1": Toy(slow=0.01)}
    pool = Pool({Count: lambda device: toys[device.name]}, [Device("cpu:0"), Device("cpu:1")])
    await pool.start()
    busy = [asyncio.create_task(all_of(pool, ask(steps=900))) for _ in range(2)]
    await asyncio.sleep(0.05)
    assert {held.device for held in pool.running()} == {"cpu:0", "cpu:1"}
    assert pool.room() == 14
    for task in busy:
        task.cancel()
    await asyncio.gather(*busy, return_exceptions=True)
    assert pool.room() == 16
    await pool.stop(5)


async def test_interactive_work_goes_before_training(ask: Any) -> None:
    toy = Toy(slow=0.002)
    async with pool_of(toy, pace=Pace(share=0.1, credit=0)) as pool:
        training = asyncio.create_task(all_of(pool, ask("kim", steps=10**6, group="train", background=True)))
        await asyncio.sleep(0.05)
        seen = len(toy.log)
        await all_of(pool, ask("lee", steps=90))
        during = [ids for kind, ids in toy.log[seen:] if kind == "advance"]
        training.cancel()
        await asyncio.gather(training, return_exceptions=True)
    assert 5 <= len(during) - 90 <= 20


@settings(max_examples=12, deadline=None)
@given(
    st.lists(
        st.tuples(
            st.sampled_from(["fine", "bad", "memory", "cancel", "early"]),
            st.integers(1, 12),
            st.integers(1, 6),
            st.sampled_from("xy"),
        ),
        min_size=1,
        max_size=12,
    )
)
async def test_whatever_happens_each_run_ends_once_and_nothing_is_kept(
    tmp_path_factory: pytest.TempPathFactory, plan: list[tuple[str, int, int, str]]
) -> None:
    toy = Toy(pack=True, slow=0.0005)
    folder = tmp_path_factory.mktemp("any")

    async def one(pool: Pool, number: int, fate: str, steps: int, rows: int, group: str) -> None:
        (folder / str(number)).mkdir()
        bad = {"bad": {"bad_at": steps // 2}, "memory": {"memory_at": steps // 2}}.get(fate, {})
        request = Count(seed=number, steps=steps, rows=rows, group=group, **bad)  # type: ignore[arg-type]
        work = Work(number, f"p{number % 3}", request, folder / str(number))
        events: list[Event] = []
        async with aclosing(pool.run(work)) as stream:
            if fate != "early":
                async for event in stream:
                    events.append(event)
                    if fate == "cancel" and isinstance(event, Progress):
                        break
        if fate == "fine":
            assert isinstance(events[-1], Finished)
        elif fate in ("bad", "memory"):
            assert isinstance(events[-1], Failed)
        assert len(ends(events)) == (0 if fate == "early" else len(ends(events[-1:])))

    async with pool_of(toy, pace=Pace(rows=8)) as pool, asyncio.TaskGroup() as tasks:
        for number, (fate, steps, rows, group) in enumerate(plan):
            tasks.create_task(one(pool, number, fate, steps, rows, group))
    assert toy.held == 0
    begun = [number for kind, number in toy.log if kind == "begin"]
    assert sorted(begun) == sorted(number for kind, number in toy.log if kind == "suspend")
