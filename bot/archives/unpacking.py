"""ZIP archives from strangers, unpacked by streaming: checked whole before a byte is written, never in memory.

Files get names of our own; those inside are only told. What is wrong with an archive ends as a `Refusal` with a
sentence of its own.
"""

from __future__ import annotations

import asyncio
import errno
import re
import stat
import threading
import unicodedata
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from bot.archives import words
from bot.archives.zip_format import (
    DEFLATED,
    LOCKED,
    STORED,
    UTF8,
    BadZip,
    Entry,
    data_start,
    read_table,
    unpacked,
)
from bot.locale.numbers import size
from engines.words import Refusal, Words
from storage import Full

JUNK = re.compile(r"(^|/)(__MACOSX/|\.DS_Store$|Icon\r$|\._[^/]*$|Thumbs\.db$|desktop\.ini$)", re.IGNORECASE)
ARCHIVES = re.compile(r"\.(zip|jar|7z|rar|tar|t?gz|t?bz2?|t?xz|zst|lz4|lzh|alz|egg|cab|iso)$", re.IGNORECASE)
KINDS = (
    ("RAR", b"Rar!"), ("7z", b"7z\xbc\xaf"), ("gzip", b"\x1f\x8b"), ("bzip2", b"BZh"), ("xz", b"\xfd7zXZ"),
    ("ALZ", b"ALZ\1"), ("EGG", b"EGGA"), ("Zstandard", b"\x28\xb5\x2f\xfd"), ("ZIP", b"PK\3\4"),
)  # fmt: skip
DRIVE = re.compile(r"^[A-Za-z]:")
LONGEST = 255  # characters of one part of a path
DEEPEST = 1000  # characters of a whole path
LARGE = 100_000_000  # bytes that any archive may unpack to, however well it was packed


@dataclass(frozen=True, slots=True)
class ArchiveLimits:
    """What a stranger's archive may cost."""

    members: int = 500  # files, junk not counted
    total_bytes: int = 2_000_000_000  # unpacked
    file_bytes: int = 25_000_000  # of one file, unpacked
    ratio: float = 200.0  # unpacked to packed; honest archives of flat masks have much too, but are small


@dataclass(frozen=True, slots=True)
class Member:
    name: str  # its path inside the archive, with `/`, in NFC
    path: Path  # where it was unpacked
    size: int


@dataclass(frozen=True, slots=True)
class Unpacked:
    members: tuple[Member, ...]  # in the archive's order


async def unpack(
    file: Path, folder: Path, limits: ArchiveLimits | None = None, name: str = "archive.zip"
) -> Unpacked:
    """All files of the archive at `file`, in `folder`; `name` is what its sender calls it.

    Raises `Refusal` for an archive that is not wanted, with nothing said about the rest of it, and `storage.Full`.
    """
    stop = threading.Event()
    unpacking = _Unpacking(file, folder, limits or ArchiveLimits(), _shown(name), stop)
    try:
        return await asyncio.to_thread(unpacking.all)
    finally:
        stop.set()  # where it was cancelled, the thread ends soon


