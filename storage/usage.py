"""What was done on each day, by whom and with what; and how much of today is used up.

Days are those of the machine's own clock (TZ). A job that is done counts on the day it ended, with the pictures it
made; the time it took of a device counts whatever its end, and also where it was interrupted.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from storage.database import Database
from storage.jobs_sql import QUEUED
from storage.results import NewResult

Whose = Literal["person", "department", "all"]

ADD = """
INSERT INTO usage (day, person, department, command, model, jobs, pictures, seconds)
SELECT date(:now, 'unixepoch', 'localtime'), person, department, command, model, :jobs, :pictures, :seconds
FROM jobs WHERE id = :id
ON CONFLICT DO UPDATE SET jobs = jobs + excluded.jobs, pictures = pictures + excluded.pictures,
                          seconds = seconds + excluded.seconds
"""
CONDITIONS = {
    "person": "person = :who AND",
    "department": "department = :who AND department <> '' AND",
    "all": "",
}
OF = """
SELECT day, command, model, sum(jobs) AS jobs, sum(pictures) AS pictures, sum(seconds) AS seconds
FROM usage WHERE {condition} day >= :since GROUP BY day, command, model ORDER BY day, command, model
"""
# The plus: by the time, not by the state, which most jobs share.
ASKED = """
SELECT count(*) FROM jobs WHERE {owner} = :who AND created >= :since AND +state NOT IN ('failed', 'cancelled')
"""
SECONDS = "SELECT coalesce(sum(seconds), 0.0) FROM usage WHERE {owner} = :who AND day = :day"
# By the short indexes of open jobs: the planner would go through all jobs there ever were.
OPEN = """
SELECT (SELECT count(*) FROM jobs INDEXED BY jobs_in_line WHERE state = 'queued' AND {owner} = :who)
     + (SELECT count(*) FROM jobs INDEXED BY jobs_at_work WHERE state = 'running' AND {owner} = :who)
"""
DEPARTMENT = "department <> '' AND department"  # so that its partial index is used


@dataclass(frozen=True, slots=True)
class Line:
    """One day's work of one kind with one model."""

    day: str  # YYYY-MM-DD
    command: str
    model: str
    jobs: int
    pictures: int
    seconds: float  # on a device


@dataclass(frozen=True, slots=True)
class Today:
    """What is used up since midnight: jobs asked for (failed and cancelled ones are given back), seconds on a device."""

    jobs: int = 0
    seconds: float = 0.0
    open: int = 0  # waiting or running now
    queued: int = 0  # of everybody, waiting now


def add(
    db: sqlite3.Connection, job: int, made: Sequence[NewResult], seconds: float | None, now: float
) -> None:
    """Part of the transaction that ends a job well."""
    pictures = sum(_pictures(result) for result in made)
    db.execute(ADD, {"id": job, "jobs": 1, "pictures": pictures, "seconds": seconds or 0.0, "now": now})


def spend(db: sqlite3.Connection, job: int, seconds: float | None, now: float) -> None:
    """Part of the transaction that ends a job in another way, or interrupts it: the device was busy all the same."""
    if seconds:
        db.execute(ADD, {"id": job, "jobs": 0, "pictures": 0, "seconds": seconds, "now": now})


def _pictures(result: NewResult) -> int:
    """A result may say how many pictures it stands for: an archive many, the sheet that shows them none."""
    if "sheet" in result.recipe:  # shows pictures that are results themselves
        return 0
    told = result.recipe.get("pictures")
    if isinstance(told, int):
        return max(told, 0)
    return 1 if result.width > 0 else 0


class Usage:
    def __init__(self, database: Database) -> None:
        self._database = database

    async def of(self, whose: Whose, who: str, since: str) -> list[Line]:
        """What was done from day `since` on, by a person, a department or all (then `who` is not looked at)."""
        query = OF.format(condition=CONDITIONS[whose])
        rows = await self._database.read(
            lambda db: db.execute(query, {"who": who, "since": since}).fetchall()
        )
        return [Line(**dict(row)) for row in rows]

    async def today(
        self, whose: Literal["person", "department"], who: str, midnight: float, day: str
    ) -> Today:
        """What is used up since `midnight`, which began `day`."""
        owner = DEPARTMENT if whose == "department" else "person"

        def look(db: sqlite3.Connection) -> Today:
            (jobs,) = db.execute(ASKED.format(owner=owner), {"who": who, "since": midnight}).fetchone()
            (seconds,) = db.execute(SECONDS.format(owner=owner), {"who": who, "day": day}).fetchone()
            (waiting,) = db.execute(OPEN.format(owner=whose), {"who": who}).fetchone()
            (queued,) = db.execute(QUEUED).fetchone()
            return Today(jobs, seconds, waiting, queued)

        return await self._database.read(look)
