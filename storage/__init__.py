"""What survives a restart: one SQLite file and a folder of content-addressed files."""

from __future__ import annotations


class StorageError(Exception):
    """Something the disk would not do; nothing was half written."""


class Locked(StorageError):
    """Another process has this data folder."""

    def __init__(self, folder: str, pid: int | None) -> None:
        super().__init__(f"{folder} is in use by process {pid or '?'}")
        self.folder = folder
        self.pid = pid


class Full(StorageError):
    """The disk, or the database's allowance, is full."""


class Missing(StorageError):
    """A stored file that a row was to name is not there."""


class Newer(StorageError):
    """The database was written by a later release."""