@dataclass(frozen=True, slots=True)
class _Unpacking:
    """One archive on its way; in a thread."""

    file: Path
    folder: Path
    limits: ArchiveLimits
    zip: str
    stop: threading.Event

    def all(self) -> Unpacked:
        with self.file.open("rb") as archive:
            try:
                found = self._checked(archive)
            except BadZip as bad:
                raise self._why(bad, archive) from None
            try:
                return Unpacked(tuple(self._member(archive, i, *one) for i, one in enumerate(found)))
            except OSError as error:
                if error.errno in (errno.ENOSPC, errno.EDQUOT):
                    raise Full("no room to unpack an archive") from error
                raise

    def _checked(self, archive: BinaryIO) -> list[tuple[str, Entry, int]]:
        """What is to be unpacked: name, entry, where its bytes begin. Everything that can be is known by now."""
        table = read_table(archive, 4 * self.limits.members + 1000)  # with folders and junk
        named = [(self._named(entry), entry) for entry in table.entries]
        starts = self._places(archive, table.entries, table.start)
        files = [(name, entry) for name, entry in named if name and not JUNK.search(name)]
        self._count(files)
        taken: set[str] = set()
        for name, entry in files:
            self._check(name, entry)
            if name in taken:
                raise self._no(words.TWICE, name)
            taken.add(name)
        return [(name, entry, starts[entry]) for name, entry in files]

    def _named(self, entry: Entry) -> str:
        """The path inside the archive; "" for a folder. Raises `Refusal` for one that leads elsewhere."""
        name = _decoded(entry)
        for wrong, matches in (
            (words.BACKSLASH, "\\" in name),
            (words.ABSOLUTE, name.startswith("/")),
            (words.DRIVE, DRIVE.match(name)),
            (words.UPWARD, ".." in name.split("/")),
            (
                words.ODD_NAME,
                not JUNK.search(name) and any(unicodedata.category(c) in ("Cc", "Cs") for c in name),
            ),
        ):
            if matches:
                raise self._no(wrong, name)
        plain = "".join(c for c in unicodedata.normalize("NFC", name) if unicodedata.category(c) != "Cf")
        parts = [part for part in plain.split("/") if part not in ("", ".")]
        if name.endswith("/") and not entry.size:
            return ""
        if not parts or name.endswith("/") or len(plain) > DEEPEST or max(map(len, parts)) > LONGEST:
            raise self._no(words.ODD_NAME, name)
        if entry.unix_kind not in (0, stat.S_IFREG):
            raise self._no(words.LINK, name)
        return "/".join(parts)

    def _places(self, archive: BinaryIO, entries: tuple[Entry, ...], end: int) -> dict[Entry, int]:
        """Where each entry's bytes begin; no two may share any."""
        starts = {}
        free = 0  # up to here the bytes belong to an entry before
        for entry in sorted(entries, key=lambda one: one.offset):
            if entry.flags & LOCKED:
                raise self._no(words.ENCRYPTED)
            if entry.offset < free:
                raise self._no(words.OVERLAP)
            starts[entry] = data_start(archive, entry)
            free = starts[entry] + entry.packed
        if free > end:
            raise self._no(words.OVERLAP)
        return starts

    def _count(self, files: list[tuple[str, Entry]]) -> None:
        limits, whole = self.limits, sum(entry.size for _, entry in files)
        packed = self.file.stat().st_size
        if not files:
            raise self._no(words.EMPTY)
        if len(files) > limits.members:
            raise self._no(words.TOO_MANY, count=len(files), limit=limits.members)
        if whole > max(packed * limits.ratio, LARGE):
            raise self._no(words.BOMB, packed=size(packed), size=size(whole))
        if whole > limits.total_bytes:
            raise self._no(words.TOO_MUCH, size=size(whole), limit=size(limits.total_bytes))

    def _check(self, name: str, entry: Entry) -> None:
        if ARCHIVES.search(name):
            raise self._no(words.NESTED, name)
        if entry.method not in (STORED, DEFLATED):
            raise self._no(words.METHOD, name, method=entry.method)
        if entry.size > self.limits.file_bytes:
            sizes = {"size": size(entry.size), "limit": size(self.limits.file_bytes)}
            raise self._no(words.FILE_TOO_LARGE, name, **sizes)

    def _member(self, archive: BinaryIO, index: int, name: str, entry: Entry, start: int) -> Member:
        ending = re.search(r"\.[a-z0-9]{1,5}$", name.lower())
        path = self.folder / f"{index:05d}{ending.group() if ending else ''}"
        head = b""
        with path.open("xb") as file:
            try:
                for piece in unpacked(archive, entry, start):
                    head = head if len(head) >= 8 else (head + piece)[:8]
                    file.write(piece)
                    if self.stop.is_set():
                        raise InterruptedError("nobody waits for it any more")
            except BadZip:
                raise self._no(words.WRONG_SUM, name) from None
        if any(head.startswith(mark) for _, mark in KINDS):
            raise self._no(words.NESTED, name)
        return Member(name, path, entry.size)

    def _why(self, bad: BadZip, archive: BinaryIO) -> Refusal:
        if bad.kind == "none":
            archive.seek(0)
            head = archive.read(8)
            kind = next((kind for kind, mark in KINDS if head.startswith(mark)), "")
            return self._no(words.OTHER_KIND if kind else words.NOT_A_ZIP, kind=kind)
        if bad.kind == "many":
            return self._no(words.TOO_MANY, count=bad.count, limit=self.limits.members)
        return self._no({"early": words.ENDS_EARLY, "split": words.SPLIT}.get(bad.kind, words.DAMAGED))

    def _no(self, why: Words, name: str = "", **values: object) -> Refusal:
        return Refusal(why(zip=self.zip, name=_shown(name), **values))


def _decoded(entry: Entry) -> str:
    """The name as it was meant: what is not marked as UTF-8 may be that all the same (macOS), or Korean Windows'."""
    if entry.flags & UTF8:
        return entry.name.decode("utf-8", "surrogateescape")
    for encoding in ("utf-8", "euc_kr"):
        try:
            return entry.name.decode(encoding)
        except UnicodeDecodeError:
            continue
    return entry.name.decode("cp437")


def _shown(name: str) -> str:
    """A name as it may stand in a sentence."""
    plain = "".join(c if unicodedata.category(c)[0] != "C" else "�" for c in name)
    return plain if len(plain) <= 80 else f"{plain[:38]}…{plain[-38:]}"
