"""Content-addressed files: the name is the SHA-256 of the bytes, so the same picture is stored once.

A name is returned only when the bytes would survive a power cut. Who uses a blob is told by the tables.
"""

from __future__ import annotations

import asyncio
import contextlib
import errno
import hashlib
import os
import re
import shutil
import sqlite3
import tempfile
import threading
from collections.abc import Iterable, Iterator, Sequence
from functools import partial
from pathlib import Path

from storage import Full, Missing
from storage.database import Database, sync

_NAME = re.compile(r"[0-9a-f]{64}")
GRACE = 900.0  # seconds a blob may lie unused between being put and being named by a row

_USED = """
SELECT EXISTS (SELECT 1 FROM inputs WHERE blob = :blob)
    OR EXISTS (SELECT 1 FROM results WHERE blob = :blob)
    OR EXISTS (SELECT 1 FROM people WHERE last_input = :blob)
    OR EXISTS (SELECT 1 FROM draft_blobs WHERE blob = :blob)
"""


class Blobs:
    """Files under `folder`, two letters a sub-folder: `ab/cdef…`."""

    def __init__(self, folder: Path, database: Database) -> None:
        self._folder = folder
        self._database = database
        self._turn = threading.Lock()  # between putting a file in place and sweeping it away
        self._temporary = folder / "tmp"
        shutil.rmtree(self._temporary, ignore_errors=True)  # what a killed process left
        self._temporary.mkdir(parents=True)

    def path(self, name: str) -> Path:
        """Where the blob lies, or would lie. Raises `ValueError` for what is no blob's name."""
        if not _NAME.fullmatch(name):
            raise ValueError(f"not a blob name: {name[:80]!r}")
        return self._folder / name[:2] / name[2:]

    async def put(self, data: bytes) -> str:
        """Store the bytes and return their name. Raises `Full`."""
        return await asyncio.to_thread(self._put, data)

    async def put_file(self, path: Path, *, move: bool = False) -> str:
        """Store a file's content; with `move` the file itself goes where it can. Raises `Full`."""
        return await asyncio.to_thread(self._put_file, path, move)

    async def keep(self, names: Iterable[str]) -> None:
        """Count them as put just now: a row that names them is about to come."""

        def touch(names: list[str]) -> None:
            for name in names:
                self._touch(name)

        await asyncio.to_thread(touch, list(names))

    async def read(self, name: str) -> bytes:
        """The bytes; `Missing` where there are none."""
        try:
            return await asyncio.to_thread(self.path(name).read_bytes)
        except FileNotFoundError:
            raise Missing(name) from None

    def check(self, names: Iterable[str]) -> None:
        """Raise `Missing` unless all are there: called inside the transaction that names them."""
        for name in names:
            if not self.path(name).exists():
                raise Missing(name)

    async def sweep(self, now: float, older_than: float = GRACE) -> int:
        """Remove what no row uses and nobody put within the last `older_than` seconds; how many went."""
        names = await asyncio.to_thread(lambda: list(self._names()))
        return await self.drop(names, now, older_than)

    async def drop(self, names: Iterable[str], now: float, older_than: float = GRACE) -> int:
        """Like `sweep`, for these alone."""
        names, gone = list(names), 0
        for start in range(0, len(names), 100):  # short transactions: others want to write too
            drop = partial(self._drop, names=names[start : start + 100], before=now - older_than)
            gone += await self._database.write(drop)
        return gone

    def _names(self) -> Iterator[str]:
        for path in self._folder.glob("??/*"):
            if _NAME.fullmatch(name := path.parent.name + path.name):
                yield name

    def _drop(self, db: sqlite3.Connection, names: Sequence[str], before: float) -> int:
        # Inside a write transaction, so that no row can come to name a blob between the look and the removal.
        unused = [name for name in names if not db.execute(_USED, {"blob": name}).fetchone()[0]]
        return sum(self._remove(self.path(name), before) for name in unused)

    def _remove(self, path: Path, before: float) -> bool:
        with self._turn, contextlib.suppress(FileNotFoundError):
            if path.stat().st_mtime <= before:
                path.unlink()
                return True
        return False

    def _put(self, data: bytes) -> str:
        name = hashlib.sha256(data).hexdigest()
        if not self._touch(name):
            with self._writing() as (handle, part):
                with os.fdopen(handle, "wb") as file:
                    file.write(data)
                self._place(part, name)
        return name

    def _put_file(self, path: Path, move: bool) -> str:
        with path.open("rb") as file:
            name = hashlib.file_digest(file, "sha256").hexdigest()
        if self._touch(name):
            if move:
                path.unlink()
            return name
        with self._writing() as (handle, part):
            os.close(handle)
            if move:
                shutil.move(path, part)
            else:
                shutil.copyfile(path, part)
            self._place(part, name)
        return name

    def _touch(self, name: str) -> bool:
        """Whether it is there already; if so it counts as put just now."""
        with self._turn, contextlib.suppress(FileNotFoundError):
            os.utime(self.path(name))
            return True
        return False

    @contextlib.contextmanager
    def _writing(self) -> Iterator[tuple[int, Path]]:
        """A temporary file beside the blobs; gone afterwards unless it was put in place."""
        handle, part = tempfile.mkstemp(dir=self._temporary)
        try:
            yield handle, Path(part)
        except OSError as error:
            if error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG):
                raise Full(f"no room for a file: {error.strerror}") from error
            raise
        finally:
            Path(part).unlink(missing_ok=True)

    def _place(self, part: Path, name: str) -> None:
        sync(part)
        target = self.path(name)
        with self._turn:
            if not target.parent.exists():
                target.parent.mkdir(exist_ok=True)
                sync(self._folder)
            os.utime(part)
            os.replace(part, target)
        sync(target.parent)
