"""What jobs made: files by blob name, each with the recipe to make it again."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from storage.database import Database

ADD = "INSERT INTO results VALUES (?, ?, ?, ?, ?, ?, ?, ?)"
OF = "SELECT job, number, blob, name, media, recipe, width, height FROM results WHERE job = ? ORDER BY number"


@dataclass(frozen=True, slots=True)
class NewResult:
    blob: str
    name: str  # the file's name for people
    media: str
    recipe: dict[str, Any]
    width: int  # pixels; 0 where it is no picture
    height: int


@dataclass(frozen=True, slots=True)
class Result:
    job: int
    index: int  # from 0, in the order made
    blob: str
    name: str
    media: str
    recipe: dict[str, Any]
    width: int
    height: int


def add(db: sqlite3.Connection, job: int, results: Sequence[NewResult]) -> None:
    """Part of the transaction that ends the job."""
    for index, r in enumerate(results):
        recipe = json.dumps(r.recipe, ensure_ascii=False)
        db.execute(ADD, (job, index, r.blob, r.name, r.media, recipe, r.width, r.height))


def _result(row: sqlite3.Row) -> Result:
    values = dict(row)
    return Result(index=values.pop("number"), recipe=json.loads(values.pop("recipe")), **values)


class Results:
    def __init__(self, database: Database) -> None:
        self._database = database

    async def of(self, job: int) -> list[Result]:
        rows = await self._database.read(lambda db: db.execute(OF, (job,)).fetchall())
        return [_result(row) for row in rows]
