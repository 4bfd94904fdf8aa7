"""A job as it is on disk."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any


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
    seconds: float | None  # on the device, in all; before the end: until it was interrupted last
    error: dict[str, Any] | None  # {"en": …, "ko": …, "code": …}
    notes: list[list[str]]  # [[en, ko], …] told with the answer
    department: str  # of the person, when they asked


def job_of(row: sqlite3.Row) -> Job:
    values = dict(row)
    for name in ("place", "request", "error", "notes"):
        values[name] = None if values[name] is None else json.loads(values[name])
    return Job(**values)


def row(db: sqlite3.Connection, query: str, values: Sequence[Any] | Mapping[str, Any]) -> Job | None:
    """The job that `query` gives, if any."""
    found = db.execute(query, values).fetchone()
    return job_of(found) if found else None


def json_of(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False)
