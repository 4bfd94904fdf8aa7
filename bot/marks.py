"""Marks that a person painted into a photo: by their colour, or by comparing with the clean photo."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Pixels = NDArray[np.uint8]

_STRONG = 120  # brightest minus darkest channel: pens of phone editors have 140 and more
_NEAR = 70  # how far, over all three channels, a pixel may be from the pen's colour
_MOST = 0.7  # marks that cover more than this part of a photo are no marks


def coloured(
    rgb: Pixels, wanted: tuple[int, int, int] | None, spread: int
) -> tuple[Pixels, tuple[int, int, int]] | None:
    """The places marked in a strong colour, closed outlines filled, widened by `spread` pixels; and the colour.

    A pen is flat where a product is shaded: among the strong colours the one that most pixels share exactly
    is taken for the pen. None where nothing is marked.
    """
    strength = rgb.max(axis=2) - rgb.min(axis=2)
    strong = strength >= _STRONG
    pen = wanted if wanted is not None else _flattest(rgb[strong])
    if pen is None:
        return None
    near = _near(rgb, pen, _NEAR if wanted is None else 2 * _NEAR)
    if wanted is not None:
        near &= strong
        if not near.any():
            return None
        pen = _flattest(rgb[near]) or pen
    mask = _shapes(near, spread)
    if mask is None or float(np.mean(mask > 0)) > _MOST:
        return None
    return mask, pen


def has_marks(rgb: Pixels) -> bool:
    """Does this photo look as if someone had painted a place in it with a pen?"""
    found = coloured(rgb, None, spread=0)
    if found is None:
        return False
    mask, pen = found
    exact = _near(rgb, pen, 24)
    return float(np.mean(exact[mask > 0])) > 0.05 and float(np.mean(exact)) > 0.0005


def differing(clean: Pixels, marked: Pixels) -> Pixels | None:
    """Where `marked` was painted over, closed outlines filled; None if it is not a copy of `clean` at all.

    The threshold stands well above what saving as JPEG once more changes.
    """
    import cv2

    change = cv2.absdiff(cv2.blur(clean, (3, 3)), cv2.blur(marked, (3, 3))).max(axis=2)
    usual = float(np.percentile(change, 50))
    if usual > 16:
        return None
    noisy = float(np.percentile(change, 75))
    differs = change > max(30.0, 4 * usual, 1.5 * noisy if noisy < 30 else 0)
    if float(differs.mean()) > _MOST:
        return None
    mask = _shapes(differs, spread=1)
    return mask if mask is not None else np.zeros(clean.shape[:2], np.uint8)


def _flattest(pixels: Pixels) -> tuple[int, int, int] | None:
    """The colour most of these pixels share (in cells of 16 levels a channel), averaged within its cell."""
    if len(pixels) < 4:
        return None
    cells = (pixels >> 4).astype(np.uint16)
    codes = (cells[:, 0] << 8) | (cells[:, 1] << 4) | cells[:, 2]
    best = int(np.bincount(codes, minlength=4096).argmax())
    r, g, b = (round(float(v)) for v in pixels[codes == best].mean(axis=0))
    return r, g, b


def _near(rgb: Pixels, pen: tuple[int, int, int], distance: float) -> NDArray[np.bool_]:
    away = np.zeros(rgb.shape[:2], np.float32)
    for channel, value in enumerate(pen):
        away += (rgb[..., channel].astype(np.float32) - value) ** 2
    return away <= distance**2


def _shapes(found: NDArray[np.bool_], spread: int) -> Pixels | None:
    """Without specks, outlines closed and filled, widened by `spread` pixels; None when nothing is left."""
    import cv2

    mask = found.astype(np.uint8)
    least = max(4, found.size // 100_000)
    count, labels, stats, _ = cv2.connectedComponentsWithStats(mask, connectivity=8)
    keep = np.zeros(count, np.uint8)
    keep[1:] = (stats[1:, cv2.CC_STAT_AREA] >= least) * 255
    mask = keep[labels]
    if not mask.any():
        return None
    outlines, _ = cv2.findContours(mask, cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_NONE)
    cv2.drawContours(mask, outlines, -1, 255, cv2.FILLED)
    if spread:
        disc = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (2 * spread + 1,) * 2)
        mask = np.asarray(cv2.dilate(mask, disc), np.uint8)
    return np.asarray(mask)
