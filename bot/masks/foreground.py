"""What stands out in a photo: a network's outline at its size; without one GrabCut, started from a border prior."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from PIL import Image

Pixels = NDArray[np.uint8]

_SIDE = 320  # the photo is looked at in this size: enough to find an object, quick at any resolution
_ROUNDS = 4
_SHARES = 0.003, 0.97  # of the photo: less is no object, more is all of it


def from_outline(outline: Image.Image, size: tuple[int, int]) -> Pixels | None:
    """255 where a network's soft outline says object, as a mask of `size`; None where that is nothing, or all."""
    grown = np.asarray(outline.convert("L").resize(size, Image.Resampling.BILINEAR))
    mask = np.where(grown >= 128, 255, 0).astype(np.uint8)
    return mask if _is_object(mask) else None


def _is_object(mask: Pixels) -> bool:
    return _SHARES[0] < float(np.mean(mask > 0)) < _SHARES[1]


def foreground(rgb: Pixels, size: tuple[int, int]) -> Pixels | None:
    """255 where the object is, as a mask of `size` (width, height); None where nothing stands out.

    GrabCut: Rother, Kolmogorov, Blake 2004. Product photos have their background at the border: how unlike the border a pixel is tells which pixels are
    probably the object, and GrabCut settles the edge.
    """
    import cv2

    cv2.setRNGSeed(0)  # the same photo gives the same mask
    height, width = rgb.shape[:2]
    scale = min(1.0, _SIDE / max(height, width))
    small_size = max(8, round(width * scale)), max(8, round(height * scale))
    small = np.asarray(cv2.resize(rgb, small_size, interpolation=cv2.INTER_AREA), np.uint8)
    guess = _guess(small)
    if guess is None:
        return None
    models = np.zeros((1, 65), np.float64), np.zeros((1, 65), np.float64)
    cv2.grabCut(
        small, guess, (0, 0, 1, 1), *models, _ROUNDS, cv2.GC_INIT_WITH_MASK
    )  # the box is not looked at
    object = np.isin(guess, (cv2.GC_FGD, cv2.GC_PR_FGD)).astype(np.uint8) * np.uint8(255)
    found = cv2.morphologyEx(object, cv2.MORPH_OPEN, np.ones((3, 3), np.uint8))
    if not _is_object(np.asarray(found, np.uint8)):
        return None
    smooth = cv2.resize(found, size, interpolation=cv2.INTER_LINEAR)
    return np.where(smooth >= 128, 255, 0).astype(np.uint8)


def _guess(small: Pixels) -> NDArray[np.uint8] | None:
    """GrabCut's start: sure background at the border, probable object where Otsu's threshold says so."""
    import cv2

    lab = cv2.cvtColor(small, cv2.COLOR_RGB2LAB).astype(np.float32)
    edge = max(2, min(small.shape[:2]) // 24)
    border = np.ones(small.shape[:2], bool)
    border[edge:-edge, edge:-edge] = False
    _, _, centres = cv2.kmeans(  # type: ignore[call-overload]  # None: no labels to begin with
        lab[border],
        3,
        None,
        (cv2.TERM_CRITERIA_EPS + cv2.TERM_CRITERIA_MAX_ITER, 10, 1.0),
        1,
        cv2.KMEANS_PP_CENTERS,
    )
    away = np.min([np.linalg.norm(lab - centre, axis=2) for centre in centres], axis=0)
    if float(away.max()) < 12:  # one flat surface
        return None
    levels = np.clip(cv2.GaussianBlur(away, (0, 0), 2) * 2, 0, 255).astype(np.uint8)
    _, likely = cv2.threshold(levels, 0, 255, cv2.THRESH_BINARY + cv2.THRESH_OTSU)
    guess = np.where(likely > 0, cv2.GC_PR_FGD, cv2.GC_PR_BGD).astype(np.uint8)
    guess[border] = cv2.GC_BGD
    usable = bool((guess == cv2.GC_PR_FGD).sum() > 12)
    return guess if usable else None
