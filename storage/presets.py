"""Presets: what a person says often, kept by a name."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Mapping

from storage.database import Database

OF = "SELECT name, said FROM presets WHERE person = ? ORDER BY name"
GET = "SELECT said FROM presets WHERE person = ? AND name = ?"
COUNT = "SELECT count(*) FROM presets WHERE person = ? AND name <> ?"
SAVE = "INSERT INTO presets VALUES (?, ?, ?) ON CONFLICT (person, name) DO UPDATE SET said = excluded.said"
DELETE = "DELETE FROM presets WHERE person = ? AND name = ?"

Said = dict[str, str]  # field → value, as one would say it


class Presets:
    def __init__(self, database: Database) -> None:
        self._database = database

    async def of(self, person: str) -> dict[str, Said]:
        """All of a person's presets, by name."""
        rows = await self._database.read(lambda db: db.execute(OF, (person,)).fetchall())
        return {row["name"]: json.loads(row["said"]) for row in rows}

    async def get(self, person: str, name: str) -> Said | None:
        row = await self._database.read(lambda db: db.execute(GET, (person, name)).fetchone())
        return json.loads(row["said"]) if row else None

    async def save(self, person: str, name: str, said: Mapping[str, str], most: int) -> bool:
        """Keep it, in place of one of the same name. False where the person has `most` others already."""

        def save(db: sqlite3.Connection) -> bool:
            (others,) = db.execute(COUNT, (person, name)).fetchone()
            if others >= most:
                return False
            db.execute(SAVE, (person, name, json.dumps(dict(said), ensure_ascii=False)))
            return True

        return await self._database.write(save)

    async def delete(self, person: str, name: str) -> bool:
        """False where there is none."""
        return await self._database.write(lambda db: db.execute(DELETE, (person, name)).rowcount > 0)
