"""Whoever has nothing in hand is served at once, however many jobs others brought before."""

from __future__ import annotations

import asyncio
import tempfile
import time
from collections import Counter
from collections.abc import AsyncGenerator
from pathlib import Path
from typing import Any

import pytest
from chat import NOW, add_job
from dispatcher_world import Ear, Script, until
from hypothesis import given, settings
from hypothesis import strategies as st
from toy_engine import Count, Toy

from bot.dispatcher import Dispatcher
from engines.devices import Device
from engines.engine import Work
from engines.events import Event, Finished, Started
from engines.serving.pool import Pool
from engines.serving.serves import NEWCOMERS
from storage import jobs_sql
from storage.store import Store

SLOTS = 3
Deed = tuple[str, int]  # a person and how many jobs they bring; or "" and which run ends


class Held(Script):
    """A pool whose runs end when they are told to."""

    def __init__(self) -> None:
        super().__init__(self.until_told, SLOTS)
        self.runs: dict[int, tuple[str, asyncio.Event]] = {}  # job → its person, and its end

    async def until_told(self, work: Work) -> AsyncGenerator[Event, None]:
        assert work.id not in self.runs, "no job twice"
        _, over = self.runs[work.id] = work.person, asyncio.Event()
        self.is_fair()
        try:
            yield Started("test")
            await over.wait()
            yield Finished((), 0.1)
        finally:
            del self.runs[work.id]

    def people(self) -> Counter[str]:
        return Counter(person for person, _ in self.runs.values())

    def is_fair(self) -> None:
        assert len(self.runs) <= NEWCOMERS * SLOTS
        people = self.people()
        assert len(self.runs) <= SLOTS or people.total() - len(people) < SLOTS, "further seats are newcomers'"


async def settled(store: Store, pool: Held) -> None:
    """Until whoever should be served is: then nobody waits who might not."""
    async with asyncio.timeout(5):
        while True:
            waiting = [job.person for job in await store.jobs.line(1000)]
            here, at_work = pool.people(), {job.id for job in await store.jobs.running()}
            free = len(pool.runs) < SLOTS and waiting
            left_out = len(pool.runs) < NEWCOMERS * SLOTS and set(waiting) - set(here)
            if at_work == set(pool.runs) and not free and not left_out:
                return
            await asyncio.sleep(0.002)


async def told(deeds: list[Deed], folder: Path) -> None:
    """What people do, and what becomes of it."""
    pool, brought = Held(), 0
    async with await Store.open(folder) as store:
        dispatcher = Dispatcher(store, pool, Ear(), clock=lambda: NOW, width=SLOTS)
        task = asyncio.create_task(dispatcher.run())
        try:
            for person, number in deeds:
                if not person and pool.runs:
                    [*pool.runs.values()][number % len(pool.runs)][1].set()
                for _ in range(number if person else 0):
                    await add_job(store, f"k{(brought := brought + 1)}", person=person)
                dispatcher.wake()
                await settled(store, pool)
            while pool.runs:
                next(iter(pool.runs.values()))[1].set()
                await settled(store, pool)
            assert sorted(pool.ran) == list(range(1, brought + 1)), "each once"
        finally:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)


DEEDS = st.one_of(
    st.tuples(st.sampled_from("abcdefgh"), st.integers(1, 8)), st.tuples(st.just(""), st.integers(0, 7))
)


@settings(max_examples=15, deadline=None)
@given(st.lists(DEEDS, max_size=12))
def test_nobody_waits_who_has_nothing_and_no_seat_is_free_while_anybody_waits(deeds: list[Deed]) -> None:
    with tempfile.TemporaryDirectory() as folder:
        asyncio.run(told([("hog", 7), *deeds], Path(folder)))


async def test_a_newcomer_is_in_the_next_step_of_a_device_that_a_hog_has_filled(tmp_path: Path) -> None:
    toy = Toy(slow=0.05)
    pool = Pool({Count: lambda d: toy}, [Device("cpu")], slots=SLOTS)
    await pool.start()

    async def run(number: int, person: str) -> None:
        folder = tmp_path / str(number)
        folder.mkdir()
        async for event in pool.run(Work(number, person, Count(steps=1000), folder)):
            if isinstance(event, Finished):
                return

    hog = [asyncio.create_task(run(n, "hog")) for n in range(SLOTS)]
    try:
        await until(lambda: sum(held.step > 0 for held in pool.running()) == SLOTS)
        assert pool.room() == 0
        assert pool.room(newcomers=True) == (NEWCOMERS - 1) * SLOTS
        first = max(held.step for held in pool.running())
        hog.append(asyncio.create_task(run(99, "light")))
        await until(lambda: any(held.job == 99 and held.step > 0 for held in pool.running()))
        assert max(held.step for held in pool.running()) <= first + 3, "the step in hand, and its own"
    finally:
        for task in hog:
            task.cancel()
        await asyncio.gather(*hog, return_exceptions=True)
        await pool.stop(5)


async def test_a_thousand_jobs_of_one_person_do_not_make_looking_for_others_slow(tmp_path: Path) -> None:
    async with await Store.open(tmp_path) as store:

        def many(db: Any) -> None:
            db.executemany(
                "INSERT INTO jobs (key, person, name, platform, place, language, command, request, cost, turn,"
                " state, created, notes, words)"
                " VALUES (?, 'hog', '', 'chat', '{}', 'en', 'x', '{}', 1, ?, 'queued', 0, '[]', '')",
                [(f"m{n}", float(n)) for n in range(1000)],
            )

        await store.database.write(many)
        assert len(await store.jobs.claim_for(NOW, 8, 8)) == 8
        began = time.perf_counter()
        for _ in range(10):
            assert await store.jobs.claim_for(NOW, 0, 8) == []
        assert (time.perf_counter() - began) / 10 < 0.05
        job = await add_job(store, "new", person="light")
        assert [one.id for one in await store.jobs.claim_for(NOW, 0, 8)] == [job.id]


@pytest.mark.parametrize("index", ["jobs_in_line", "jobs_of_person_by_state"])
async def test_newcomers_are_found_through_indexes(tmp_path: Path, index: str) -> None:
    async with await Store.open(tmp_path) as store:
        query = f"EXPLAIN QUERY PLAN {jobs_sql.CLAIM_NEWCOMER}"
        plan = await store.database.read(lambda db: [row["detail"] for row in db.execute(query, {"now": 1})])
    assert any(index in line for line in plan), plan
    assert not any("TEMP B-TREE" in line for line in plan)
