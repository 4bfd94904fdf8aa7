"""What tests of masks share: a photo of something like a product, a spot on it, and how masks are compared."""

from __future__ import annotations

import io
from typing import Any

import numpy as np
import pytest
from PIL import Image

from bot.pictures.reading import Mask, PictureReader
from engines.words import Refusal, Words

SIZE = (320, 240)
SPOT = (100, 80, 140, 130)  # left, top, right, bottom of the place to change
Array = np.ndarray[Any, Any]


def png(image: Image.Image, kind: str = "PNG", **options: Any) -> bytes:
    out = io.BytesIO()
    image.save(out, kind, **options)
    return out.getvalue()


def product(size: tuple[int, int] = SIZE) -> Image.Image:
    """A brushed brown plate on grey, a little noisy: something like a photo."""
    rng = np.random.default_rng(3)
    width, height = size
    base = np.full((height, width, 3), (150, 152, 155), np.float32)
    base[height // 6 : -height // 6, width // 6 : -width // 6] = (105, 70, 40)
    base += rng.normal(0, 6, (height, 1, 3)) + rng.normal(0, 3, (height, width, 3))
    return Image.fromarray(np.clip(base, 0, 255).astype(np.uint8))


def spot(size: tuple[int, int] = SIZE, box: tuple[int, int, int, int] = SPOT) -> Image.Image:
    mask = Image.new("L", size, 0)
    mask.paste(255, box)
    return mask


def white(mask: Mask) -> Array:
    image = Image.open(io.BytesIO(mask.png))
    values = np.asarray(image)
    assert image.mode == "L"
    assert set(np.unique(values)) <= {0, 255}
    assert mask.share == pytest.approx(float(np.mean(values > 0)))
    return values > 0


def alike(a: Array, b: Array) -> float:
    """Intersection over union."""
    return float((a & b).sum() / max((a | b).sum(), 1))


async def refused(reader: PictureReader, *args: Any) -> Words:
    with pytest.raises(Refusal) as caught:
        await reader.mask(*args)
    return caught.value.words


PHOTO = product()
WANTED = np.asarray(spot()) > 0
