"""ZIP archives from strangers: honest ones are unpacked whole, hostile ones get a sentence of their own."""

from __future__ import annotations

import io
import random
import struct
import tracemalloc
import zipfile
import zlib
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from bot.archives import zip_format
from bot.archives.unpacking import ArchiveLimits, Unpacked, unpack
from engines.words import Refusal


@dataclass(frozen=True)
class Raw:
    """One file of an archive written byte by byte, so that each field can lie."""

    name: bytes
    data: bytes = b"data"
    deflate: bool = False
    flags: int = 0x800
    method: int | None = None
    sum: int | None = None
    size: int | None = None
    attributes: int = 0
    system: int = 3
    local_name: bytes | None = None
    offset: int | None = None


def packed(data: bytes) -> bytes:
    deflate = zlib.compressobj(9, zlib.DEFLATED, -15)
    return deflate.compress(data) + deflate.flush()


def raw(*files: Raw, count: int | None = None, start: int | None = None, comment: bytes = b"") -> bytes:
    out, table = io.BytesIO(), io.BytesIO()
    for file in files:
        body = packed(file.data) if file.deflate else file.data
        method = file.method if file.method is not None else 8 if file.deflate else 0
        sum = zlib.crc32(file.data) if file.sum is None else file.sum
        size = len(file.data) if file.size is None else file.size
        name, at = file.local_name or file.name, out.tell() if file.offset is None else file.offset
        local = (b"PK\3\4", 20, file.flags, method, 0, 0, sum, len(body), size, len(name), 0)
        if file.offset is None:
            out.write(struct.pack("<4s5H3L2H", *local) + name + body)
        entry = (b"PK\1\2", 20 | file.system << 8, 20, file.flags, method, 0, 0, sum, len(body), size)
        more = (len(file.name), 0, 0, 0, 0, file.attributes, at)
        table.write(struct.pack("<4s6H3L5H2L", *entry, *more) + file.name)
    where = out.tell() if start is None else start
    n = len(files) if count is None else count
    end = struct.pack("<4s4H2LH", b"PK\5\6", 0, 0, n, n, len(table.getvalue()), where, len(comment))
    return out.getvalue() + table.getvalue() + end + comment


def zipped(files: dict[str, bytes], method: int = zipfile.ZIP_DEFLATED) -> bytes:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", method) as archive:
        for name, data in files.items():
            archive.writestr(name, data)
    return out.getvalue()


async def unpacked(folder: Path, data: bytes, limits: ArchiveLimits | None = None) -> Unpacked:
    file, inside = folder / "sent", folder / "inside"
    file.write_bytes(data)
    inside.mkdir()
    return await unpack(file, inside, limits, "sent.zip")


async def test_an_honest_archive_is_unpacked_whole(tmp_path: Path) -> None:
    files = {"images/a.png": b"photo" * 9, "images/나사.png": b"nut", "empty.txt": b"", "a b/c.d/e": b"x"}
    found = await unpacked(tmp_path, zipped(files))
    assert {member.name: member.path.read_bytes() for member in found.members} == files
    assert [member.size for member in found.members] == [45, 3, 0, 1]
    assert all(member.path.parent == tmp_path / "inside" for member in found.members)


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    files=st.dictionaries(
        st.from_regex(r"[a-z가-힣]{1,8}(/[a-z가-힣]{1,8}){0,2}\.png", fullmatch=True),
        (st.binary(max_size=300) | st.integers(0, 200_000).map(lambda n: b"z" * n)).map(
            lambda data: b"." + data
        ),
        min_size=1,
        max_size=6,
    ),
    method=st.sampled_from([zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED]),
    comment=st.binary(max_size=40),
)
async def test_what_python_packs_comes_out_the_same(
    tmp_path_factory: pytest.TempPathFactory, files: dict[str, bytes], method: int, comment: bytes
) -> None:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", method) as archive:
        for name, data in files.items():
            with archive.open(name, "w", force_zip64=len(data) % 2 == 1) as inside:
                inside.write(data)
        archive.comment = b"" if b"PK" in comment else comment
    found = await unpacked(tmp_path_factory.mktemp("zip"), out.getvalue())
    assert {member.name: member.path.read_bytes() for member in found.members} == files


@pytest.mark.parametrize("over", [1, 9, 20, 150, 514])
@pytest.mark.parametrize("pieces", [1, 2, 3])
async def test_what_packs_very_well_comes_out_whole(tmp_path: Path, pieces: int, over: int) -> None:
    """zlib takes all of it and holds back what is over a full piece: a mask of one colour packs like this."""
    data = b"." + b"z" * (pieces * zip_format.CHUNK + over)
    found = await unpacked(tmp_path, zipped({"a.png": data}))
    assert [member.path.read_bytes() for member in found.members] == [data]


