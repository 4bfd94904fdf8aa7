"""What tests of strangers' pictures share: pictures of every kind, and how a reading of one is judged."""

from __future__ import annotations

import io
import re
import struct
import zlib
from typing import Any

import numpy as np
import pytest
from PIL import Image

from bot.pictures.reading import Picture, PictureLimits, PictureReader
from engines.words import Refusal, Words

LIMITS = PictureLimits(file_bytes=2_000_000, pixels=4_000_000, seconds=20, workers=1)


def saved(image: Image.Image, kind: str = "PNG", **options: Any) -> bytes:
    out = io.BytesIO()
    image.save(out, kind, **options)
    return out.getvalue()


def noise(mode: str = "RGB", size: tuple[int, int] = (60, 40)) -> Image.Image:
    rng = np.random.default_rng(7)
    bands = {"L": (), "RGB": (3,), "RGBA": (4,), "CMYK": (4,)}[mode]
    return Image.fromarray(
        rng.integers(0, 256, (size[1], size[0], *bands), dtype=np.uint8), mode=None
    ).convert(mode)


def deep(top: int = 65535) -> Image.Image:
    return Image.fromarray(np.linspace(0, top, 2400).astype("<u2").reshape(40, 60))


def pixels(picture: Picture) -> np.ndarray[Any, Any]:
    image = Image.open(io.BytesIO(picture.png))
    assert (image.mode, image.size) == (picture.mode, (picture.width, picture.height))
    return np.asarray(image)


async def refused(reader: PictureReader, data: bytes, name: str = "photo.png") -> Words:
    with pytest.raises(Refusal) as caught:
        await reader.read(data, name)
    return caught.value.words


def told(sentence: Words, template: Words) -> bool:
    """Is `sentence` this template filled in, in both languages?"""
    languages = ((sentence.en, template.en), (sentence.ko, template.ko))
    return all(re.match(re.sub(r"\\\{\w+\\\}", ".+", re.escape(t)), s, re.S) for s, t in languages)


def png(width: int, height: int, packed: bytes, depth: int = 8, colour: int = 2) -> bytes:
    """A PNG put together by hand, so that it can lie or be large."""
    header = struct.pack(">IIBBBBB", width, height, depth, colour, 0, 0, 0)
    parts = ((b"IHDR", header), (b"IDAT", packed), (b"IEND", b""))
    return b"\x89PNG\r\n\x1a\n" + b"".join(
        struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))
        for kind, body in parts
    )
