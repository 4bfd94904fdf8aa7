"""One person with a hundred jobs beside five with one at a time: who gets how much, against first come, first served.

The real scheduler, lane and pool; the engine is a toy whose step takes a fixed time and some for each row, because
what is measured is who is served, not the serving. In one case all six use one model and share steps, in the other
each has their own, so that nobody can ride along. A person with one job at a time asks again as soon as it is done.
"""

from __future__ import annotations

import argparse
import asyncio
import itertools
import statistics
import tempfile
import time
from collections import Counter
from collections.abc import AsyncIterator, Sequence
from contextlib import aclosing, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from benchmarks.machine import described, keep
from engines.devices import Device
from engines.engine import Run, Work
from engines.events import Artifact
from engines.requests import Txt2Img
from engines.serving.lane import Pace
from engines.serving.pool import Pool

HOG, LIGHT, JOBS = "hog", 5, 100
FIXED, EACH = 0.002, 0.0002  # seconds of a step, and of each row of it
WINDOW = 15.0  # seconds that are looked at, at most
STEPS, ROWS = 20, 8  # of a job; of a step


class Clockwork:
    """An engine whose step takes its time and does nothing; counts the row-steps of each person."""

    def __init__(self, shared: bool) -> None:
        self._shared = shared
        self.done: Counter[str] = Counter()

    def begin(self, work: Work) -> Run:
        return Run(work, STEPS, key="one" if self._shared else work.person, rows=2)

    def advance(self, runs: Sequence[Run]) -> None:
        time.sleep(FIXED + EACH * sum(run.rows for run in runs))
        for run in runs:
            run.done += 1
            self.done[run.work.person] += run.rows

    def preview(self, run: Run) -> None:
        return None

    def finish(self, run: Run) -> tuple[Artifact, ...]:
        return ()

    def suspend(self, run: Run) -> None:
        pass


@dataclass(frozen=True, slots=True)
class Shares:
    """What came of it while the hog had work."""

    done: dict[str, int]  # row-steps of each person
    slowdowns: list[float]  # of the light people's jobs: seconds over those of a job alone

    @property
    def jain(self) -> float:
        """1 = all got the same work, 1/n = one got it all (Jain, Chiu, Hawe 1984)."""
        shares = list(self.done.values())
        return sum(shares) ** 2 / (len(shares) * sum(share**2 for share in shares))

    @property
    def p95(self) -> float:
        return statistics.quantiles(self.slowdowns, n=20, method="inclusive")[-1]


class House:
    """A pool on the toy, with a line before it where it is first come, first served."""

    def __init__(self, pool: Pool, fifo: bool, folder: Path) -> None:
        self._pool, self._fifo, self._folder = pool, fifo, folder
        self._line = asyncio.Lock()  # first come, first served
        self._numbers = itertools.count(1)

    async def job(self, person: str) -> float:
        """Its seconds, waiting included."""
        began = time.perf_counter()
        if self._fifo:
            async with self._line:
                await self._run(person)
        else:
            await self._run(person)
        return time.perf_counter() - began

    async def _run(self, person: str) -> None:
        work = Work(next(self._numbers), person, Txt2Img(prompt="a nut"), self._folder)
        async with aclosing(self._pool.run(work)) as events:
            async for _ in events:
                pass


@asynccontextmanager
async def opened(engine: Clockwork, fifo: bool, folder: Path) -> AsyncIterator[House]:
    pool = Pool(
        {Txt2Img: lambda d: engine}, [Device("cpu")], slots=2 * JOBS, pace=Pace(ROWS, preview_every=0)
    )
    await pool.start()
    try:
        yield House(pool, fifo, folder)
    finally:
        await pool.stop(5)


async def measured(shared: bool, fifo: bool, jobs: int, folder: Path) -> Shares:
    engine = Clockwork(shared)
    async with opened(engine, fifo, folder) as house:
        alone = min([await house.job("alone") for _ in range(3)])
        engine.done.clear()
        slowdowns: list[float] = []

        async def light(person: str) -> None:
            while True:
                slowdowns.append(await house.job(person) / alone)

        hog = [asyncio.create_task(house.job(HOG)) for _ in range(jobs)]
        await asyncio.sleep(0)  # the hog came first
        people = [asyncio.create_task(light(f"light {n}")) for n in range(LIGHT)]
        await asyncio.wait(hog, timeout=WINDOW)
        done = {person: engine.done[person] for person in (HOG, *(f"light {n}" for n in range(LIGHT)))}
        if not slowdowns:  # first come, first served: their first jobs end only now
            await asyncio.wait(hog)
            await asyncio.sleep(4 * alone * LIGHT)
        for task in (*people, *hog):
            task.cancel()
        await asyncio.gather(*people, *hog, return_exceptions=True)
    return Shares(done, slowdowns)


def main(argv: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--jobs", type=int, default=JOBS, help="of the hog")
    said = parser.parse_args(argv)
    k = LIGHT + 1
    figures: dict[str, Any] = {
        "machine": described("cpu"),
        "engine": f"a toy: a step takes {FIXED * 1000:g} ms and {EACH * 1000:g} ms a row; scheduler and pool are real",
        "people": f"one with {said.jobs} jobs at once, {LIGHT} with one at a time; {STEPS} steps of 2 rows a job",
        "targets": {"Jain": [0.95, 0.99], "light p95 slowdown": [2 * k, 1.2 * k]},
    }
    table = Table(
        "",
        "Jain, cost-weighted",
        f"light p95 slowdown (k = {k})",
        "the same over k",
        title=__doc__.split("\n")[0],
    )
    with tempfile.TemporaryDirectory() as folder:
        for name, shared in (("one model", True), ("six models", False)):
            for rule, fifo in (("ours", False), ("first come, first served", True)):
                got = asyncio.run(measured(shared, fifo, said.jobs, Path(folder)))
                row = {
                    "Jain": round(got.jain, 3),
                    "p95 slowdown": round(got.p95, 2),
                    "over k": round(got.p95 / k, 2),
                }
                figures[f"{name}, {rule}"] = row | {"row-steps": got.done, "light jobs": len(got.slowdowns)}
                table.add_row(f"{name}, {rule}", *map(str, row.values()))
    Console().print(table)
    Console().print(f"kept in {keep('fairness', figures).relative_to(Path.cwd())}")


if __name__ == "__main__":
    main()
