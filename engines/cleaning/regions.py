"""Which parts of a photo are mended in which crop: the mask's components, grouped where one crop is less work.

A scratch here and a speck there are two small crops, not one of the whole photo; forty specks side by side are one.
Crops may overlap: each sees the whole mask that falls into it as unknown, and gives back only what is its own, so
that neither order nor neighbours matter. No torch here.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from engines.compose import Bits, Box

CELL = 16  # pixels; what is nearer than this is one component, and a mask of pixel noise has few of them
MARGIN = 128  # pixels around a region at least, so that the model sees what the surface is like
BLOCK = (
    64  # sides of a crop are multiples of it where the photo allows, so that strangers' crops are of one size
)
LARGEST = 1280 * 1280  # pixels of a crop in the model; what is larger is shrunk for it and enlarged again

Boxes = NDArray[np.int64]  # (n, 4): left, top, right, bottom
Indices = NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class Region:
    """Some of the mask's components, and the crop in which they are mended."""

    box: Box  # the crop
    own: int  # its number in `Regions.owners`


@dataclass(frozen=True, slots=True)
class Regions:
    """How a mask falls into regions."""

    regions: tuple[Region, ...]
    owners: NDArray[np.int32]  # by cell (rows, columns): the number of the region it belongs to, 0 = none

    def owned(self, region: Region) -> Bits:
        """(height, width) of the region's box: True where pixels are its own to change."""
        left, top, right, bottom = region.box
        rows, columns = np.arange(top, bottom) // CELL, np.arange(left, right) // CELL
        mine: Bits = self.owners[np.ix_(rows, columns)] == region.own
        return mine


def regions(white: Bits, reach: int = 0, largest: int = LARGEST) -> Regions:
    """The regions of a mask; there must be something in it.

    Args:
        white: (height, width), the mask.
        reach: pixels around the white that may change too.
        largest: pixels that a crop should have at most, where that can be had.
    """
    height, width = white.shape
    cells = _cells(white)
    if reach:
        cells = ndimage.binary_dilation(cells, np.ones((3, 3)), iterations=-(-reach // CELL))
    labels, _ = ndimage.label(cells, structure=np.ones((3, 3)))
    found = ndimage.find_objects(labels)
    boxes = np.array([(x.start, y.start, x.stop, y.stop) for y, x in found], np.int64) * CELL
    photo = np.array((width, height), np.int64)
    boxes[:, 2:] = np.minimum(boxes[:, 2:], photo)
    groups = _split(boxes, photo, largest)
    number = np.zeros(len(boxes) + 1, np.int32)
    for own, group in enumerate(groups, 1):
        number[group + 1] = own
    crops = [_crops(_hull(boxes[group]), photo)[0].tolist() for group in groups]
    return Regions(tuple(Region(tuple(crop), own) for own, crop in enumerate(crops, 1)), number[labels])


def _cells(white: Bits) -> Bits:
    """True for each cell that has something of the mask in it."""
    height, width = white.shape
    rows, columns = -(-height // CELL), -(-width // CELL)
    by_rows = np.logical_or.reduceat(white, np.arange(rows) * CELL, axis=0)
    cells: Bits = np.logical_or.reduceat(by_rows, np.arange(columns) * CELL, axis=1)
    return cells


def _split(boxes: Boxes, photo: Indices, largest: int) -> list[Indices]:
    """Groups of boxes: a group is cut in two as long as two crops are less work than one, or one is too large."""
    groups, open_still = [], [np.arange(len(boxes))]
    while open_still:
        group = open_still.pop()
        halves = _halves(boxes[group], photo, largest)
        if halves is None:
            groups.append(group)
        else:
            open_still += [group[half] for half in halves]
    return sorted(groups, key=lambda group: (int(boxes[group, 1].min()), int(boxes[group, 0].min())))


def _halves(boxes: Boxes, photo: Indices, largest: int) -> tuple[Indices, Indices] | None:
    """The cut across one axis that saves most work, or an even one where one crop is too large; else None."""
    if len(boxes) < 2:
        return None
    whole = int(_area(_crops(_hull(boxes), photo))[0])
    pays = _best(boxes, photo, np.add)
    if pays[0] < whole:
        return pays[1:]
    return _best(boxes, photo, np.maximum)[1:] if whole > largest else None


def _best(boxes: Boxes, photo: Indices, judged: np.ufunc) -> tuple[int, Indices, Indices]:
    """The cut with the least areas, `judged` together: the figure, and the two halves."""
    cuts = []
    for axis in (0, 1):
        order = np.argsort(boxes[:, axis] + boxes[:, axis + 2], kind="stable")
        first, second = _prefixes(boxes[order]), _prefixes(boxes[order[::-1]])[::-1]
        areas = judged(_area(_crops(first[:-1], photo)), _area(_crops(second[1:], photo)))
        at = int(np.argmin(areas))
        cuts.append((int(areas[at]), order[: at + 1], order[at + 1 :]))
    return min(cuts, key=lambda cut: cut[0])


def _prefixes(boxes: Boxes) -> Boxes:
    """Box i: around the boxes 0 to i."""
    low, high = np.minimum.accumulate(boxes[:, :2]), np.maximum.accumulate(boxes[:, 2:])
    return np.concatenate([low, high], axis=1)


def _hull(boxes: Boxes) -> Boxes:
    """(1, 4): the box around all."""
    return _prefixes(boxes)[-1:]


def _crops(boxes: Boxes, photo: Indices) -> Boxes:
    """The crop of each box: half its shorter side more all around, at least `MARGIN`, in whole blocks."""
    sides = boxes[:, 2:] - boxes[:, :2]
    margin = np.maximum(MARGIN, sides.min(axis=1) // 2)
    wanted = -(-(sides + 2 * margin[:, None]) // BLOCK) * BLOCK
    sides = np.minimum(wanted, photo)
    start = np.clip((boxes[:, :2] + boxes[:, 2:] - sides) // 2, 0, photo - sides)
    return np.concatenate([start, start + sides], axis=1)


def _area(boxes: Boxes) -> Indices:
    sides = boxes[:, 2:] - boxes[:, :2]
    area: Indices = sides[:, 0] * sides[:, 1]
    return area


def shrunk(box: Box, largest: int = LARGEST) -> tuple[int, int]:
    """The size (width, height) at which a crop goes through the model: its own, unless it is too large."""
    width, height = box[2] - box[0], box[3] - box[1]
    share = math.sqrt(min(1.0, largest / (width * height)))
    return max(1, round(width * share)), max(1, round(height * share))
