"""Nothing that happens beside them stalls the ticks by more than about one tick."""

from __future__ import annotations

import asyncio
import itertools
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import aclosing, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from toy_engine import CPU, Count, Counting, Toy

from engines.diffusion.engine import Diffusion, Pictures
from engines.engine import Ending, Made, Work
from engines.events import Event, Failed, Finished, Progress
from engines.models.loading import folder_blueprint
from engines.models.memory import Models
from engines.requests import Txt2Img
from engines.serving.lane import Pace
from engines.serving.pool import Pool

pytestmark = pytest.mark.timeout(120)

WEIGHTS = Path(__file__).parent.parent / "engines" / "embedded" / "weights"


async def all_of(pool: Pool, work: Work) -> list[Event]:
    async with aclosing(pool.run(work)) as events:
        return [event async for event in events]


def a_work(folder: Path, number: int, request: Any, person: str = "kim") -> Work:
    own = folder / str(number)
    own.mkdir()
    return Work(number, person, request, own)


def between(log: Sequence[Any], stranger: int) -> int:
    """The most pieces of finishes between two steps of the stranger's run."""
    at = [i for i, (kind, what) in enumerate(log) if kind == "advance" and stranger in what]
    return max(sum(kind == "piece" for kind, _ in log[here:there]) for here, there in itertools.pairwise(at))


async def test_a_finish_of_sixteen_pieces_is_cut_by_steps_of_others(tmp_path: Path) -> None:
    toy = Toy(slow=0.005, piece=0.03)
    pool = Pool({Count: lambda device: toy}, [CPU])
    await pool.start()
    many = [a_work(tmp_path, n, Count(steps=2, pieces=16), f"p{n}") for n in range(3)]
    stranger = a_work(tmp_path, 9, Count(steps=80), "lee")
    results = await asyncio.gather(*(all_of(pool, work) for work in (stranger, *many)))
    await pool.stop(5)
    assert all(isinstance(events[-1], Finished) for events in results)
    assert between(toy.log, 9) <= 2, "one; two where the machine was elsewhere during a step"


async def test_who_wants_to_begin_does_not_wait_for_a_long_finish(tmp_path: Path) -> None:
    toy = Toy(slow=0.01, piece=0.012)
    pool = Pool({Count: lambda device: toy}, [CPU])
    await pool.start()
    first = asyncio.create_task(all_of(pool, a_work(tmp_path, 1, Count(steps=1, pieces=40))))
    await asyncio.sleep(0.1)
    await all_of(pool, a_work(tmp_path, 2, Count(steps=3), "lee"))
    await first
    await pool.stop(5)
    begun = toy.log.index(("begin", 2))
    assert sum(entry == ("piece", 1) for entry in toy.log[:begun]) < 20
    ended = toy.log.index(("finish", 2))
    assert sum(entry == ("piece", 1) for entry in toy.log[begun:ended]) <= 6, (
        "a piece a tick and one at its end"
    )


async def test_a_short_finish_does_not_wait_for_a_long_one(tmp_path: Path) -> None:
    toy = Toy(slow=0.001, piece=0.01)
    pool = Pool({Count: lambda device: toy}, [CPU])
    await pool.start()
    works = [a_work(tmp_path, n, Count(steps=3, pieces=pieces)) for n, pieces in ((1, 30), (2, 2))]
    await asyncio.gather(*(all_of(pool, work) for work in works))
    await pool.stop(5)
    assert toy.log.index(("finish", 2)) < toy.log.index(("finish", 1))


async def test_a_finish_that_nobody_wants_any_more_is_left(tmp_path: Path) -> None:
    toy = Toy(piece=0.005)
    pool = Pool({Count: lambda device: toy}, [CPU])
    await pool.start()
    async with aclosing(pool.run(a_work(tmp_path, 1, Count(steps=1, pieces=10**6)))) as events:
        async for event in events:
            if isinstance(event, Progress) and event.step == 1:
                break
    done = len(toy.log)
    assert toy.log[-1] == ("suspend", 1)
    assert isinstance((await all_of(pool, a_work(tmp_path, 2, Count())))[-1], Finished)
    assert ("piece", 1) not in toy.log[done:]
    assert toy.held == 0
    await pool.stop(5)


@dataclass
class Lender(Toy):
    """Runs in the background hold a seat that they can do without."""

    def lend(self, run: Counting) -> int:
        self.log.append(("lend", run.work.id))
        self.seats += 1
        return 1

    def reclaim(self, run: Counting) -> bool:
        self.log.append(("reclaim", run.work.id))
        self.seats -= 1
        return True


