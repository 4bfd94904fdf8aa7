"""Best of several candidates for one hole: the one that changes most inside the mask, and is no copy of a reference.

A change is not a defect: a tint alone would pass any comparison of colours. So what is compared is structure: how
each pixel differs from its surroundings inside the mask, before and after. No torch here: arrays in, numbers out.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from scipy import ndimage

from engines import compose
from engines.compose import Bits

SIDE = 24  # pixels of a patch
ALIKE = 0.95  # correlation from which on two patches are copies
SURROUNDINGS = 0.5  # side of the square that is a pixel's surroundings, in shorter sides of the mask's box
VISIBLE = 1.0  # levels of 255: a smaller change is next to nothing, nobody sees it

Bytes = NDArray[np.uint8]  # (h, w, 3)
Patch = NDArray[np.uint8]  # (SIDE, SIDE, 3)


@dataclass(frozen=True, slots=True)
class Candidate:
    """What there is to say about one candidate."""

    change: float  # see `change`
    copy: bool  # of a reference

    @property
    def visible(self) -> bool:
        return self.change >= VISIBLE


def judged(before: Bytes, made: Bytes, mask: Bits, learnt: Sequence[Patch] = ()) -> Candidate:
    """`made` in place of `before`, both (h, w, 3), where `mask` (h, w) is; `learnt`: patches of the references."""
    own = patch(made, mask)
    return Candidate(change(before, made, mask), any(alike(own, other) > ALIKE for other in learnt))


def best(candidates: Sequence[Candidate]) -> int:
    """Which to keep: what shows something before what does not, then no copy before a copy, then the most change.

    The first of equals.
    """
    return max(
        range(len(candidates)),
        key=lambda i: (candidates[i].visible, not candidates[i].copy, candidates[i].change),
    )


def change(before: Bytes, after: Bytes, mask: Bits) -> float:
    """How much the structure inside `mask` changed: levels of 255, the mean over its pixels and colours.

    Each pixel less the mean of its surroundings, these taken from inside the mask only (normalised convolution:
    Knutsson and Westin, 1993), so that neither an even tint nor its rim counts. Adding one colour everywhere gives 0.
    """
    left, top, right, bottom = compose.bounds(mask)
    rows, columns = slice(top, bottom), slice(left, right)
    inside = mask[rows, columns]
    side = max(3, round(SURROUNDINGS * min(inside.shape)))
    moved = (after[rows, columns].astype(np.float32) - before[rows, columns]) * inside[..., None]
    weight = _mean(inside.astype(np.float32), side)[..., None]
    around = np.stack([_mean(moved[..., c], side) for c in range(moved.shape[-1])], axis=-1)
    return float(np.abs(moved - around / np.maximum(weight, 1e-6))[inside].mean())


def _mean(values: NDArray[np.float32], side: int) -> NDArray[np.float32]:
    """Of each pixel's square; its time does not grow with `side`."""
    mean: NDArray[np.float32] = ndimage.uniform_filter(values, side, mode="constant")
    return mean


def patch(picture: Bytes, mask: Bits) -> Patch:
    """The mask's box at SIDE × SIDE."""
    cut = Image.fromarray(picture).crop(compose.bounds(mask))
    return np.asarray(cut.resize((SIDE, SIDE)))


def alike(a: Patch, b: Patch) -> float:
    """Correlation of two patches, −1..1."""
    x, y = a - a.mean(), b - b.mean()
    return float((x * y).sum() / (np.sqrt((x * x).sum() * (y * y).sum()) + 1e-9))
