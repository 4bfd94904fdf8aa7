"""A long queue, and a long past: does anything grow that should not?

A thousand queued jobs of a hundred people: how long a claim takes, what the queue costs in memory, how long a start
with everything running at the time of a crash takes. Then the same questions and the everyday ones (claim, /jobs,
/history, /usage) with a history of 1,000 to a million ended jobs.
"""

from __future__ import annotations

import argparse
import asyncio
import resource
import sqlite3
import tempfile
import time
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import numpy as np
from rich.console import Console
from rich.table import Table

from benchmarks.machine import described, keep
from engines.requests import Txt2Img
from storage.history import Search
from storage.results import NewResult
from storage.store import Store

PEOPLE, QUEUED = 100, 1000
DAY = 86400.0
NOW = 1_700_000_000.0


async def queue(store: Store, jobs: int, first: int = 0) -> list[float]:
    """Adds jobs of `PEOPLE` people; ms of each."""
    took = []
    for k in range(first, first + jobs):
        request = Txt2Img(prompt=f"a scratch on nut {k}", seed=k)
        began = time.perf_counter()
        await store.jobs.add(
            key=f"key{k}", person=f"bench:p{k % PEOPLE}", name="P", platform="bench",
            place={"platform": "bench", "guild": "", "channel": f"c{k % 10}"}, language="en", command="txt2img",
            request=request.to_json(), cost=request.total_cost, inputs=(), now=NOW + k,
        )  # fmt: skip
        took.append((time.perf_counter() - began) * 1000)
    return took


async def timed(what: Callable[[], Awaitable[Any]], times: int) -> list[float]:
    """Wall ms of each call."""
    took = []
    for _ in range(times):
        began = time.perf_counter()
        await what()
        took.append((time.perf_counter() - began) * 1000)
    return took


def percentiles(took: list[float]) -> dict[str, float]:
    return {
        "p50 ms": round(float(np.percentile(took, 50)), 3),
        "p95 ms": round(float(np.percentile(took, 95)), 3),
    }


