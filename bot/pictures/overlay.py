"""What will change, shown on the photo: a tint and an outline, as the engine will understand the mask."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from bot.masks.finding import as_rgb, reduced

SIDE = 1024  # pixels on the longer side: enough to judge, small enough for a chat
_RED, _CYAN = (255, 30, 30), (0, 220, 255)  # the second on things that are red themselves


def overlay(
    photo: Image.Image, mask: Image.Image, *, grow: int = 0, feather: int = 0, invert: bool = False
) -> Image.Image:
    """The photo with the mask in red at 50 %, its soft edge fainter, and a line around what changes."""
    import cv2

    from engines.compose import grown, pooled, softened

    scale = min(1.0, SIDE / max(photo.size))
    size = max(1, round(photo.width * scale)), max(1, round(photo.height * scale))
    small = reduced(photo, 2 * SIDE)
    base = as_rgb(small.resize(size, Image.Resampling.BOX) if scale < 1 else small).astype(np.float32)
    white = np.asarray(mask.convert("L")) >= 128
    solid = grown(pooled(~white if invert else white, size), round(grow * scale))
    weight = 0.5 * softened(solid, round(feather * scale))[..., None]
    colour = _CYAN if solid.any() and _is_red(base[solid]) else _RED
    tinted = (base * (1 - weight) + np.array(colour, np.float32) * weight).astype(np.uint8)
    outlines, _ = cv2.findContours(solid.astype(np.uint8), cv2.RETR_LIST, cv2.CHAIN_APPROX_NONE)
    cv2.drawContours(tinted, outlines, -1, colour, 1 if max(size) < 600 else 2)
    return Image.fromarray(tinted)


def _is_red(pixels: NDArray[np.float32]) -> bool:
    red, green, blue = pixels.mean(axis=0)
    return bool(red - max(green, blue) > 60)
