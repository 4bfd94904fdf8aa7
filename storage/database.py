"""One SQLite file: a single writing connection, and readers that cannot write.

A transaction is one plain function, run whole on the connection's own thread. Nothing is awaited inside it, so a
cancelled task can leave none open, and two can never interleave.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import re
import sqlite3
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

import aiosqlite

from storage import Full, Newer, StorageError
from storage.letters import teach

T = TypeVar("T")
Work = Callable[[sqlite3.Connection], T]

MIGRATIONS = Path(__file__).parent / "migrations"
PRAGMAS = (
    "PRAGMA journal_mode = WAL",
    "PRAGMA synchronous = FULL",  # a commit that was told of is on the disk
    "PRAGMA foreign_keys = ON",
    "PRAGMA trusted_schema = OFF",
)


class _Thread(aiosqlite.Connection):
    """aiosqlite's connection, able to run a whole function on its thread."""

    def __init__(self, connector: Callable[[], sqlite3.Connection]) -> None:
        super().__init__(connector, iter_chunk_size=64)
        self._thread.daemon = True  # a crash before close() must not keep the process alive

    async def run(self, function: Work[T]) -> T:
        # Cancelling the caller cancels the waiting only: the function itself runs to its end.
        result: T = await self._execute(lambda: function(self._conn))  # type: ignore[no-untyped-call]
        return result


class Database:
    """`write` for transactions, `read` for queries. Open with `Database.open`."""

    def __init__(self, path: Path, writer: _Thread, reader: _Thread) -> None:
        self.path = path
        self._writer = writer
        self._reader = reader

    @classmethod
    async def open(cls, path: Path) -> Database:
        """Raises `Newer` for a database of a later release."""
        writer = _Thread(lambda: _connect(path, "rwc"))
        await writer
        try:
            await writer.run(_prepare)
            reader = _Thread(lambda: _connect(path, "ro"))
            await reader
        except BaseException:
            await writer.close()
            raise
        return cls(path, writer, reader)

    async def write(self, function: Work[T]) -> T:
        """Run `function` as one transaction: all of it is on disk when this returns, or none of it.

        Raises `Full` where the disk has no room, `StorageError` where it would not work otherwise.
        """
        return await self._writer.run(lambda db: _transaction(db, function))

    async def read(self, function: Work[T]) -> T:
        """Run `function` on a connection that cannot write, beside the writer."""
        return await self._reader.run(function)

    async def close(self) -> None:
        with contextlib.suppress(sqlite3.Error):
            await self._reader.close()  # first, so that the writer is the last one and folds the log in
        await self._writer.close()


def _connect(path: Path, mode: str) -> sqlite3.Connection:
    db = sqlite3.connect(
        f"{path.resolve().as_uri()}?mode={mode}", uri=True, isolation_level=None, timeout=30.0
    )
    db.row_factory = sqlite3.Row
    return db


def _prepare(db: sqlite3.Connection) -> None:
    for pragma in PRAGMAS:
        db.execute(pragma)
    migrate(db)


def _transaction(db: sqlite3.Connection, function: Work[T]) -> T:
    try:
        db.execute("BEGIN IMMEDIATE")
        result = function(db)
        db.execute("COMMIT")
        return result
    except BaseException as error:
        if db.in_transaction:
            db.execute("ROLLBACK")
        if isinstance(error, sqlite3.OperationalError):
            full = error.sqlite_errorcode == sqlite3.SQLITE_FULL
            raise (Full if full else StorageError)(f"the database: {error}") from error
        raise


def migrations(folder: Path = MIGRATIONS) -> list[tuple[int, str]]:
    """The numbered SQL files in order."""
    found = [(int(m[1]), p) for p in folder.glob("*.sql") if (m := re.match(r"(\d+)_", p.name))]
    return [(number, path.read_text("utf-8")) for number, path in sorted(found)]


def migrate(db: sqlite3.Connection, folder: Path = MIGRATIONS) -> None:
    """Bring the schema up to date, each step in a transaction of its own. Raises `Newer`."""
    teach(db)
    (version,) = db.execute("PRAGMA user_version").fetchone()
    steps = migrations(folder)
    if version > steps[-1][0]:
        raise Newer(f"the database has version {version}; this release knows up to {steps[-1][0]}")
    for number, script in steps:
        if number > version:
            _apply(db, number, script)


def _apply(db: sqlite3.Connection, number: int, script: str) -> None:
    try:
        db.executescript(f"BEGIN IMMEDIATE;\n{script}\nPRAGMA user_version = {number};\nCOMMIT;")
    except BaseException:
        if db.in_transaction:
            db.execute("ROLLBACK")
        raise


async def backup(source: Path, target: Path) -> None:
    """Copy the database at `source` to the file `target`, while others read and write it.

    The copy appears whole or not at all. Needs no lock on the data folder. Raises `StorageError`.
    """
    try:
        await asyncio.to_thread(_backup, source, target)
    except (OSError, sqlite3.Error) as error:
        raise StorageError(f"{source} could not be copied to {target}: {error}") from error


def _backup(source: Path, target: Path) -> None:
    if target.resolve() == source.resolve():
        raise StorageError(f"{target} is the database itself")
    part = target.with_name(target.name + ".part")
    part.unlink(missing_ok=True)
    with contextlib.closing(_connect(source, "ro")) as old, contextlib.closing(sqlite3.connect(part)) as new:
        old.backup(new)
        new.execute("PRAGMA journal_mode = DELETE")  # one file, no companions
    sync(part)
    os.replace(part, target)
    sync(target.parent)


def sync(path: Path) -> None:
    """Make a file's bytes, or a folder's names, durable."""
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
