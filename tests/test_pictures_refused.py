"""Pictures from strangers: what is not accepted gets its own sentence."""

from __future__ import annotations

import struct
import time
import zlib
from collections.abc import Iterator

import pytest
from desk_world import picture_reader
from pictures_world import LIMITS, noise, png, refused, saved, told
from PIL import Image

from bot.pictures import words
from bot.pictures.reading import PictureReader


@pytest.fixture(scope="module")
def reader() -> Iterator[PictureReader]:
    with picture_reader(LIMITS) as reader:
        yield reader


async def test_a_file_of_no_bytes(reader: PictureReader) -> None:
    assert told(await refused(reader, b""), words.EMPTY)


async def test_too_many_bytes(reader: PictureReader) -> None:
    sentence = await refused(reader, b"\x89PNG" + bytes(2_000_000))
    assert told(sentence, words.TOO_MANY_BYTES)
    assert "2 MB" in sentence.en


async def test_too_many_pixels_names_both_figures(reader: PictureReader) -> None:
    sentence = await refused(reader, saved(noise(size=(60, 40)).resize((2500, 2000)), "JPEG"))
    assert told(sentence, words.TOO_MANY_PIXELS)
    assert "2500 × 2000 = 5.0 megapixels; at most 4" in sentence.en


@pytest.mark.parametrize("kind", ["PNG", "BMP", "TIFF", "WEBP", "JPEG"])
async def test_a_bomb_is_not_unpacked(reader: PictureReader, kind: str) -> None:
    started = time.monotonic()
    sentence = await refused(reader, bomb(kind))
    assert told(sentence, words.BOMB), sentence.en
    assert time.monotonic() - started < 5


def bomb(kind: str) -> bytes:
    """A small file that claims more than a hundred megapixels."""
    if kind == "BMP":
        head = struct.pack("<IiiHHIIiiII", 40, 30000, 30000, 1, 24, 0, 0, 0, 0, 0, 0)
        return b"BM" + struct.pack("<IHHI", 54, 0, 0, 54) + head
    if kind == "PNG":
        return png(30000, 30000, zlib.compress(b""))
    if kind == "WEBP":  # a small animation on a huge canvas
        frames = [Image.new("RGB", (8, 8), colour) for colour in ("red", "blue")]
        data = bytearray(saved(frames[0], kind, save_all=True, append_images=frames[1:]))
        data[24:30] = (16382).to_bytes(3, "little") * 2
        return bytes(data)
    data = bytearray(saved(Image.new("L", (8, 8)), kind))
    if kind == "JPEG":
        at = data.index(b"\xff\xc0") + 5
        data[at : at + 4] = struct.pack(">HH", 60000, 60000)
    if kind == "TIFF":
        for tag in (256, 257):
            at = data.index(struct.pack("<HH", tag, 4))
            data[at + 8 : at + 12] = struct.pack("<I", 30000)
    return bytes(data)


async def test_text_that_unpacks_to_an_enormous_size(reader: PictureReader) -> None:
    data = saved(noise())
    body = b"Comment\0\0" + zlib.compress(bytes(50_000_000), 9)
    chunk = struct.pack(">I", len(body)) + b"zTXt" + body + struct.pack(">I", zlib.crc32(b"zTXt" + body))
    sentence = await refused(reader, data[:33] + chunk + data[33:])
    assert told(sentence, words.BOMB_INSIDE)


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "WEBP", "BMP", "TIFF"])
@pytest.mark.parametrize("share", [0.3, 0.6, 0.95])
async def test_a_file_that_breaks_off(reader: PictureReader, kind: str, share: float) -> None:
    data = saved(noise(size=(200, 200)), kind)
    sentence = await refused(reader, data[: int(len(data) * share)])
    assert told(sentence, words.TRUNCATED), sentence.en


async def test_damage_in_the_middle(reader: PictureReader) -> None:
    data = bytearray(saved(noise(size=(200, 200))))
    data[5000:5400] = bytes(400)
    assert told(await refused(reader, bytes(data)), words.CORRUPT)


@pytest.mark.parametrize(
    ("data", "kind"),
    [
        (b"just words\n" * 50, "a text file"),
        ("한글로 쓴 글입니다. ".encode() * 400, "a text file"),
        ("wide words".encode("utf-16"), "a text file"),
        (b"<!DOCTYPE html><html><body>Sign in</body></html>", "a web page (HTML)"),
        (b'<?xml version="1.0"?><svg xmlns="x"/>', "a vector drawing (SVG)"),
    ],
)
async def test_text_under_a_pictures_name(reader: PictureReader, data: bytes, kind: str) -> None:
    sentence = await refused(reader, data)
    assert told(sentence, words.TEXT)
    assert f"is {kind}, not a picture" in sentence.en


@pytest.mark.parametrize(
    ("data", "kind"),
    [
        (saved(noise(), "GIF"), "GIF"),
        (saved(noise(), "AVIF"), "AVIF"),
        (saved(noise(), "JPEG2000"), "JPEG 2000"),
        (saved(noise(), "ICO"), "ICO"),
        (saved(noise(), "PDF"), "PDF"),
        (b"\0\0\0\x18ftypheic\0\0\0\0" + bytes(100), "HEIC"),
        (b"PK\3\4" + bytes(100), "ZIP"),
    ],
)
async def test_other_formats_are_named(reader: PictureReader, data: bytes, kind: str) -> None:
    sentence = await refused(reader, data)
    assert told(sentence, words.FORMAT)
    assert f"is a {kind} file" in sentence.en


async def test_what_nobody_knows(reader: PictureReader) -> None:
    assert told(await refused(reader, bytes(range(256)) * 4), words.UNKNOWN)


async def test_the_name_in_a_sentence_is_harmless(reader: PictureReader) -> None:
    sentence = await refused(reader, b"", "../../etc/`@everyone`\u202egnp.exe\n.png")
    assert "“_ everyone_ gnp.exe .png”" in sentence.en or not set("`@/\u202e\n") & set(sentence.en)