async def test_junk_and_folders_are_passed_over_silently(tmp_path: Path) -> None:
    junk = ("__MACOSX/._a.png", "._a.png", "b/.DS_Store", "Thumbs.db", "b/Desktop.ini", "Icon\r")
    data = zipped({"a.png": b"photo", "b/": b"", **dict.fromkeys(junk, b"junk")})
    found = await unpacked(tmp_path, data)
    assert [member.name for member in found.members] == ["a.png"]


@pytest.mark.parametrize(
    ("name", "flags", "read"),
    [
        ("나사".encode("cp949"), 0, "나사.png"),
        ("나사".encode(), 0, "나사.png"),
        ("Ma\u0308dchen".encode(), 0x800, "Mädchen.png"),
        ("M\u00e4dchen".encode("cp437"), 0, "Mädchen.png"),
    ],
    ids=["Korean Windows", "macOS", "decomposed", "DOS"],
)
async def test_names_are_read_as_they_were_meant(tmp_path: Path, name: bytes, flags: int, read: str) -> None:
    found = await unpacked(tmp_path, raw(Raw(name + b".png", flags=flags)))
    assert found.members[0].name == read


def overlapping() -> bytes:
    """Two entries of the table lead to the same bytes (a "better zip bomb" in small)."""
    return raw(Raw(b"a.png", b"x" * 50), Raw(b"b.png", b"x" * 50, local_name=b"a.png", offset=0))


def inside_another() -> bytes:
    """One file's bytes hold the other file, header and all."""
    inner = raw(Raw(b"b.png", b"y" * 9))[: 30 + 5 + 9]
    return raw(Raw(b"a.png", inner), Raw(b"b.png", b"y" * 9, offset=30 + 5))


def lying_size() -> bytes:
    return raw(Raw(b"a.png", b"x" * 100_000, deflate=True, size=10))


HOSTILE: dict[str, tuple[Callable[[], bytes], str]] = {
    "no archive": (lambda: b"hello there, this is text", "is not a ZIP"),
    "nothing": (lambda: b"", "is not a ZIP"),
    "another kind": (lambda: b"Rar!\x1a\7\1\0" + b"x" * 99, "is a RAR archive"),
    "cut off": (lambda: raw(Raw(b"a.png", b"x" * 999))[:-200], "breaks off"),
    "cut in the table": (lambda: raw(Raw(b"a.png"))[:-10], "breaks off"),
    "table elsewhere": (lambda: raw(Raw(b"a.png"), start=7), "table of contents"),
    "one entry too many": (lambda: raw(Raw(b"a.png"), count=2), "table of contents"),
    "something before it": (lambda: b"#!/bin/sh\n" + raw(Raw(b"a.png")), "table of contents"),
    "several disks": (lambda: _patched(raw(Raw(b"a.png")), -18, b"\2\0"), "several files"),
    "no file": (lambda: zipped({"a/": b""}), "no file in"),
    "upward": (lambda: raw(Raw(b"../../etc/x.png")), "points out of the archive"),
    "upward inside": (lambda: raw(Raw(b"a/../../x.png")), "points out of the archive"),
    "absolute": (lambda: raw(Raw(b"/etc/x.png")), "absolute path"),
    "a drive": (lambda: raw(Raw(b"C:x.png")), "names a drive"),
    "backslash": (lambda: raw(Raw(b"..\\x.png")), "backslash"),
    "a control character": (lambda: raw(Raw(b"a\x1b[2Jb.png")), "characters that no file name"),
    "a zero byte": (lambda: raw(Raw(b"a.png\0.exe")), "characters that no file name"),
    "no UTF-8": (lambda: raw(Raw(b"a\xff\xfe.png")), "characters that no file name"),
    "no name": (lambda: raw(Raw(b"")), "is empty, too long"),
    "a long name": (lambda: raw(Raw(b"x" * 300)), "is empty, too long"),
    "a symbolic link": (lambda: raw(Raw(b"a.png", b"/etc/passwd", attributes=0o120777 << 16)), "is a link"),
    "a device": (lambda: raw(Raw(b"a.png", attributes=0o020666 << 16)), "is a link or a device"),
    "locked": (lambda: raw(Raw(b"a.png", flags=0x801)), "password"),
    "twice": (lambda: raw(Raw(b"a.png"), Raw(b"a.png")), "is in “sent.zip” twice"),
    "twice when normalised": (
        lambda: raw(Raw("가.png".encode()), Raw("\u1100\u1161.png".encode())),
        "is in “sent.zip” twice",
    ),
    "twice but for what is not seen": (
        lambda: raw(Raw(b"a.png"), Raw("a\u200b.png".encode())),
        "is in “sent.zip” twice",
    ),
    "shared bytes": (overlapping, "share the same bytes"),
    "one inside the other": (inside_another, "share the same bytes"),
    "a wrong sum": (lambda: raw(Raw(b"a.png", sum=7)), "checksum is wrong"),
    "more than it says": (lying_size, "checksum is wrong"),
    "less than it says": (lambda: raw(Raw(b"a.png", size=99)), "checksum is wrong"),
    "broken inside": (lambda: raw(Raw(b"a.png", b"\xff\xff\xff", method=8)), "checksum is wrong"),
    "another method": (lambda: raw(Raw(b"a.png", method=14)), "a method that is not known here (14)"),
    "another name inside": (lambda: raw(Raw(b"a.png", local_name=b"b.png")), "table of contents"),
    "an archive inside": (lambda: raw(Raw(b"b/inner.ZIP")), "is an archive itself"),
    "an archive in disguise": (lambda: raw(Raw(b"a.png", zipped({"x": b"y"}))), "is an archive itself"),
}


