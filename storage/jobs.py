"""Jobs: promises on disk. `queued → running → done | failed | cancelled`, and `running → queued` after a death.
`queued | running → paused → queued` is what a person may do to a long one.

Fair between people by start-time fair queueing (Goyal, Vin, Cheng 1996): a job's `turn` is the virtual time at
which it would start if everybody's work ran side by side, person by person; the smallest turn is claimed next. So
a claim is one look into an index, and the place in line is a count.
"""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from storage import deliveries, history, results, speeds, usage
from storage import jobs_sql as sql
from storage.blobs import Blobs
from storage.database import Database
from storage.results import NewResult
from storage.speeds import Speed

CRASHES = 3  # a job that was running at so many crashes is taken for their cause
CRASHED = {
    "en": "The bot stopped {n} times while working on this, so it was given up. Try other settings.",
    "ko": "이 작업을 처리하는 동안 봇이 {n}번 멈춰 작업을 중단했습니다. 다른 설정으로 시도해 주십시오.",
    "code": "crashed",
}


@dataclass(frozen=True, slots=True)
class Job:
    id: int
    key: str
    person: str
    name: str
    platform: str
    place: dict[str, Any]
    language: str
    command: str
    request: dict[str, Any]
    cost: float
    state: str  # queued running paused done failed cancelled
    attempts: int  # crashes survived
    created: float  # Unix times
    started: float | None
    ended: float | None
    seconds: float | None  # on the device
    error: dict[str, Any] | None  # {"en": …, "ko": …, "code": …}
    notes: list[list[str]]  # [[en, ko], …] told with the answer
    department: str  # of the person, when they asked


def job_of(row: sqlite3.Row) -> Job:
    values = dict(row)
    for name in ("place", "request", "error", "notes"):
        values[name] = None if values[name] is None else json.loads(values[name])
    return Job(**values)


class Jobs:
    def __init__(self, database: Database, blobs: Blobs) -> None:
        self._database = database
        self._blobs = blobs

    async def add(
        self,
        *,
        key: str,
        person: str,
        name: str,
        platform: str,
        place: dict[str, Any],
        language: str,
        command: str,
        request: dict[str, Any],
        cost: float,
        inputs: Sequence[str],
        notes: Sequence[Sequence[str]] = (),
        department: str = "",
        now: float,
    ) -> tuple[Job, bool]:
        """Promise it: the job and its status delivery, at once. A known `key` gives (that job, False).

        `cost` sets the person's next turn back: who has a larger share of the studio is charged less.

        Raises `storage.Missing` for an input that is not stored, `storage.Full`.
        """
        values: dict[str, Any] = {
            "key": key, "person": person, "name": name, "platform": platform, "place": _json(place),
            "language": language, "command": command, "request": _json(request), "cost": cost, "now": now,
            "notes": _json([list(note) for note in notes]), "words": history.indexed(command, request, inputs),
            "department": department, "model": str(request.get("model") or ""), "room": history.room(place),
        }  # fmt: skip
        return await self._database.write(lambda db: self._add(db, values, inputs))

    def _add(self, db: sqlite3.Connection, values: dict[str, Any], inputs: Sequence[str]) -> tuple[Job, bool]:
        if known := db.execute(sql.BY_KEY, (values["key"],)).fetchone():
            return job_of(known), False
        self._blobs.check(inputs)
        (turn,) = db.execute(sql.NEWCOMER_TURN, (values["person"],)).fetchone()
        db.execute(sql.SERVED, {**values, "served": turn + values["cost"]})
        job = job_of(db.execute(sql.ADD, {**values, "turn": turn}).fetchone())
        db.execute(history.ADD_WORDS, {**values, "id": job.id})
        db.executemany(sql.ADD_INPUT, [(job.id, blob) for blob in inputs])
        db.execute(deliveries.ADD, (job.id, "status", job.platform, job.created))
        return job, True

    async def claim(self, now: float) -> Job | None:
        """The next job, `running` from now on; None when nobody waits."""
        return next(iter(await self.claim_for(now, 1)), None)

    async def claim_for(self, now: float, seats: int, newcomers: int = 0) -> list[Job]:
        """The next jobs, one for each of `seats`, then of `newcomers` more people at most who have none at work."""

        def claim(db: sqlite3.Connection) -> list[Job]:
            claimed: list[Job] = []
            for query in [sql.CLAIM] * seats + [sql.CLAIM_NEWCOMER] * newcomers:
                if (job := _row(db, query, {"now": now})) is None:
                    break
                claimed.append(job)
            return claimed

        return await self._database.write(claim)

    async def release(self, id: int, now: float) -> Job | None:
        """`running → queued`, at its old place in line. Interrupted is not failed: it costs no attempt."""
        return await self._database.write(lambda db: _row(db, sql.RELEASE, {"id": id, "crashes": 0}))

    async def release_all(self, now: float) -> list[Job]:
        """`release` for every running job: the process is about to end."""

        def release(db: sqlite3.Connection) -> list[Job]:
            ids = [row["id"] for row in db.execute(sql.RUNNING).fetchall()]
            return [job_of(db.execute(sql.RELEASE, {"id": id, "crashes": 0}).fetchone()) for id in ids]

        return await self._database.write(release)

    async def recover(self, now: float, crashes: int = CRASHES) -> list[Job]:
        """On start: what was running when the process died, queued again; failed after `crashes` of them."""

        def recover(db: sqlite3.Connection) -> list[Job]:
            dead = [job_of(row) for row in db.execute(sql.RUNNING)]
            return [_recovered(db, job, now, crashes) for job in dead]

        return await self._database.write(recover)

    async def finish(
        self,
        id: int,
        *,
        results: Sequence[NewResult],
        notes: Sequence[Sequence[str]],
        seconds: float,
        now: float,
        speed: Speed | None = None,
    ) -> Job | None:
        """`running → done` with its results and the answer to deliver, at once; None if it was not running.

        So does what was paused at the very last moment.
        `notes` are added to those told on accepting; from `speed` later forecasts are made. Raises `storage.Missing`, `storage.Full`.
        """

        def finish(db: sqlite3.Connection) -> Job | None:
            self._blobs.check(result.blob for result in results)
            ended = _end(
                db, id, "done", ("running", "paused"), now, seconds=seconds, notes=notes, made=results
            )
            if ended and speed is not None:
                speeds.learn(db, speed)
            return ended

        return await self._database.write(finish)

    async def fail(
        self, id: int, *, error: dict[str, Any], seconds: float, now: float, results: Sequence[NewResult] = ()
    ) -> Job | None:
        """`queued | running → failed` with the answer to deliver; `results` show how far it came."""
        return await self._database.write(
            lambda db: _end(
                db, id, "failed", ("queued", "running"), now, seconds=seconds, error=error, made=results
            )
        )

    async def cancel(self, id: int, *, now: float) -> Job | None:
        """`queued | running | paused → cancelled` with the answer to deliver; None if it had ended already."""
        expected = ("queued", "running", "paused")
        return await self._database.write(lambda db: _end(db, id, "cancelled", expected, now))

    async def pause(self, id: int) -> Job | None:
        """`queued | running → paused`; None if it was neither. Nobody claims it until it is resumed."""
        return await self._database.write(
            lambda db: _row(db, sql.PAUSE, (id, "running")) or _row(db, sql.PAUSE, (id, "queued"))
        )

    async def resume(self, id: int) -> Job | None:
        """`paused → queued`, at its old place in line; None if it was not paused."""
        return await self._database.write(lambda db: _row(db, sql.RESUME, (id,)))

    async def proved(self, id: int) -> None:
        """It went well for a while: earlier crashes were not its fault."""
        await self._database.write(lambda db: db.execute(sql.PROVED, (id,)))

    async def lately(self, command: str, limit: int) -> list[Job]:
        """The newest done jobs of a kind, of all people."""
        return await self._list(sql.LATELY, command, limit)

    async def get(self, id: int) -> Job | None:
        return await self._one(sql.GET, (id,))

    async def by_key(self, key: str) -> Job | None:
        return await self._one(sql.BY_KEY, (key,))

    async def ahead(self, id: int) -> int:
        """How many would be claimed before it; 0 = next, or not waiting."""
        return await self._count(sql.AHEAD, id)

    async def line(self, limit: int = 50) -> list[Job]:
        """The queued jobs, in the order in which they would be claimed now."""
        return await self._list(sql.LINE, limit)

    async def of(
        self,
        person: str,
        *,
        states: Iterable[str] | None = None,
        words: str = "",
        limit: int = 20,
        before: int | None = None,
    ) -> list[Job]:
        """A person's jobs, newest first: in these states, with all these words, older than job `before`."""
        condition, values = history.where(person, states=states, words=words, before=before)
        return await self._list(sql.of(condition, by_state=states is not None), *values, limit)

    async def queued(self) -> int:
        return await self._count(sql.QUEUED)

    async def running(self) -> list[Job]:
        return await self._list(sql.RUNNING)

    async def _one(self, query: str, values: tuple[Any, ...]) -> Job | None:
        return await self._database.read(lambda db: _row(db, query, values))

    async def _list(self, query: str, *values: Any) -> list[Job]:
        rows = await self._database.read(lambda db: db.execute(query, values).fetchall())
        return [job_of(row) for row in rows]

    async def _count(self, query: str, *values: Any) -> int:
        row = await self._database.read(lambda db: db.execute(query, values).fetchone())
        return int(row[0])


