"""Smaller copies of our own pictures, for platforms with an upload limit and for previews."""

from __future__ import annotations

import io
from collections.abc import Iterator, Sequence

from PIL import Image

from bot.locale.numbers import size
from bot.masks.finding import as_rgb
from engines.words import Refusal, Words

_SIDES = (1.0, 0.75, 0.5, 0.35, 0.25, 0.15, 0.1, 0.05)  # of the picture's own, tried in turn
_QUALITIES = (92, 82, 70)


def shrunk(image: Image.Image, max_bytes: int, formats: Sequence[str]) -> tuple[bytes, str]:
    """The best-looking copy of at most `max_bytes`, and its file suffix.

    Size is kept as long as quality allows: first every format and quality at full size, then smaller.
    `formats` are of "webp", "jpg", "png", the better liked first. Raises `Refusal` when nothing fits.
    """
    for data, suffix in _copies(image, formats):
        if len(data) <= max_bytes:
            return data, suffix
    raise Refusal(TOO_TIGHT(limit=size(max_bytes)))


def thumbnail(image: Image.Image, side: int) -> bytes:
    """A JPEG of at most `side` pixels on the longer side; transparency becomes white."""
    return _encoded(_sized(_shown(image, "jpg"), side / max(image.size)), "jpg", 85)


def _copies(image: Image.Image, formats: Sequence[str]) -> Iterator[tuple[bytes, str]]:
    if image.mode == "RGBA" and image.getchannel("A").getextrema() != (255, 255):
        formats = [suffix for suffix in formats if suffix != "jpg"] or ["png"]
    for scale in _SIDES:
        for suffix in formats:
            if suffix == "webp" and scale * max(image.size) > 16383:  # the format's own limit
                continue
            copy = _sized(_shown(image, suffix), scale)
            for quality in _QUALITIES if suffix != "png" else (0,):
                yield _encoded(copy, suffix, quality), suffix


def _shown(image: Image.Image, suffix: str) -> Image.Image:
    """In a mode that the format can hold."""
    if suffix == "png":
        return image
    if image.mode == "I;16":
        return Image.fromarray(as_rgb(image)[..., 0])
    if image.mode == "RGBA" and suffix == "jpg":
        ground = Image.new("RGBA", image.size, "white")
        return Image.alpha_composite(ground, image).convert("RGB")
    return image


def _sized(image: Image.Image, scale: float) -> Image.Image:
    if scale >= 1:
        return image
    sides = max(1, round(image.width * scale)), max(1, round(image.height * scale))
    how = Image.Resampling.BOX if image.mode == "I;16" else Image.Resampling.LANCZOS
    return image.resize(sides, how)


def _encoded(image: Image.Image, suffix: str, quality: int) -> bytes:
    out = io.BytesIO()
    if suffix == "png":
        image.save(out, "PNG", optimize=False, compress_level=9)
    elif suffix == "webp":
        image.save(out, "WEBP", quality=quality, method=3)
    else:
        image.save(out, "JPEG", quality=quality, subsampling=0 if quality > 90 else 2)
    return out.getvalue()


TOO_TIGHT = Words(
    "The picture could not be made small enough for this chat's upload limit of {limit}.",
    "이 대화방의 업로드 한도 {limit}에 맞게 그림을 줄이지 못했습니다.",
)
