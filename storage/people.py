"""What is remembered about a person: name, language, the picture chosen for next time, small facts."""

from __future__ import annotations

import sqlite3
from typing import Any

from storage.blobs import Blobs
from storage.database import Database

LANGUAGE = "SELECT language FROM people WHERE person = ?"
LAST_INPUT = "SELECT last_input FROM people WHERE person = ?"
FACT = "SELECT value FROM facts WHERE person = ? AND key = ?"
SET_LANGUAGE = """
INSERT INTO people (person, language) VALUES (?, ?) ON CONFLICT (person) DO UPDATE SET language = excluded.language
"""
SET_LAST_INPUT = """
INSERT INTO people (person, last_input) VALUES (?, ?)
ON CONFLICT (person) DO UPDATE SET last_input = excluded.last_input
"""
SET_FACT = "INSERT INTO facts VALUES (?, ?, ?) ON CONFLICT (person, key) DO UPDATE SET value = excluded.value"
FORGET_FACT = "DELETE FROM facts WHERE person = ? AND key = ?"


class People:
    def __init__(self, database: Database, blobs: Blobs) -> None:
        self._database = database
        self._blobs = blobs

    async def language(self, person: str) -> str | None:
        """The language the person chose, if they did."""
        return await self._one(LANGUAGE, person)

    async def set_language(self, person: str, language: str) -> None:
        await self._write(SET_LANGUAGE, person, language)

    async def last_input(self, person: str) -> str | None:
        """The blob that "Use as input" chose."""
        return await self._one(LAST_INPUT, person)

    async def set_last_input(self, person: str, blob: str | None) -> None:
        """Raises `storage.Missing` where there is no such blob."""

        def set_it(db: sqlite3.Connection) -> None:
            self._blobs.check([blob] if blob else [])
            db.execute(SET_LAST_INPUT, (person, blob))

        await self._database.write(set_it)

    async def get(self, person: str, key: str) -> str | None:
        return await self._one(FACT, person, key)

    async def put(self, person: str, key: str, value: str | None) -> None:
        """Remember a small fact; None forgets it."""
        if value is None:
            await self._write(FORGET_FACT, person, key)
        else:
            await self._write(SET_FACT, person, key, value)

    async def _one(self, query: str, *values: Any) -> str | None:
        row = await self._database.read(lambda db: db.execute(query, values).fetchone())
        return row[0] if row else None

    async def _write(self, query: str, *values: Any) -> None:
        await self._database.write(lambda db: db.execute(query, values))
