"""Marks that a person painted into a photo: by their colour, or by comparing with the clean photo."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from PIL import Image

Pixels = NDArray[np.uint8]

_STRONG = 120  # brightest minus darkest channel: pens of phone editors have 140 and more
_NEAR = 45  # how far each channel of a pixel may be from the pen's colour
_MOST = 0.7  # marks that cover more than this part of a photo are no marks


def coloured(
    rgb: Pixels, wanted: tuple[int, int, int] | None, spread: int
) -> tuple[Pixels, tuple[int, int, int]] | None:
    """The places marked in a strong colour, closed outlines filled, widened by `spread` pixels; and the colour.

    A pen is flat where a product is shaded: among the strong colours the one that most pixels share exactly
    is taken for the pen. None where nothing is marked.
    """
    strong = spread_of(rgb) >= _STRONG
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

    red, green, blue = cv2.split(cv2.absdiff(cv2.blur(clean, (3, 3)), cv2.blur(marked, (3, 3))))
    change = cv2.max(cv2.max(red, green), blue)
    counts = np.cumsum(Image.fromarray(np.asarray(change, np.uint8)).histogram())
    usual, noisy = (int(np.searchsorted(counts, share * change.size)) for share in (0.5, 0.75))
    if usual > 16:
        return None
    differs = change > max(30.0, 4 * usual, 1.5 * noisy if noisy < 30 else 0)
    if float(differs.mean()) > _MOST:
        return None
    mask = _shapes(differs, spread=1)
    return mask if mask is not None else np.zeros(clean.shape[:2], np.uint8)


def _flattest(pixels: Pixels) -> tuple[int, int, int] | None:
    """The colour most of these pixels share (in cells of 16 levels a channel), averaged within its cell."""
    if len(pixels) < 4:
        return None
    pixels = pixels[:: 1 + len(pixels) // 1_000_000]  # enough to know
    cells = (pixels >> 4).astype(np.uint16)
    codes = (cells[:, 0] << 8) | (cells[:, 1] << 4) | cells[:, 2]
    best = int(np.bincount(codes, minlength=4096).argmax())
    r, g, b = (round(float(v)) for v in pixels[codes == best].mean(axis=0))
    return r, g, b


def _near(rgb: Pixels, pen: tuple[int, int, int], distance: int) -> NDArray[np.bool_]:
    import cv2

    low, high = (np.clip(np.add(pen, by), 0, 255).astype(np.uint8) for by in (-distance, distance))
    return np.asarray(cv2.inRange(rgb, low, high)) > 0


def spread_of(rgb: Pixels) -> Pixels:
    """Brightest less darkest channel of each pixel: 0 is grey."""
    import cv2

    red, green, blue = cv2.split(rgb)
    most, least = cv2.max(cv2.max(red, green), blue), cv2.min(cv2.min(red, green), blue)
    return np.asarray(cv2.subtract(most, least), np.uint8)


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
