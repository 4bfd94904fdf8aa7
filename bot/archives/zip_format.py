"""The ZIP format, read without trust: table of contents, places, and one file's bytes at a time.

Python's own reader builds the whole table before anyone can look at its size, accepts entries that share bytes,
and raises errors of many kinds for hostile files. This one reads what honest archives have, within bounds, and
knows one error. https://pkware.cachefly.net/webdocs/casestudies/APPNOTE.TXT, sections 4.3 to 4.5.
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from typing import BinaryIO

CHUNK = 1 << 16
TABLE = 8_000_000  # bytes of a table of contents at most
STORED, DEFLATED = 0, 8
LOCKED = 0x1 | 0x40 | 0x2000  # flags of encryption, of each kind
UTF8 = 0x800

_END = struct.Struct("<4s4H2LH")
_END_64 = struct.Struct("<4sQ2H2L4Q")
_LOCATOR = struct.Struct("<4sLQL")
_ENTRY = struct.Struct("<4s6H3L5H2L")
_LOCAL = struct.Struct("<4s5H3L2H")
_FULL_16, _FULL_32 = 0xFFFF, 0xFFFFFFFF


class BadZip(Exception):
    """Not a whole, plain archive; `kind` is one of "none", "early", "split", "damaged", "many"."""

    def __init__(self, kind: str, count: int = 0) -> None:
        super().__init__(kind)
        self.kind = kind
        self.count = count  # entries, where there are too many


@dataclass(frozen=True, slots=True)
class Entry:
    """One line of the table of contents; all of it is a claim."""

    name: bytes
    flags: int
    method: int
    sum: int  # CRC-32
    packed: int  # bytes in the archive
    size: int  # bytes unpacked
    offset: int  # of its local header
    system: int  # which made it; 3 is Unix
    attributes: int

    @property
    def unix_kind(self) -> int:
        """The file type in a Unix mode; 0 where it was made elsewhere."""
        return (self.attributes >> 16) & 0xF000 if self.system == 3 else 0


@dataclass(frozen=True, slots=True)
class Table:
    entries: tuple[Entry, ...]
    start: int  # where the table begins, and the files' bytes end


def read_table(file: BinaryIO, most: int) -> Table:
    """The table of contents, of `most` entries at most. Raises `BadZip`."""
    file.seek(0, 2)
    whole = file.tell()
    file.seek(max(0, whole - _END.size - _FULL_16))
    tail = file.read()
    at = _end_record(tail)
    if at is None:
        file.seek(0)
        raise BadZip("early" if file.read(4) == b"PK\3\4" else "none")
    _, disk, first, here, count, size, start, _ = _END.unpack_from(tail, at)
    end = whole - len(tail) + at
    if (wide := _wide_end(file, end)) is not None:
        end, disk, first, here, count, size, start = wide
    if disk or first or here != count:
        raise BadZip("split")
    if count > most:
        raise BadZip("many", count)
    if size > TABLE or start + size != end:
        raise BadZip("damaged")
    file.seek(start)
    entries = tuple(_entries(file.read(size), count))
    if any(entry.offset >= start for entry in entries):
        raise BadZip("damaged")
    return Table(entries, start)


def _end_record(tail: bytes) -> int | None:
    """Where the end record lies in the last bytes of a file: the one whose comment fills the rest."""
    at = tail.rfind(b"PK\5\6")
    while at >= 0:
        if at + _END.size <= len(tail) and _END.unpack_from(tail, at)[-1] == len(tail) - at - _END.size:
            return at
        at = tail.rfind(b"PK\5\6", 0, at)
    return None


def _wide_end(file: BinaryIO, end: int) -> tuple[int, ...] | None:
    """What the end record for large archives says instead, where there is one."""
    if end < _LOCATOR.size + _END_64.size:
        return None
    file.seek(end - _LOCATOR.size)
    mark, disk, at, disks = _LOCATOR.unpack(file.read(_LOCATOR.size))
    if mark != b"PK\6\7":
        return None
    if disk or disks > 1:
        raise BadZip("split")
    if at + _END_64.size > end - _LOCATOR.size:
        raise BadZip("damaged")
    file.seek(at)
    mark, length, _, _, disk, first, here, count, size, start = _END_64.unpack(file.read(_END_64.size))
    if mark != b"PK\6\6" or at + 12 + length != end - _LOCATOR.size:
        raise BadZip("damaged")
    return at, disk, first, here, count, size, start


def _entries(table: bytes, count: int) -> Iterator[Entry]:
    at = 0
    for _ in range(count):
        if at + _ENTRY.size > len(table):
            raise BadZip("damaged")
        (mark, made, _, flags, method, _, _, sum, packed, size, names, extras, comments, disk, _, attributes, offset) = (
            _ENTRY.unpack_from(table, at)
        )  # fmt: skip
        name_at = at + _ENTRY.size
        extra_at = name_at + names
        at = extra_at + extras + comments
        if mark != b"PK\1\2" or at > len(table):
            raise BadZip("damaged")
        if disk not in (0, _FULL_16):
            raise BadZip("split")
        wide = _wide(table[extra_at : extra_at + extras], [size, packed, offset])
        name = table[name_at:extra_at]
        yield Entry(name, flags, method, sum, wide[1], wide[0], wide[2], made >> 8, attributes)
    if at != len(table):
        raise BadZip("damaged")


def _wide(extra: bytes, values: list[int]) -> list[int]:
    """Numbers too large for their field stand in the extra field of kind 1, in their order."""
    if _FULL_32 not in values:
        return values
    at = 0
    while at + 4 <= len(extra):
        kind, length = struct.unpack_from("<HH", extra, at)
        body = extra[at + 4 : at + 4 + length]
        at += 4 + length
        if kind == 1:
            wide = iter(struct.unpack(f"<{len(body) // 8}Q", body[: len(body) // 8 * 8]))
            found = [next(wide, -1) if value == _FULL_32 else value for value in values]
            if min(found) >= 0:
                return found
    raise BadZip("damaged")


def data_start(file: BinaryIO, entry: Entry) -> int:
    """Where the entry's packed bytes begin. Raises `BadZip` where its local header says something else."""
    file.seek(entry.offset)
    header = file.read(_LOCAL.size)
    if len(header) < _LOCAL.size:
        raise BadZip("damaged")
    mark, _, flags, method, _, _, _, _, _, names, extras = _LOCAL.unpack(header)
    same = file.read(names) == entry.name and method == entry.method
    if mark != b"PK\3\4" or not same or (flags ^ entry.flags) & LOCKED:
        raise BadZip("damaged")
    return entry.offset + _LOCAL.size + int(names) + int(extras)


