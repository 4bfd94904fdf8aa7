"""A mask falls into crops: all of it is in one, none is larger or more than it must be."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from engines.cleaning import regions as of
from engines.cleaning.regions import LARGEST, MARGIN, regions, shrunk

Box = tuple[int, int, int, int]


def white(width: int, height: int, *boxes: Box) -> np.ndarray[tuple[int, int], np.dtype[np.bool_]]:
    mask = np.zeros((height, width), bool)
    for left, top, wide, high in boxes:
        mask[top : top + high, left : left + wide] = True
    return mask


@st.composite
def masks(draw: st.DrawFn) -> np.ndarray[tuple[int, int], np.dtype[np.bool_]]:
    width, height = draw(st.integers(1, 1500)), draw(st.integers(1, 1500))
    boxes = st.tuples(
        st.integers(0, width - 1), st.integers(0, height - 1), st.integers(1, 300), st.integers(1, 300)
    )
    return white(width, height, *draw(st.lists(boxes, min_size=1, max_size=8)))


@given(mask=masks(), reach=st.integers(0, 60))
@settings(max_examples=150, deadline=None)
def test_each_pixel_that_may_change_belongs_to_one_crop_that_holds_it(
    mask: np.ndarray[tuple[int, int], np.dtype[np.bool_]], reach: int
) -> None:
    found = regions(mask, reach)
    height, width = mask.shape
    rows, columns = np.nonzero(mask)
    claimed = np.zeros(mask.shape, int)
    for region in found.regions:
        left, top, right, bottom = region.box
        assert 0 <= left < right <= width
        assert 0 <= top < bottom <= height
        claimed[top:bottom, left:right] += found.owned(region)
    assert claimed.max() == 1
    for down, across in [(0, 0), (-reach, -reach), (-reach, reach), (reach, -reach), (reach, reach)]:
        y, x = np.clip(rows + down, 0, height - 1), np.clip(columns + across, 0, width - 1)
        assert (claimed[y, x] == 1).all()


@given(mask=masks())
@settings(max_examples=80, deadline=None)
def test_crops_show_the_surroundings_in_sizes_that_others_have_too(
    mask: np.ndarray[tuple[int, int], np.dtype[np.bool_]],
) -> None:
    found = regions(mask)
    height, width = mask.shape
    for region in found.regions:
        left, top, right, bottom = region.box
        mine = np.zeros_like(mask)
        mine[top:bottom, left:right] = found.owned(region) & mask[top:bottom, left:right]
        rows, columns = np.flatnonzero(mine.any(axis=1)), np.flatnonzero(mine.any(axis=0))
        room = MARGIN - of.CELL - of.BLOCK
        assert rows[0] - top >= room or top == 0 or bottom == height
        assert columns[0] - left >= room or left == 0 or right == width
        for side, whole in ((right - left, width), (bottom - top, height)):
            assert side % of.BLOCK == 0 or side == whole


def test_what_is_near_shares_a_crop_and_what_is_far_does_not() -> None:
    near = white(3000, 3000, *((1000 + 30 * i, 1000 + 25 * i, 4, 4) for i in range(10)))
    assert len(regions(near).regions) == 1
    far = regions(white(3000, 3000, (100, 100, 9, 9), (2900, 100, 9, 9), (100, 2900, 300, 9)))
    assert len(far.regions) == 3
    assert sum((r - x) * (b - y) for x, y, r, b in (one.box for one in far.regions)) < 3000 * 3000 / 10


def test_a_long_scratch_keeps_its_own_pixels() -> None:
    """Its crop is a strip: a square around it would have to be shrunk, and so would what is painted."""
    (scratch,) = regions(white(6000, 4000, (500, 2000, 3500, 6))).regions
    assert shrunk(scratch.box) == (scratch.box[2] - scratch.box[0], scratch.box[3] - scratch.box[1])


def test_many_specks_on_a_large_photo_are_cut_where_one_crop_would_be_too_large() -> None:
    specks = white(7000, 7000, *((x, y, 5, 5) for x in range(50, 7000, 150) for y in range(50, 7000, 150)))
    found = regions(specks).regions
    assert 49e6 / LARGEST <= len(found) <= 100
    for one in found:
        assert shrunk(one.box)[0] == one.box[2] - one.box[0], "none is shrunk"


def test_pixel_noise_is_not_a_million_regions() -> None:
    noise = np.random.default_rng(0).random((3000, 3000)) < 0.3
    assert len(regions(noise).regions) == 1


@pytest.mark.parametrize(("box", "same"), [((0, 0, 1280, 1280), True), ((0, 0, 3000, 2000), False)])
def test_what_is_too_large_is_shrunk_in_shape(box: Box, same: bool) -> None:
    width, height = shrunk(box)
    assert ((width, height) == (box[2], box[3])) == same
    assert width * height <= LARGEST * 1.01
    assert width / height == pytest.approx(box[2] / box[3], rel=0.01)
