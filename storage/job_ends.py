"""How a job leaves a device: each a part of one transaction."""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence
from typing import Any

from storage import deliveries, results, usage
from storage import jobs_sql as sql
from storage.job import Job, job_of, json_of, row
from storage.results import NewResult

CRASHES = 3  # a job that was running at so many crashes is taken for their cause
CRASHED = {
    "en": "The bot stopped {n} times while working on this, so it was given up. Try other settings.",
    "ko": "이 작업을 처리하는 동안 봇이 {n}번 멈춰 작업을 중단했습니다. 다른 설정으로 시도해 주십시오.",
    "code": "crashed",
}


def released(db: sqlite3.Connection, id: int, now: float, seconds: float) -> Job | None:
    """`running → queued`; `seconds` of a device that it has used since it was claimed."""
    job = row(db, sql.RELEASE, {"id": id, "crashes": 0, "seconds": seconds})
    if job is not None:
        usage.spend(db, id, seconds, now)
    return job


def recovered(db: sqlite3.Connection, job: Job, now: float, crashes: int) -> Job:
    """What was running at a crash, queued again or, after so many `crashes`, failed."""
    queued = job_of(db.execute(sql.RELEASE, {"id": job.id, "crashes": 1, "seconds": 0.0}).fetchone())
    if queued.attempts < crashes:
        return queued
    error = {k: v.format(n=queued.attempts) for k, v in CRASHED.items()}
    return end(db, job.id, "failed", ("queued",), now, seconds=0.0, error=error) or queued


def end(
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
    """Bring a job to a final state, with its results and the delivery of its answer; None if it had ended.

    `seconds` of a device since it was claimed.
    """
    old = row(db, sql.GET, (id,))
    if old is None or old.state not in expected:
        return None
    if old.state == "queued":
        refund = {"id": id, "person": old.person, "cost": old.cost}
        db.execute(sql.REFUND_JOBS, refund)
        db.execute(sql.REFUND_PERSON, refund)
    whole = old.seconds if seconds is None else (old.seconds or 0.0) + seconds
    ending = {
        "id": id, "state": state, "expected": old.state, "now": now, "seconds": whole,
        "error": None if error is None else json_of(error), "notes": json_of([*old.notes, *map(list, notes)]),
    }  # fmt: skip
    ended = db.execute(sql.END, ending).fetchone()
    results.add(db, id, made)
    if state == "done":
        usage.add(db, id, made, seconds, now)
    else:
        usage.spend(db, id, seconds, now)
    db.execute(deliveries.ADD, (id, "result", old.platform, now))
    return job_of(ended)
