"""Wide holes filled with a copy of the surface nearby, where carrying colours on from the edge would leave a star.

One piece a hole: from wherever in the crop its surroundings are most like the hole's own, its colours led over to
theirs. Good for surfaces; what stands for itself (a face, a label) is not made up again.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from engines.compose import Bits, bounds

Bytes = NDArray[np.uint8]
RING = 12  # pixels around a hole by which places are compared


def filled(picture: Bytes, hole: Bits, made: Bytes, deep: int) -> Bytes:
    """`made`, with a copy in its place where the hole is wide and the crop has one to give.

    Args:
        picture: (h, w, 3); what it shows in the hole is not looked at.
        made: the same with the hole filled in another way.
        deep: pixels from its edge up to which a hole is not wide.
    """
    core = ndimage.distance_transform_edt(hole) > deep
    if not core.any():
        return made
    wide = hole & (
        ndimage.distance_transform_edt(~core) <= deep + 1
    )  # a blob without the scratch that leads to it
    labels, count = ndimage.label(wide, structure=np.ones((3, 3)))
    result = made.copy()
    for number in range(1, count + 1):
        _copy(picture, hole, labels == number, result)
    return result


def _copy(picture: Bytes, hole: Bits, part: Bits, result: Bytes) -> None:
    """Fill `part` of `result`, unless nowhere in the picture there is as much of known surface."""
    import cv2

    near: Bits = ndimage.binary_dilation(part, np.ones((3, 3)), iterations=RING)
    left, top, right, bottom = bounds(near)
    here = np.s_[top:bottom, left:right]
    ring = (near & ~hole)[here]
    if not ring.any():
        return
    taken = cv2.matchTemplate(hole.astype(np.float32), near[here].astype(np.float32), cv2.TM_CCORR)
    known = np.where(hole[..., None], 0, picture).astype(np.float32)
    mask = np.repeat(ring[..., None], 3, axis=2).astype(np.float32)
    off = cv2.matchTemplate(known, known[here], cv2.TM_SQDIFF, mask=mask)
    off = np.where(taken > 0.5, np.inf, off)
    if not np.isfinite(off).any():
        return
    y, x = np.unravel_index(int(np.argmin(off)), off.shape)
    source = picture[y : y + bottom - top, x : x + right - left].astype(np.float32)
    result[here][part[here]] = _led_over(known[here] - source, ring, source)[part[here]]


def _led_over(off: NDArray[np.float32], ring: Bits, source: NDArray[np.float32]) -> Bytes:
    """The source with what it is off at the ring, smoothly."""
    weight = ndimage.gaussian_filter(ring.astype(np.float32), RING) + 1e-6
    smooth = [ndimage.gaussian_filter(off[..., c] * ring, RING) / weight for c in range(3)]
    led: Bytes = np.clip(np.rint(source + np.dstack(smooth)), 0, 255).astype(np.uint8)
    return led
