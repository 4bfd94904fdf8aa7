"""What tests of masks and crops share: photos of noise in every mode, masks of boxes, and where a change is allowed."""

from __future__ import annotations

from typing import Any

import numpy as np
from PIL import Image, ImageFilter

MODES = ("L", "RGB", "RGBA", "I;16")


def photo_of(mode: str, width: int, height: int, seed: int = 0) -> Image.Image:
    """Noise in every byte, alpha and high bytes included."""
    values = np.random.default_rng(seed)
    if mode == "I;16":
        grey = values.integers(0, 65536, (height, width), np.uint16)
        return Image.frombytes("I;16", (width, height), grey.astype("<u2").tobytes())
    bands = {"L": (), "RGB": (3,), "RGBA": (4,)}[mode]
    return Image.fromarray(values.integers(0, 256, (height, width, *bands), np.uint8))


def mask_of(width: int, height: int, *boxes: tuple[int, int, int, int]) -> Image.Image:
    white = np.zeros((height, width), np.uint8)
    for left, top, wide, high in boxes:
        white[top : top + high, left : left + wide] = 255
    return Image.fromarray(white)


def reach(mask: Image.Image, options: dict[str, Any]) -> np.ndarray[Any, Any]:
    """Where a change is allowed, found by other means: a square around every white pixel."""
    white = Image.fromarray(255 - np.asarray(mask)) if options["invert"] else mask
    radius = max(0, options["grow"]) + options["feather"]
    return np.asarray(white.filter(ImageFilter.MaxFilter(2 * radius + 1))) > 0
