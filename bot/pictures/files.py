"""A stranger's file → a clean picture: type by content, limits before decoding, upright, without metadata.

Runs in the picture worker only (`bot.pictures.worker`); decoders of foreign data are not let near the bot.
"""

from __future__ import annotations

import io
import warnings
from dataclasses import dataclass
from typing import Any

import numpy as np
from PIL import Image, ImageOps, UnidentifiedImageError

from bot.locale.numbers import size
from bot.pictures.kinds import UNSUPPORTED, ends_early, text_kind, webp_canvas
from bot.pictures.words import (
    BOMB,
    BOMB_INSIDE,
    CORRUPT,
    EIGHT_BITS,
    EMPTY,
    FIRST_FRAME,
    FORMAT,
    FROM_CMYK,
    SCALED,
    TEXT,
    TOO_MANY_PIXELS,
    TRUNCATED,
    UNKNOWN,
)
from engines.words import Refusal, Words

FORMATS = ("PNG", "JPEG", "WEBP", "BMP", "TIFF")
MODES = ("L", "RGB", "RGBA", "I;16")  # what a clean picture can be; all others become one of them

# A picture over the limit that packs more pixels than this in a byte is no honest photo.
_BOMB_DENSITY = 1000


@dataclass(frozen=True, slots=True)
class Clean:
    """A decoded picture in one of `MODES`, upright, carrying nothing but pixels."""

    image: Image.Image
    notes: tuple[Words, ...] = ()


def clean(data: bytes, name: str, max_pixels: int) -> Clean:
    """Decode whatever this is. Raises `Refusal` with the sentence that fits what is wrong."""
    if not data:
        raise Refusal(EMPTY(name=name))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # odd metadata is no reason to refuse a photo
        if canvas := webp_canvas(data):  # its decoder takes memory for the canvas before it tells the size
            _check_size(canvas, data, name, max_pixels)
        image = _open(data, name)
        _check_size(image.size, data, name, max_pixels)
        notes = _told_on_opening(image, data)
        try:
            image.load()
        except MemoryError:
            raise
        except Exception as error:
            raise Refusal(_broken(data, name, error)) from error
        return Clean(*_plain(_upright(image), notes))


def _open(data: bytes, name: str) -> Image.Image:
    Image.MAX_IMAGE_PIXELS = None  # the limits are ours: `_check_size`
    try:
        return Image.open(io.BytesIO(data), formats=FORMATS)
    except MemoryError:
        raise
    except Exception as error:
        text = text_kind(data)
        if text:
            raise Refusal(TEXT(name=name, kind=text)) from error
        for kind, hint, matches in UNSUPPORTED:
            if matches(data):
                raise Refusal(FORMAT(name=name, kind=kind) + hint) from error
        if isinstance(error, UnidentifiedImageError) and not _looks_known(data):
            raise Refusal(UNKNOWN(name=name)) from error
        raise Refusal(_broken(data, name, error)) from error


def _looks_known(data: bytes) -> bool:
    starts = (b"\x89PNG", b"\xff\xd8\xff", b"BM", b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")
    return data.startswith(starts) or (data[:4] == b"RIFF" and data[8:12] == b"WEBP")


def _check_size(sides: tuple[int, int], data: bytes, name: str, max_pixels: int) -> None:
    width, height = sides
    pixels = width * height
    if pixels <= max_pixels:
        return
    bomb = pixels / len(data) > _BOMB_DENSITY
    raise Refusal(
        (BOMB if bomb else TOO_MANY_PIXELS)(
            name=name,
            width=width,
            height=height,
            megapixels=f"{pixels / 1e6:.1f}",
            limit=f"{max_pixels / 1e6:g}",
            size=size(len(data)),
        )
    )


def _broken(data: bytes, name: str, error: Exception) -> Words:
    """Why decoding failed, as far as can be told."""
    said = str(error).lower()
    if "decompressed data too large" in said or "exceeds limit" in said:
        return BOMB_INSIDE(name=name)
    if "truncated" in said or ends_early(data):
        return TRUNCATED(name=name)
    return CORRUPT(name=name)


def _told_on_opening(image: Image.Image, data: bytes) -> list[Words]:
    notes = []
    # MPO is what phones call a JPEG with a depth map behind it: its first picture is all there is to it
    if image.format != "MPO" and getattr(image, "n_frames", 1) > 1:
        notes.append(FIRST_FRAME)
    if _deep_colour(image, data):
        notes.append(EIGHT_BITS)
    return notes


def _deep_colour(image: Image.Image, data: bytes) -> bool:
    """Colour of 16 bits a channel, which Pillow reads as 8."""
    if image.format == "PNG":
        return data[24] == 16 and image.mode in ("RGB", "RGBA", "LA")
    if image.format == "TIFF" and image.mode in ("RGB", "RGBA"):
        bits = getattr(image, "tag_v2", {}).get(258, (8,))
        return bool(max(bits if isinstance(bits, tuple) else (bits,)) > 8)
    return False


def _upright(image: Image.Image) -> Image.Image:
    try:
        return ImageOps.exif_transpose(image)
    except MemoryError:
        raise
    except Exception:  # broken EXIF: nobody can know which way is up
        return image


def _plain(image: Image.Image, notes: list[Words]) -> tuple[Image.Image, tuple[Words, ...]]:
    """One of `MODES`, no value clipped, and a fresh object that carries no metadata."""
    if image.mode == "CMYK":
        notes.append(FROM_CMYK)
    if image.mode.startswith(("I", "F")):
        image = _sixteen_bits(image, notes)
    else:
        transparent = "transparency" in image.info or image.mode in ("LA", "La", "PA", "RGBA", "RGBa")
        grey = image.mode in ("1", "L")
        mode = "RGBA" if transparent else "L" if grey else "RGB"
        image = image if image.mode == mode else _converted(image, mode)
    bare = image.copy()
    bare.info = {}
    return bare, tuple(notes)


def _converted(image: Image.Image, mode: str) -> Image.Image:
    if image.mode == "La":  # premultiplied
        image = image.convert("LA")
    return image.convert(mode)


def _sixteen_bits(image: Image.Image, notes: list[Words]) -> Image.Image:
    """Whole or real numbers of any range as 16-bit grey: as they are where they fit, else scaled and told."""
    values: Any = np.asarray(image)
    if image.mode.startswith("I;16") or (
        image.mode == "I" and values.size and values.min() >= 0 and values.max() <= 65535
    ):
        return Image.fromarray(values.astype("<u2"))
    finite = np.where(np.isfinite(values), values, 0).astype(np.float64)
    low, high = float(finite.min()), float(finite.max())
    if image.mode == "F" and low >= 0 and high <= 1:
        low, high = 0.0, 1.0
    scaled = (finite - low) * (65535 / (high - low if high > low else 1))
    notes.append(SCALED(low=f"{low:g}", high=f"{high:g}"))
    return Image.fromarray(np.rint(scaled).astype("<u2"))