def unpacked(file: BinaryIO, entry: Entry, start: int) -> Iterator[bytes]:
    """The file's bytes, a piece at a time, never more than the table says. Raises `BadZip` unless all is right."""
    file.seek(start)
    left, made, sum = entry.packed, 0, 0
    inflate = zlib.decompressobj(-15) if entry.method == DEFLATED else None
    while left:
        packed = file.read(min(CHUNK, left))
        if not packed:
            raise BadZip("damaged")
        left -= len(packed)
        for piece in _inflated(inflate, packed) if inflate else (packed,):
            made += len(piece)
            if made > entry.size:
                raise BadZip("damaged")
            sum = zlib.crc32(piece, sum)
            yield piece
    ended = inflate is None or (inflate.eof and not inflate.unused_data)
    if made != entry.size or sum != entry.sum or not ended:
        raise BadZip("damaged")


def _inflated(inflate: zlib._Decompress, packed: bytes) -> Iterator[bytes]:
    """At most `CHUNK` bytes each, however much the packed ones hold.

    After a full piece there may be more of it inside zlib, though it has taken all that was packed.
    """
    while True:
        try:
            piece = inflate.decompress(packed, CHUNK)
        except zlib.error:
            raise BadZip("damaged") from None
        yield piece
        packed = inflate.unconsumed_tail
        if not packed and len(piece) < CHUNK:
            return
