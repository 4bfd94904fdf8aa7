"""Trained models: whose each is, and who else may use it. Content is told by the model's own folder."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from storage.database import Database

EVERYBODY = "*"

_COLUMNS = "models.name, owner, coalesce(people.name, '') AS person, place, shared, created, job"
_FROM = "FROM models LEFT JOIN people ON people.person = models.owner"
ALL = f"SELECT {_COLUMNS} {_FROM} ORDER BY models.name"
GET = f"SELECT {_COLUMNS} {_FROM} WHERE models.name = ?"
OF_JOB = f"SELECT {_COLUMNS} {_FROM} WHERE job = ?"
ADD = "INSERT OR IGNORE INTO models VALUES (?, ?, ?, ?, ?, ?)"
COPY = "INSERT INTO models SELECT ?, owner, place, shared, created, job FROM models WHERE name = ?"
SHARE = "UPDATE models SET shared = ? WHERE name = ?"
DELETE = "DELETE FROM models WHERE name = ?"
# The training that made a folder: it had that name, and was not over when the folder's card was written.
TRAINING = """
SELECT id, person, place FROM jobs
WHERE command = 'train' AND json_extract(request, '$.save_as') = :name AND created <= :written + 1
    AND (ended IS NULL OR ended >= :written - 60)
ORDER BY id DESC LIMIT 1
"""
OPEN = "SELECT id, state, request FROM jobs WHERE state IN ('queued', 'running', 'paused') ORDER BY id"


@dataclass(frozen=True, slots=True)
class Owned:
    """A trained model's row."""

    name: str
    owner: str
    person: str  # the owner's name, as people know it
    place: dict[str, Any]
    shared: tuple[str, ...]
    created: float
    job: int


@dataclass(frozen=True, slots=True)
class User:
    """An open job that needs a model."""

    job: int
    running: bool


class Models:
    def __init__(self, database: Database) -> None:
        self._database = database

    async def all(self) -> list[Owned]:
        rows = await self._database.read(lambda db: db.execute(ALL).fetchall())
        return [_owned(row) for row in rows]

    async def get(self, name: str) -> Owned | None:
        return await self._one(GET, name)

    async def of_job(self, job: int) -> Owned | None:
        """The model that a training made."""
        return await self._one(OF_JOB, job)

    async def add(
        self, name: str, *, owner: str, place: dict[str, Any], shared: Sequence[str], now: float, job: int
    ) -> None:
        """Nothing happens where the name is taken."""
        values = (name, owner, _json(place), _json(list(shared)), now, job)
        await self._database.write(lambda db: db.execute(ADD, values))

    async def training(self, name: str, written: float) -> tuple[int, str, dict[str, Any]] | None:
        """The training for a model of this name whose card was written then: job, person, place."""
        values = {"name": name, "written": written}
        row = await self._database.read(lambda db: db.execute(TRAINING, values).fetchone())
        return (row["id"], row["person"], json.loads(row["place"])) if row else None

    async def copy(self, name: str, new: str) -> None:
        """The same row under one more name: the first half of a renaming. Nothing where there is none."""

        def copy(db: sqlite3.Connection) -> None:
            db.execute(DELETE, (new,))
            db.execute(COPY, (new, name))

        await self._database.write(copy)

    async def share(self, name: str, shared: Sequence[str]) -> None:
        await self._database.write(lambda db: db.execute(SHARE, (_json(list(shared)), name)))

    async def delete(self, name: str) -> None:
        await self._database.write(lambda db: db.execute(DELETE, (name,)))

    async def users(self, names: Iterable[str]) -> list[User]:
        """Open jobs that need a model of one of these names, the oldest first."""
        wanted = {name.casefold() for name in names}
        rows = await self._database.read(lambda db: db.execute(OPEN).fetchall())
        return [
            User(row["id"], row["state"] == "running")
            for row in rows
            if wanted & set(_needed(json.loads(row["request"])))
        ]

    async def _one(self, query: str, value: Any) -> Owned | None:
        row = await self._database.read(lambda db: db.execute(query, (value,)).fetchone())
        return _owned(row) if row else None


def _needed(request: dict[str, Any]) -> Iterable[str]:
    """Names of models in a stored request: one, or several with commas between."""
    for field in ("model", "models"):
        for name in str(request.get(field) or "").split(","):
            yield name.strip().casefold()


def _owned(row: sqlite3.Row) -> Owned:
    values = dict(row)
    place, shared = json.loads(values.pop("place")), tuple(json.loads(values.pop("shared")))
    return Owned(place=place, shared=shared, **values)


def _json(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False)