@pytest.mark.parametrize(("make", "sentence"), HOSTILE.values(), ids=HOSTILE)
async def test_a_hostile_archive_gets_its_own_sentence(
    tmp_path: Path, make: Callable[[], bytes], sentence: str
) -> None:
    with pytest.raises(Refusal) as no:
        await unpacked(tmp_path, make())
    assert sentence in no.value.words.en
    assert "sent.zip" in no.value.words.ko
    assert not any("가" <= c <= "힣" for c in no.value.words.en.replace("가.png", ""))
    assert any("가" <= c <= "힣" for c in no.value.words.ko)
    assert {path.name for path in tmp_path.iterdir()} == {"sent", "inside"}, "nothing anywhere else"


@pytest.mark.parametrize(
    ("limits", "sentence"),
    [
        (ArchiveLimits(members=2), "holds 3 files; at most 2"),
        (ArchiveLimits(total_bytes=1000), "would unpack to 3 KB"),
        (ArchiveLimits(file_bytes=999), "one file may have 999 B"),
    ],
    ids=["files", "all together", "one"],
)
async def test_limits(tmp_path: Path, limits: ArchiveLimits, sentence: str) -> None:
    data = zipped({name: b"x" * 1000 for name in ("a.png", "b.png", "c.png")})
    with pytest.raises(Refusal) as no:
        await unpacked(tmp_path, data, limits)
    assert sentence in no.value.words.en
    assert not list((tmp_path / "inside").iterdir()), "refused before a byte is written"


async def test_a_bomb_is_known_before_it_is_unpacked(tmp_path: Path) -> None:
    files = [Raw(b"%d.png" % i, b"", size=2**31) for i in range(9)]
    with pytest.raises(Refusal) as no:
        await unpacked(tmp_path, raw(*files))
    assert "no archive of pictures" in no.value.words.en


async def test_a_table_of_millions_is_never_read(tmp_path: Path) -> None:
    with pytest.raises(Refusal) as no:
        await unpacked(tmp_path, raw(*(Raw(b"%d" % i, b"") for i in range(4000))), ArchiveLimits(members=500))
    assert "holds 4000 files" in no.value.words.en


async def test_memory_does_not_grow_with_the_archive(tmp_path: Path) -> None:
    data = zipped({f"{i}.bin": bytes(2_000_000) for i in range(20)})
    tracemalloc.start()
    try:
        found = await unpacked(tmp_path, data)
        _, most = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert sum(member.size for member in found.members) == 40_000_000
    assert most < 5_000_000


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(seed=st.integers(0, 2**32))
async def test_whatever_is_broken_in_an_archive_it_is_refused_or_read(
    tmp_path_factory: pytest.TempPathFactory, seed: int
) -> None:
    dice = random.Random(seed)
    data = bytearray(raw(Raw(b"a.png", b"photo" * 20, deflate=True), Raw(b"b/c.png", b"x" * 40)))
    for _ in range(dice.randint(1, 4)):
        data[dice.randrange(len(data))] = dice.randrange(256)
    if dice.random() < 0.3:
        del data[dice.randrange(len(data)) :]
    try:
        found = await unpacked(
            tmp_path_factory.mktemp("zip"), bytes(data), replace(ArchiveLimits(), file_bytes=10**6)
        )
    except Refusal:
        return
    assert all(member.path.exists() for member in found.members)


def _patched(data: bytes, at: int, with_: bytes) -> bytes:
    at %= len(data)
    return data[:at] + with_ + data[at + len(with_) :]
