"""The job table against a model of it, under any interleaving that hypothesis can think of."""

from __future__ import annotations

import asyncio
import tempfile
from collections.abc import Coroutine
from pathlib import Path
from typing import Any, TypeVar

from chat import NOW, add_job
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import Bundle, RuleBasedStateMachine, invariant, rule

from storage.jobs import CRASHES
from storage.results import NewResult
from storage.store import Store

T = TypeVar("T")
FINAL = {"done", "failed", "cancelled"}
PERSONS = st.sampled_from(["a", "b", "c"])


class Queue(RuleBasedStateMachine):
    """Two dispatchers' worth of claims, ends, deaths and second thoughts; the model is a dict of states."""

    jobs = Bundle("jobs")

    def __init__(self) -> None:
        super().__init__()
        self.loop = asyncio.new_event_loop()
        self.folder = tempfile.TemporaryDirectory()
        self.store = self.do(Store.open(Path(self.folder.name)))
        self.blob = self.do(self.store.blobs.put(b"picture"))
        self.states: dict[int, str] = {}
        self.crashes: dict[int, int] = {}
        self.results: dict[int, int] = {}
        self.keys: dict[str, int] = {}

    def do(self, work: Coroutine[Any, Any, T]) -> T:
        return self.loop.run_until_complete(work)

    def teardown(self) -> None:
        self.do(self.store.close())
        self.loop.close()
        self.folder.cleanup()

    @rule(target=jobs, person=PERSONS, cost=st.floats(1, 500), key=st.integers(0, 30))
    def add(self, person: str, cost: float, key: int) -> int:
        job = self.do(add_job(self.store, f"k{key}", person=person, cost=cost))
        known = self.keys.setdefault(f"k{key}", job.id)
        assert known == job.id
        if job.id not in self.states:
            self.states[job.id], self.crashes[job.id] = "queued", 0
        return job.id

    @rule(count=st.integers(1, 4))
    def claim(self, count: int) -> None:
        async def at_once() -> list[Any]:
            return await asyncio.gather(*(self.store.jobs.claim(NOW) for _ in range(count)))

        line = [job.id for job in self.do(self.store.jobs.line())]
        got = [job.id for job in self.do(at_once()) if job]
        assert got == line[:count]
        assert all(self.states[id] == "queued" for id in got)
        self.states |= dict.fromkeys(got, "running")

    @rule(job=jobs, pictures=st.integers(0, 2))
    def finish(self, job: int, pictures: int) -> None:
        made = [NewResult(self.blob, "x.png", "image/png", {}, 1, 1)] * pictures
        ended = self.do(self.store.jobs.finish(job, results=made, notes=[], seconds=1.0, now=NOW))
        assert (ended is not None) == (self.states[job] == "running")
        if ended:
            self.states[job], self.results[job] = "done", pictures

    @rule(job=jobs)
    def finish_and_cancel_at_once(self, job: int) -> None:
        async def both() -> list[Any]:
            finish = self.store.jobs.finish(job, results=[], notes=[], seconds=1.0, now=NOW)
            return await asyncio.gather(finish, self.store.jobs.cancel(job, now=NOW))

        ended = [one.state for one in self.do(both()) if one]
        assert len(ended) == (self.states[job] not in FINAL)
        self.states[job] = ended[0] if ended else self.states[job]

    @rule(job=jobs)
    def fail(self, job: int) -> None:
        ended = self.do(self.store.jobs.fail(job, error={"en": "no", "ko": "아니요"}, seconds=0.0, now=NOW))
        assert (ended is not None) == (self.states[job] not in FINAL)
        if ended:
            self.states[job] = "failed"

    @rule(job=jobs)
    def cancel(self, job: int) -> None:
        ended = self.do(self.store.jobs.cancel(job, now=NOW))
        assert (ended is not None) == (self.states[job] not in FINAL)
        if ended:
            self.states[job] = "cancelled"

    @rule(job=jobs)
    def release(self, job: int) -> None:
        released = self.do(self.store.jobs.release(job, NOW))
        assert (released is not None) == (self.states[job] == "running")
        if released:
            self.states[job] = "queued"

    @rule()
    def die_and_start_again(self) -> None:
        self.do(self.store.close())
        self.store = self.do(Store.open(Path(self.folder.name)))
        recovered = self.do(self.store.jobs.recover(NOW))
        assert {job.id for job in recovered} == {
            id for id, state in self.states.items() if state == "running"
        }
        for job in recovered:
            self.crashes[job.id] += 1
            self.states[job.id] = "failed" if self.crashes[job.id] >= CRASHES else "queued"

    @invariant()
    def the_disk_says_what_happened(self) -> None:
        def look(db: Any) -> tuple[dict[int, str], dict[int, int], set[tuple[int, str]]]:
            states = dict(map(tuple, db.execute("SELECT id, state FROM jobs")))
            results = dict(map(tuple, db.execute("SELECT job, count(*) FROM results GROUP BY job")))
            return states, results, set(map(tuple, db.execute("SELECT job, kind FROM deliveries")))

        states, results, deliveries = self.do(self.store.database.read(look))
        assert states == self.states
        assert results == {id: n for id, n in self.results.items() if n}
        promised = {(id, "status") for id in states}
        answers = {(id, "result") for id, state in states.items() if state in FINAL}
        assert deliveries == promised | answers


TestQueue = Queue.TestCase
TestQueue.settings = settings(
    max_examples=25, stateful_step_count=30, deadline=None, suppress_health_check=list(HealthCheck)
)