def _row(db: sqlite3.Connection, query: str, values: Sequence[Any] | Mapping[str, Any]) -> Job | None:
    row = db.execute(query, values).fetchone()
    return job_of(row) if row else None


def _recovered(db: sqlite3.Connection, job: Job, now: float, crashes: int) -> Job:
    queued = job_of(db.execute(sql.RELEASE, {"id": job.id, "crashes": 1}).fetchone())
    if queued.attempts < crashes:
        return queued
    error = {k: v.format(n=queued.attempts) for k, v in CRASHED.items()}
    return _end(db, job.id, "failed", ("queued",), now, seconds=0.0, error=error) or queued


def _end(
    db: sqlite3.Connection,
    id: int,
    state: str,
    expected: Sequence[str],
    now: float,
    *,
    seconds: float | None = None,
    error: dict[str, Any] | None = None,
    notes: Sequence[Sequence[str]] = (),
    made: Sequence[NewResult] = (),
) -> Job | None:
    """Bring a job to a final state, with its results and the delivery of its answer; None if it had ended."""
    row = db.execute(sql.GET, (id,)).fetchone()
    if row is None or row["state"] not in expected:
        return None
    old = job_of(row)
    if old.state == "queued":
        refund = {"id": id, "person": old.person, "cost": old.cost}
        db.execute(sql.REFUND_JOBS, refund)
        db.execute(sql.REFUND_PERSON, refund)
    ending = {
        "id": id, "state": state, "expected": old.state, "now": now, "seconds": seconds,
        "error": None if error is None else _json(error), "notes": _json([*old.notes, *map(list, notes)]),
    }  # fmt: skip
    ended = db.execute(sql.END, ending).fetchone()
    results.add(db, id, made)
    if state == "done":
        usage.add(db, id, made, seconds, now)
    db.execute(deliveries.ADD, (id, "result", old.platform, now))
    return job_of(ended)


def _json(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False)
