"""What is looked at together is read together: a hop to the reader's thread costs more than most reads do."""

from __future__ import annotations

import sqlite3

from storage import deliveries, speeds
from storage import jobs_sql as sql
from storage.database import Database
from storage.deliveries import Delivery, delivery_of
from storage.jobs import Job, job_of
from storage.speeds import Speed


class Together:
    def __init__(self, database: Database) -> None:
        self._database = database

    async def told(self, id: int) -> tuple[list[Delivery], Job | None]:
        """A job and what is to be said of it, the status first. The job is read second: if there is an answer, it ended."""

        def look(db: sqlite3.Connection) -> tuple[list[Delivery], Job | None]:
            rows = db.execute(deliveries.OF, (id,)).fetchall()
            row = db.execute(sql.GET, (id,)).fetchone()
            return [delivery_of(row) for row in rows], job_of(row) if row else None

        return await self._database.read(look)

    async def work(self, limit: int) -> tuple[list[Speed], list[Job], list[Job]]:
        """What was learnt of all work, the jobs at work, and the first `limit` of the line."""

        def look(db: sqlite3.Connection) -> tuple[list[Speed], list[Job], list[Job]]:
            learnt = [Speed(**dict(row)) for row in db.execute(speeds.ALL)]
            running = [job_of(row) for row in db.execute(sql.RUNNING)]
            return learnt, running, [job_of(row) for row in db.execute(sql.LINE, (limit,))]

        return await self._database.read(look)
