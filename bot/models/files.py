"""A model's folder as files for a chat: what is worth seeing, and the whole as a ZIP, in parts where it must be.

The ZIP is written to disk and sent from disk; a model never lies in memory. It is kept as an unused blob, which is
swept a while after it was sent.
"""

from __future__ import annotations

import asyncio
import math
import tempfile
import zipfile
from dataclasses import dataclass
from pathlib import Path

from bot.talk import File, Limits
from engines.models.catalogue import Model
from storage.store import Store

MOST_PARTS = 40
ROOM = 20_000  # bytes a ZIP has beside its files, and a message beside its own
SAMPLES = 4
CHUNK = 1 << 20


def pictures(model: Model, limits: Limits) -> tuple[File, ...]:
    """The loss curve and some samples, as many as a message takes."""
    folder = model.path
    if folder is None or not folder.is_dir():
        return ()
    found = [folder / "loss.png", *sorted((folder / "samples").glob("*.png"))[-SAMPLES:]]
    files: list[File] = []
    room = limits.message_bytes
    for path in found:
        size = path.stat().st_size if path.is_file() else 0
        if 0 < size <= min(room, limits.file_bytes) and len(files) < limits.files:
            room -= size
            files.append(File(path, f"{model.name}-{path.name}", alt=path.stem))
    return tuple(files)


@dataclass(frozen=True, slots=True)
class Parcel:
    """How a model goes through a chat."""

    model: Model
    size: int  # bytes, about
    piece: int  # bytes of a part at most
    parts: int
    each: int  # parts in one message

    @classmethod
    def of(cls, model: Model, limits: Limits) -> Parcel | None:
        """None where it is too large for this chat."""
        piece = min(limits.file_bytes, limits.message_bytes) - ROOM
        if piece <= 0 or limits.files < 1:
            return None
        size = model.size + ROOM
        parts = math.ceil(size / piece)
        if parts > MOST_PARTS:
            return None
        each = max(1, min(limits.files, limits.message_bytes // (piece + ROOM)))
        return cls(model, size, piece, parts, each)

    @property
    def messages(self) -> int:
        return math.ceil(self.parts / self.each)

    async def files(self, store: Store, message: int) -> tuple[File, ...]:
        """The files of the message of this number, from 1; made now, with the same bytes each time."""
        folder = store.folder / "exports"
        await asyncio.to_thread(folder.mkdir, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=folder, prefix=".zip-") as work:
            path = Path(work) / "model.zip"
            await asyncio.to_thread(zipped, self.model, path)
            if self.parts == 1:
                return (await self._kept(store, path, f"{self.model.name}.zip"),)
            first = (message - 1) * self.each
            wanted = range(first, min(first + self.each, self.parts))
            cut = [await asyncio.to_thread(_piece, path, i, self.piece) for i in wanted]
            names = [f"{self.model.name}.zip.{i + 1:03}" for i in wanted]
            made = [
                await self._kept(store, part, name) for part, name in zip(cut, names, strict=True) if part
            ]
            return tuple(made)

    async def _kept(self, store: Store, path: Path, name: str) -> File:
        blob = await store.blobs.put_file(path, move=True)
        return File(store.blobs.path(blob), name)


def zipped(model: Model, to: Path) -> None:
    """The model's files under its name; weights do not shrink, so they are stored as they are."""
    path = model.path
    assert path is not None
    files = [path, path.with_suffix(".json")] if path.is_file() else sorted(path.rglob("*"))
    root = path.parent if path.is_file() else path
    with zipfile.ZipFile(to, "w", strict_timestamps=False) as archive:
        for file in files:
            if file.is_file() and not file.is_symlink():
                archive.write(file, f"{model.name}/{file.relative_to(root).as_posix()}")


def _piece(path: Path, index: int, size: int) -> Path | None:
    """The bytes of one part in a file of their own; None behind the end."""
    part = path.with_suffix(f".{index:03}")
    with path.open("rb") as whole, part.open("wb") as out:
        whole.seek(index * size)
        left = size
        while left and (chunk := whole.read(min(CHUNK, left))):
            out.write(chunk)
            left -= len(chunk)
    return part if part.stat().st_size else None
