"""Everything that lasts, in one data folder that belongs to one process."""

from __future__ import annotations

import asyncio
import contextlib
import fcntl
import os
from pathlib import Path
from types import TracebackType
from typing import Self

from storage import Locked, StorageError
from storage.blobs import Blobs
from storage.database import Database
from storage.deliveries import Deliveries
from storage.drafts import Drafts
from storage.history import History
from storage.jobs import Jobs
from storage.models import Models
from storage.people import People
from storage.presets import Presets
from storage.results import Results
from storage.together import Together
from storage.usage import Usage

DATABASE = "studio.db"


class Store:
    """`async with await Store.open(folder) as store:`"""

    def __init__(self, folder: Path, lock: int, db: Database) -> None:
        self.folder = folder
        self.database = db
        self.blobs = Blobs(folder / "blobs", db)
        self.jobs = Jobs(db, self.blobs)
        self.deliveries = Deliveries(db)
        self.drafts = Drafts(db, self.blobs)
        self.results = Results(db)
        self.people = People(db, self.blobs)
        self.models = Models(db)
        self.history = History(db, self.blobs)
        self.presets = Presets(db)
        self.usage = Usage(db)
        self.together = Together(db)
        self._lock: int | None = lock

    @classmethod
    async def open(cls, folder: Path) -> Self:
        """Raises `storage.Locked` when another process has the folder, `storage.Newer`, and `storage.StorageError`
        where the folder cannot be one."""
        folder = Path(folder)
        try:
            await asyncio.to_thread(folder.mkdir, parents=True, exist_ok=True)
            lock = _lock(folder)
        except OSError as error:
            raise StorageError(f"{folder}: {error.strerror}") from error
        try:
            return cls(folder, lock, await Database.open(folder / DATABASE))
        except BaseException:
            os.close(lock)
            raise

    async def close(self) -> None:
        if self._lock is not None:
            lock, self._lock = self._lock, None
            try:
                await self.database.close()
            finally:
                os.close(lock)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()


def _lock(folder: Path) -> int:
    """Take the folder for this process; the kernel lets go of it when the process ends, however it ends."""
    path = folder / "lock"
    handle = os.open(path, os.O_RDWR | os.O_CREAT, 0o644)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(handle)
        raise Locked(str(folder), _pid(path)) from None
    os.ftruncate(handle, 0)
    os.pwrite(handle, f"{os.getpid()}\n".encode(), 0)
    return handle


def _pid(path: Path) -> int | None:
    with contextlib.suppress(OSError, ValueError):
        return int(path.read_text("ascii"))
    return None
