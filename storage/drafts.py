"""Trainings that are not promised yet: what was understood of a data set, until its owner says start.

`open → started | dropped`. A draft keeps its pictures alive, and is forgotten some days after it was last touched.
"""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from storage.blobs import Blobs
from storage.database import Database

KEPT = 7 * 86400.0  # seconds

_COLUMNS = "id, person, place, request, notes, sheet, review, state, changed"
ADD = f"""
INSERT INTO drafts (person, place, request, notes, sheet, state, changed)
VALUES (:person, :place, :request, :notes, :sheet, 'open', :now) RETURNING {_COLUMNS}
"""
CHANGE = f"""
UPDATE drafts SET request = :request, notes = :notes, sheet = :sheet, review = 0, changed = :now
WHERE id = :id AND state = 'open' RETURNING {_COLUMNS}
"""
ADD_BLOB = "INSERT OR IGNORE INTO draft_blobs (draft, blob) VALUES (?, ?)"
FORGET_BLOBS = "DELETE FROM draft_blobs WHERE draft = ?"
GET = f"SELECT {_COLUMNS} FROM drafts WHERE id = ?"
REVIEWED = "UPDATE drafts SET review = ? WHERE id = ?"
END = "UPDATE drafts SET state = :state, changed = :now WHERE id = :id AND state = 'open'"
EXPIRE = "DELETE FROM drafts WHERE changed < ?"


@dataclass(frozen=True, slots=True)
class Draft:
    id: int
    person: str
    place: dict[str, Any]
    request: dict[str, Any]
    notes: list[list[str]]
    sheet: str
    review: int
    state: str
    changed: float


def _draft(row: sqlite3.Row) -> Draft:
    values = dict(row)
    for name in ("place", "request", "notes"):
        values[name] = json.loads(values[name])
    return Draft(**values)


class Drafts:
    def __init__(self, database: Database, blobs: Blobs) -> None:
        self._database = database
        self._blobs = blobs

    async def add(
        self,
        *,
        person: str,
        place: dict[str, Any],
        request: dict[str, Any],
        notes: Sequence[Sequence[str]],
        sheet: str,
        blobs: Sequence[str],
        now: float,
    ) -> Draft:
        """Keep it. Raises `storage.Missing` for a picture that is not stored, `storage.Full`."""
        values = {
            "person": person, "place": _json(place), "request": _json(request), "sheet": sheet,
            "notes": _json([list(note) for note in notes]), "now": now,
        }  # fmt: skip
        return await self._database.write(lambda db: self._put(db, ADD, values, blobs))

    async def change(
        self,
        id: int,
        *,
        request: dict[str, Any],
        notes: Sequence[Sequence[str]],
        sheet: str,
        blobs: Sequence[str],
        now: float,
    ) -> Draft | None:
        """Another request in its place; None where it is no longer open."""
        values = {
            "id": id, "request": _json(request), "sheet": sheet, "now": now,
            "notes": _json([list(note) for note in notes]),
        }  # fmt: skip

        def change(db: sqlite3.Connection) -> Draft | None:
            row = db.execute(GET, (id,)).fetchone()
            return self._put(db, CHANGE, values, blobs) if row and row["state"] == "open" else None

        return await self._database.write(change)

    def _put(self, db: sqlite3.Connection, query: str, values: dict[str, Any], blobs: Sequence[str]) -> Draft:
        used = {*blobs, values["sheet"]} - {""}
        self._blobs.check(used)
        draft = _draft(db.execute(query, values).fetchone())
        db.execute(FORGET_BLOBS, (draft.id,))
        db.executemany(ADD_BLOB, [(draft.id, blob) for blob in sorted(used)])
        return draft

    async def get(self, id: int) -> Draft | None:
        row = await self._database.read(lambda db: db.execute(GET, (id,)).fetchone())
        return _draft(row) if row else None

    async def reviewed(self, id: int, job: int) -> None:
        """The job that shows it as it is now."""
        await self._database.write(lambda db: db.execute(REVIEWED, (job, id)))

    async def started(self, id: int, now: float) -> bool:
        """`open → started`. False if it was not open."""
        return await self._end(id, "started", now)

    async def dropped(self, id: int, now: float) -> bool:
        """`open → dropped`. False if it was not open."""
        return await self._end(id, "dropped", now)

    async def expire(self, before: float) -> int:
        """Forget what nobody touched since; how many went. Their pictures go with the next sweep."""
        return await self._database.write(lambda db: db.execute(EXPIRE, (before,)).rowcount)

    async def _end(self, id: int, state: str, now: float) -> bool:
        values = {"id": id, "state": state, "now": now}
        return await self._database.write(lambda db: db.execute(END, values).rowcount == 1)


def _json(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False)