@asynccontextmanager
async def beside_a_training(tmp_path: Path) -> AsyncIterator[tuple[Lender, Pool]]:
    """A pool whose only seat a long training has."""
    toy = Lender(seats=1, slow=0.002)
    pool = Pool({Count: lambda device: toy}, [CPU])
    await pool.start()
    training = asyncio.create_task(
        all_of(pool, a_work(tmp_path, 1, Count(steps=10**6, group="train", background=True)))
    )
    await asyncio.sleep(0.05)
    try:
        yield toy, pool
    finally:
        training.cancel()
        await asyncio.gather(training, return_exceptions=True)
        await pool.stop(5)


async def test_a_training_gives_its_memory_to_who_waits_and_takes_it_back(tmp_path: Path) -> None:
    async with beside_a_training(tmp_path) as (toy, pool):
        for number in (2, 3):
            end = (await all_of(pool, a_work(tmp_path, number, Count(steps=20), "lee")))[-1]
            assert isinstance(end, Finished), "it does not wait for the training's end"
        asked = [entry for entry in toy.log if entry[0] in ("lend", "reclaim")]
        assert asked == [("lend", 1), ("reclaim", 1)] * 2
        assert toy.seats == 1


async def test_two_who_wait_for_the_same_seat_ask_once(tmp_path: Path) -> None:
    async with beside_a_training(tmp_path) as (toy, pool):
        works = [a_work(tmp_path, n, Count(steps=20), f"p{n}") for n in (2, 3)]
        for events in await asyncio.gather(*(all_of(pool, work) for work in works)):
            assert isinstance(events[-1], Finished)
        assert toy.log.count(("lend", 1)) == 1
        assert toy.log.count(("reclaim", 1)) == 1


async def test_rows_come_back_after_the_memory_was_short(tmp_path: Path) -> None:
    short = [True]

    def advance(runs: Sequence[Counting]) -> None:
        if short[0] and sum(run.rows for run in runs) > 4:
            raise MemoryError

    toy = Toy(on_advance=advance)
    pool = Pool({Count: lambda device: toy}, [CPU], slots=16, pace=Pace(rows=8, preview_every=0))
    await pool.start()
    tasks = [
        asyncio.create_task(all_of(pool, a_work(tmp_path, n, Count(steps=2500), f"p{n}"))) for n in range(12)
    ]
    await asyncio.sleep(0.1)
    short[0], mended = False, len(toy.log) + 2
    for events in await asyncio.gather(*tasks):
        assert isinstance(events[-1], Finished)
    await pool.stop(5)
    sizes = [len(ids) for kind, ids in toy.log[mended:] if kind == "advance"]
    assert max(sizes) == 8, "without the lane ever having been idle"


class Timed(Diffusion):
    """Each call's seconds, by this thread's own clock, so that a busy machine does not count."""

    def __init__(self, models: Models) -> None:
        super().__init__(models)
        self.steps: list[tuple[float, float]] = []  # began, ended
        self.chores: list[float] = []

    def begin(self, work: Work) -> Pictures:
        began = time.thread_time()
        run = super().begin(work)
        self.chores.append(time.thread_time() - began)
        return run

    def advance(self, runs: Sequence[Pictures]) -> None:
        began = time.thread_time()
        super().advance(runs)
        self.steps.append((began, time.thread_time()))

    def ending(self, run: Pictures) -> Ending:
        pieces = super().ending(run)
        while True:
            began = time.thread_time()
            try:
                next(pieces)
            except StopIteration as end:
                made: Made = end.value
                return made
            finally:
                self.chores.append(time.thread_time() - began)
            yield


async def test_real_pictures_and_a_stranger_between(tmp_path: Path) -> None:
    """Sixteen pictures begin, step and are decoded beside a stranger: no gap is longer than a tick and a piece."""
    models = Models(lambda name, kind: folder_blueprint(name, WEIGHTS / "txt2img", "cpu", "float32"))
    engine = Timed(models)
    pool = Pool({Txt2Img: lambda device: engine}, [CPU], pace=Pace(rows=16, preview_every=0))
    await pool.start()
    size = {"width": 64, "height": 64}
    try:
        await all_of(pool, a_work(tmp_path, 1, Txt2Img(prompt="warm up", steps=2, **size)))
        engine.steps.clear()
        engine.chores.clear()
        stranger = a_work(tmp_path, 2, Txt2Img(prompt="a metal nut", steps=40, **size), "lee")
        many = a_work(tmp_path, 3, Txt2Img(prompt="a tile", steps=2, count=16, guidance=1.0, **size))
        for events in await asyncio.gather(*(all_of(pool, work) for work in (stranger, many))):
            assert not isinstance(events[-1], Failed), events[-1]
    finally:
        await pool.stop(10)
    gaps = [there[0] - here[1] for here, there in itertools.pairwise(engine.steps)]
    tick = max(ended - began for began, ended in engine.steps)
    assert len(engine.chores) == 2 + 16 + 1
    assert max(gaps) <= 1.2 * tick + max(engine.chores), (gaps, tick, engine.chores)
    assert max(gaps) < sum(engine.chores), (
        "a fast machine needs few gaps for them all, and still more than one"
    )
