"""What will change, shown on the photo: a red tint and an outline, as the engine will understand the mask."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from bot.mask_finding import as_rgb

SIDE = 1024  # pixels on the longer side: enough to judge, small enough for a chat
_RED = np.array([255, 40, 40], np.float32)


def overlay(
    photo: Image.Image, mask: Image.Image, *, grow: int = 0, feather: int = 0, invert: bool = False
) -> Image.Image:
    """The photo with the mask in red at 50 %, its soft edge fainter, and a white line around what changes."""
    from engines.compose import grown, pooled, softened

    scale = min(1.0, SIDE / max(photo.size))
    size = max(1, round(photo.width * scale)), max(1, round(photo.height * scale))
    base = as_rgb(photo.resize(size, Image.Resampling.BOX) if scale < 1 else photo).astype(np.float32)
    white = np.asarray(mask.convert("L")) >= 128
    solid = grown(pooled(~white if invert else white, size), round(grow * scale))
    weight = 0.5 * softened(solid, round(feather * scale))[..., None]
    tinted = (base * (1 - weight) + _RED * weight).astype(np.uint8)
    return Image.fromarray(_outlined(tinted, solid))


def _outlined(picture: NDArray[np.uint8], solid: NDArray[np.bool_]) -> NDArray[np.uint8]:
    import cv2

    outlines, _ = cv2.findContours(solid.astype(np.uint8), cv2.RETR_LIST, cv2.CHAIN_APPROX_NONE)
    cv2.drawContours(picture, outlines, -1, (255, 255, 255), 1 if max(picture.shape) < 600 else 2)
    return picture
