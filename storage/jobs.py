"""Jobs: promises on disk. `queued → running → done | failed | cancelled`, and `running → queued` after a death.
`queued | running → paused → queued` is what a person may do to a long one.

Fair between people by start-time fair queueing (Goyal, Vin, Cheng 1996): a job's `turn` is the virtual time at
which it would start if everybody's work ran side by side, person by person; the smallest turn is claimed next. So
a claim is one look into an index, and the place in line is a count.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable, Mapping, Sequence
from types import MappingProxyType
from typing import Any

from storage import deliveries, history, job_ends, speeds, usage
from storage import jobs_sql as sql
from storage.blobs import Blobs
from storage.database import Database
from storage.job import Job as Job
from storage.job import job_of as job_of
from storage.job import json_of, row
from storage.job_ends import CRASHES as CRASHES
from storage.results import NewResult
from storage.speeds import Speed

OPEN = ("queued", "running", "paused")  # states of a job that has not ended


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
            "key": key, "person": person, "name": name, "platform": platform, "place": json_of(place),
            "language": language, "command": command, "request": json_of(request), "cost": cost, "now": now,
            "notes": json_of([list(note) for note in notes]), "words": history.indexed(command, request, inputs),
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
                if (job := row(db, query, {"now": now})) is None:
                    break
                claimed.append(job)
            return claimed

        return await self._database.write(claim)

    async def release(self, id: int, now: float, seconds: float = 0.0) -> Job | None:
        """`running → queued`, at its old place in line. Interrupted is not failed: it costs no attempt.

        `seconds` of a device that it has used since it was claimed.
        """
        return await self._database.write(lambda db: job_ends.released(db, id, now, seconds))

    async def release_all(self, now: float, seconds: Mapping[int, float] = MappingProxyType({})) -> list[Job]:
        """`release` for every running job: the process is about to end. `seconds`: by job."""

        def release(db: sqlite3.Connection) -> list[Job]:
            ids = [row["id"] for row in db.execute(sql.RUNNING).fetchall()]
            released = [job_ends.released(db, id, now, seconds.get(id, 0.0)) for id in ids]
            return [job for job in released if job is not None]

        return await self._database.write(release)

    async def spent(self, id: int, seconds: float, now: float) -> None:
        """It used so many seconds of a device until it was halted, or cancelled; its row says so already."""

        def spend(db: sqlite3.Connection) -> None:
            db.execute(sql.SPENT, (seconds, id))
            usage.spend(db, id, seconds, now)

        if seconds:
            await self._database.write(spend)

    async def recover(self, now: float, crashes: int = CRASHES) -> list[Job]:
        """On start: what was running when the process died, queued again; failed after `crashes` of them."""

        def recover(db: sqlite3.Connection) -> list[Job]:
            dead = [job_of(row) for row in db.execute(sql.RUNNING)]
            return [job_ends.recovered(db, job, now, crashes) for job in dead]

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
            ended = job_ends.end(
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
            lambda db: job_ends.end(
                db, id, "failed", ("queued", "running"), now, seconds=seconds, error=error, made=results
            )
        )

    async def cancel(self, id: int, *, now: float) -> Job | None:
        """`queued | running | paused → cancelled` with the answer to deliver; None if it had ended already."""
        return await self._database.write(lambda db: job_ends.end(db, id, "cancelled", OPEN, now))

    async def pause(self, id: int) -> Job | None:
        """`queued | running → paused`; None if it was neither. Nobody claims it until it is resumed."""
        return await self._database.write(
            lambda db: row(db, sql.PAUSE, (id, "running")) or row(db, sql.PAUSE, (id, "queued"))
        )

    async def resume(self, id: int) -> Job | None:
        """`paused → queued`, at its old place in line; None if it was not paused."""
        return await self._database.write(lambda db: row(db, sql.RESUME, (id,)))

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

    async def of(self, person: str, *, states: Iterable[str], limit: int = 20) -> list[Job]:
        """A person's jobs in these states, newest first."""
        return await self._list(sql.OF, person, json_of(list(states)), limit)

    async def queued(self) -> int:
        return await self._count(sql.QUEUED)

    async def running(self) -> list[Job]:
        return await self._list(sql.RUNNING)

    async def _one(self, query: str, values: tuple[Any, ...]) -> Job | None:
        return await self._database.read(lambda db: row(db, query, values))

    async def _list(self, query: str, *values: Any) -> list[Job]:
        rows = await self._database.read(lambda db: db.execute(query, values).fetchall())
        return [job_of(row) for row in rows]

    async def _count(self, query: str, *values: Any) -> int:
        row = await self._database.read(lambda db: db.execute(query, values).fetchone())
        return int(row[0])
