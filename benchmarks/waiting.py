"""How honest the told wait is: the estimate on accepting against the time it took, for people who come by chance.

The whole bot with the real pool; the engine is a toy whose step takes a fixed time and some for each row. People send
jobs of mixed sizes at random moments (a Poisson process), faster than the device works off, so that a line forms.
"""

from __future__ import annotations

import argparse
import asyncio
import random
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from rich.console import Console
from rich.table import Table

from benchmarks.instant import Heard, configured, pool, said
from benchmarks.machine import described, keep
from bot.app import Studio, studio

PEOPLE = 6
STEPS = (5, 10, 20, 40, 80)  # of a job, by chance
FIXED, EACH = 0.004, 0.002  # seconds of a step, and of each row of it
EARLY = 12  # jobs that only teach


@dataclass(frozen=True, slots=True)
class Waited:
    """A job's told and true wait, seconds."""

    told: float | None
    true: float

    @property
    def close(self) -> bool:
        """Within a factor of two; what is over at once is not told at all."""
        if self.told is None:
            return False
        return self.true / 2 <= self.told <= self.true * 2 or max(self.told, self.true) < 0.3


async def one(parts: Studio, chat: Heard, person: str, steps: int, seed: int) -> Waited:
    began = time.perf_counter()
    answer = await parts.desk.hear(said(person, f'/txt2img "a nut" steps:{steps} seed:{seed}'))
    if answer.kind != "accepted":
        raise RuntimeError(answer.text)
    forecast = parts.desk.tools.forecast
    told = await forecast.seconds(answer.job) if forecast else None
    return Waited(told, await chat.answered(answer.job) - began)


async def crowd(folder: Path, jobs: int, every: float, chance: random.Random) -> list[Waited]:
    """`jobs` jobs of `PEOPLE` people, one each `every` seconds on average."""
    chat = Heard()
    async with studio(configured(folder), [chat], pool(FIXED, EACH)) as parts:
        for k in range(EARLY):
            await one(parts, chat, "first", chance.choice(STEPS), k)
        under_way = []
        for k in range(jobs):
            asked = one(parts, chat, f"p{chance.randrange(PEOPLE)}", chance.choice(STEPS), 100 + k)
            under_way.append(asyncio.create_task(asked))
            await asyncio.sleep(chance.expovariate(1 / every))
        return list(await asyncio.gather(*under_way))


def main(argv: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--jobs", type=int, default=240)
    parser.add_argument("--every", type=float, default=0.05, help="seconds between two jobs on average")
    options = parser.parse_args(argv)
    with tempfile.TemporaryDirectory() as name:
        waited = asyncio.run(crowd(Path(name), options.jobs, options.every, random.Random(0)))
    ratios = [one.told / one.true for one in waited if one.told is not None]
    figures: dict[str, Any] = {
        "machine": described("cpu"),
        "engine": f"a toy: a step takes {FIXED * 1000:g} ms and {EACH * 1000:g} ms a row; bot, queue, scheduler and pool are real",
        "within a factor of two %": round(100 * sum(one.close for one in waited) / len(waited), 1),
        "told / true, p10": round(float(np.percentile(ratios, 10)), 2),
        "told / true, p50": round(float(np.percentile(ratios, 50)), 2),
        "told / true, p90": round(float(np.percentile(ratios, 90)), 2),
        "longest true wait s": round(max(one.true for one in waited), 1),
        "jobs": len(waited),
    }
    show(figures)
    Console().print(f"kept in {keep('waiting', figures).relative_to(Path.cwd())}")


def show(figures: dict[str, Any]) -> None:
    """The figures as a table."""
    table = Table(title="The wait as told on accepting, against the true one")
    table.add_column("")
    table.add_column("", justify="right")
    for name, value in figures.items():
        if name != "machine":
            table.add_row(name, str(value))
    Console().print(table)
    Console().print(", ".join(f"{k}: {v}" for k, v in figures["machine"].items()))


if __name__ == "__main__":
    main()