def memory() -> float:
    """The most memory this process ever had, in MB."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1000


async def long_queue(folder: Path) -> dict[str, Any]:
    """`QUEUED` jobs of `PEOPLE` people, all claimed, then all found running by the next start."""
    before = memory()
    async with await Store.open(folder) as store:
        added = await queue(store, QUEUED)
        told = await timed(lambda: store.jobs.ahead(QUEUED // 2), 50)
        claims = await timed(lambda: store.jobs.claim(NOW), QUEUED)
    grown = memory() - before
    began = time.perf_counter()
    async with await Store.open(folder) as store:
        recovered = await store.jobs.recover(NOW)
        restart = time.perf_counter() - began
        if len(recovered) != QUEUED or await store.jobs.queued() != QUEUED:
            raise RuntimeError("jobs were lost")
    return {
        "add": percentiles(added),
        "place in line": percentiles(told),
        "claim": percentiles(claims),
        "memory MB": round(grown, 1),
        "restart s": round(restart, 3),
    }


async def template(store: Store) -> int:
    """One ended job with a result; its number."""
    await queue(store, 1, first=-1)
    job = await store.jobs.claim(NOW)
    if job is None:
        raise RuntimeError("nothing to claim")
    blob = await store.blobs.put(b"a picture")
    made = [NewResult(blob, "a.png", "image/png", {"seed": 1}, 128, 128)]
    await store.jobs.finish(job.id, results=made, notes=[], seconds=1.0, now=NOW)
    return job.id


async def past(store: Store, count: int, one: int) -> None:
    """`count` copies of the ended job `one`, of many people, over two years: written by SQL, to save hours."""

    def copy(db: sqlite3.Connection) -> None:
        names = [row[1] for row in db.execute("PRAGMA table_info(jobs)")]
        other = {
            "id": "NULL", "key": "'past' || n", "person": f"'bench:p' || (n % {PEOPLE})",
            "created": f"{NOW} - (n % 730) * {DAY}", "room": "'bench  c' || (n % 10)",
        }  # fmt: skip
        chosen = ", ".join(other.get(name, f"jobs.{name}") for name in names)
        numbers = "WITH RECURSIVE numbers (n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM numbers WHERE n < ?)"
        db.execute(
            f"{numbers} INSERT INTO jobs SELECT {chosen} FROM numbers, jobs WHERE jobs.id = ?", (count, one)
        )
        db.execute(
            "INSERT INTO results SELECT jobs.id, r.number, r.blob, r.name, r.media, r.recipe, r.width, r.height"
            " FROM jobs, results AS r WHERE jobs.key LIKE 'past%' AND r.job = ?", (one,)
        )  # fmt: skip
        db.execute(
            "INSERT INTO job_words (rowid, who, room, words)"
            " SELECT id, one_token(person), one_token(room), pairs(words) FROM jobs WHERE key LIKE 'past%'"
        )
        db.execute(
            "INSERT INTO deliveries (job, kind, platform, state, due)"
            " SELECT id, 'result', platform, 'sent', 0 FROM jobs WHERE key LIKE 'past%'"
        )
        db.execute(
            "INSERT OR IGNORE INTO usage SELECT date(created, 'unixepoch'), person, department, command, model, 5, 5, 9.0"
            " FROM jobs WHERE key LIKE 'past%'"
        )

    await store.database.write(copy)


async def everyday(store: Store) -> dict[str, float]:
    """p50 ms of what people ask for all day."""
    await queue(store, 60, first=10_000_000)
    me = "bench:p7"
    asked: dict[str, Callable[[], Awaitable[Any]]] = {
        "claim": lambda: store.jobs.claim(NOW),
        "/jobs": lambda: store.jobs.of(me, states=("queued", "running"), limit=20),
        "/history": lambda: store.history.find(Search(me), limit=10),
        "/history, page 5": lambda: store.history.find(Search(me), limit=10, offset=40),
        "/history words": lambda: store.history.find(Search(me, words="scratch"), limit=10),
        "/history here": lambda: store.history.find(Search(me, "here", room="bench  c3"), limit=10),
        "/usage": lambda: store.usage.of("person", me, "2023-10-15"),
        "/usage of all": lambda: store.usage.of("all", "", "2023-10-15"),
        "used today": lambda: store.usage.today("person", me, NOW, "2023-11-14"),
        "last trainings": lambda: store.jobs.lately("train", 5),
        "due messages": lambda: store.deliveries.look(NOW, 16, "bench"),
    }
    return {name: percentiles(await timed(what, 40))["p50 ms"] for name, what in asked.items()}


async def long_past(folder: Path, count: int) -> dict[str, float]:
    """Everyday questions after `count` ended jobs, and a start of the store."""
    async with await Store.open(folder) as store:
        await past(store, count, await template(store))
    began = time.perf_counter()
    async with await Store.open(folder) as store:
        opened = (time.perf_counter() - began) * 1000
        return {**await everyday(store), "open the store": round(opened, 2)}


def main(argv: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--most", type=int, default=10**6, help="ended jobs at most")
    said = parser.parse_args(argv)
    sizes = [size for size in (10**3, 10**4, 10**5, 10**6) if size <= said.most]
    figures: dict[str, Any] = {"machine": described("cpu")}
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        figures[f"{QUEUED} queued jobs of {PEOPLE} people"] = asyncio.run(long_queue(folder / "queue"))
        grown = {f"{size:,}": asyncio.run(long_past(folder / str(size), size)) for size in sizes}
    figures["p50 ms by ended jobs"] = grown
    first, last = (grown[f"{size:,}"]["claim"] for size in (sizes[0], sizes[-1]))
    figures["claim, growth"] = round(last / first, 2)
    show(figures)
    Console().print(f"kept in {keep('scale', figures).relative_to(Path.cwd())}")


def show(figures: dict[str, Any]) -> None:
    """The figures as tables."""
    grown = figures["p50 ms by ended jobs"]
    table = Table(title="p50 ms by the number of ended jobs")
    table.add_column("")
    for size in grown:
        table.add_column(size, justify="right")
    for name in next(iter(grown.values())):
        table.add_row(name, *(str(grown[size][name]) for size in grown))
    Console().print(table)
    Console().print({k: v for k, v in figures.items() if k not in ("machine", "p50 ms by ended jobs")})
    Console().print(", ".join(f"{k}: {v}" for k, v in figures["machine"].items()))


if __name__ == "__main__":
    main()
