"""A picture goes back into its photo with every byte outside the mask untouched: any size, mode and mask."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from compose_world import MODES, mask_of, photo_of, reach
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image

from engines import compose
from engines.words import Refusal


@st.composite
def cases(draw: st.DrawFn) -> tuple[Image.Image, Image.Image, dict[str, Any]]:
    width, height = draw(st.integers(1, 300)), draw(st.integers(1, 300))
    boxes = [
        (draw(st.integers(0, width - 1)), draw(st.integers(0, height - 1)), draw(side), draw(side))
        for side in [st.integers(1, 120)] * draw(st.integers(1, 3))
    ]
    photo = photo_of(draw(st.sampled_from(MODES)), width, height, draw(st.integers(0, 9)))
    options = {
        "native": draw(st.sampled_from([64, 128])),
        "multiple": draw(st.sampled_from([8, 16, 64])),
        "grow": draw(st.integers(-3, 20)),
        "feather": draw(st.integers(0, 20)),
        "invert": draw(st.booleans()),
    }
    return photo, mask_of(width, height, *boxes), options


@given(case=cases())
@settings(max_examples=120, deadline=None, suppress_health_check=[HealthCheck.too_slow])
def test_everything_outside_the_grown_and_feathered_mask_is_untouched(
    case: tuple[Image.Image, Image.Image, dict[str, Any]],
) -> None:
    photo, mask, options = case
    try:
        patch = compose.cut(photo, mask, **options)
    except Refusal:  # nothing white: all was inverted or shrunk away
        white = np.asarray(mask) > 0
        assert (~white if options["invert"] else white).sum() == 0 or options["grow"] < 0
        return
    made = photo_of("RGB", *patch.size, seed=99)
    result = compose.put_back(patch, made)
    assert (result.mode, result.size) == (photo.mode, photo.size)
    before, after = np.asarray(photo), np.asarray(result)
    assert before.dtype == after.dtype
    changed = before != after
    if changed.ndim == 3:
        assert not changed[..., 3:].any(), "alpha is kept"
        changed = changed.any(axis=2)
    allowed = reach(mask, options)
    assert not (changed & ~allowed).any()


@given(case=cases())
@settings(max_examples=80, deadline=None, suppress_health_check=[HealthCheck.too_slow])
def test_the_crop_suits_the_model_and_holds_the_mask(
    case: tuple[Image.Image, Image.Image, dict[str, Any]],
) -> None:
    photo, mask, options = case
    try:
        patch = compose.cut(photo, mask, **options)
    except Refusal:
        return
    left, top, right, bottom = patch.box
    assert 0 <= left < right <= photo.width
    assert 0 <= top < bottom <= photo.height
    assert all(side % options["multiple"] == 0 and side > 0 for side in patch.size)
    assert patch.picture.mode == "RGB"
    assert patch.mask.shape == (patch.size[1], patch.size[0])
    assert patch.mask.any()
    whole = compose.grown(compose.bits(mask, invert=options["invert"]), options["grow"])
    inside = np.zeros_like(whole)
    inside[top:bottom, left:right] = True
    assert not (whole & ~inside).any(), "all of the mask is in the crop"
    assert (patch.soft[whole[top:bottom, left:right]] == 1.0).all()
    native = options["native"]
    if photo.width >= native and photo.height >= native:
        assert min(right - left, bottom - top) >= native


@pytest.mark.parametrize("mode", MODES)
def test_inside_the_mask_is_the_new_picture(mode: str) -> None:
    """At the model's own size nothing is resampled, so what comes out is what was made."""
    photo = photo_of(mode, 128, 128)
    patch = compose.cut(photo, mask_of(128, 128, (30, 40, 20, 10)), native=128, multiple=16, feather=3)
    assert patch.size == (128, 128)
    made = Image.new("RGB", (128, 128), (200, 200, 200))
    after = np.asarray(compose.put_back(patch, made))
    there = after[40:50, 30:50]
    low, high = patch.levels
    expected = low + 200 * (high - low) / 255 if mode == "I;16" else 200
    colours = there[..., :3] if mode == "RGBA" else there
    assert np.abs(colours.astype(float) - expected).max() <= 1


def test_sixteen_bits_are_not_lost_in_the_soft_edge() -> None:
    """The edge mixes in the photo's own depth: a dark 12-bit photo does not become 8-bit steps."""
    values = np.tile(np.arange(1000, 1400, 2, dtype=np.uint16)[:200], (200, 1))
    photo = Image.frombytes("I;16", (200, 200), values.astype("<u2").tobytes())
    patch = compose.cut(photo, mask_of(200, 200, (90, 90, 20, 20)), native=200, multiple=8, feather=30)
    after = np.asarray(compose.put_back(patch, patch.picture))
    assert (
        np.abs(after.astype(int) - values.astype(int)).max() <= 2
    )  # 8 bits over a range of 400 are steps of 1.6


def test_a_thin_scratch_keeps_its_cells() -> None:
    """Nearest-neighbour shrinking to latent size loses most of a 2-pixel scratch; ours keeps all of it."""
    from engines.diffusion import latents

    white = np.zeros((128, 128), bool)
    white[5:121, 61:63] = True
    cells = latents.shrunk(latents.hole(white), 8)[0, 0].numpy()
    assert cells[:, 7].sum() == 16
    assert cells.sum() == 16


@pytest.mark.parametrize(("width", "height"), [(1, 1), (9, 9), (3, 1)])
def test_a_tiny_mask_in_a_huge_photo(width: int, height: int) -> None:
    """4096 × 4096 with a mask of a few pixels: a small crop about it, and one write."""
    photo = photo_of("RGB", 4096, 4096)
    patch = compose.cut(
        photo, mask_of(4096, 4096, (4000, 17, width, height)), native=512, multiple=64, feather=4
    )
    assert patch.box[2] - patch.box[0] == patch.box[3] - patch.box[1] == 512
    assert patch.mask.any()
    after = np.asarray(compose.put_back(patch, Image.new("RGB", patch.size)))
    changed = (after != np.asarray(photo)).any(axis=2)
    assert changed[17 : 17 + height, 4000 : 4000 + width].mean() > 0.9  # noise may be 0 already
    changed[13 : 21 + height, 3996 : 4004 + width] = False
    assert not changed.any()


def test_a_mask_far_larger_than_the_model_still_has_every_thin_part() -> None:
    """Two specks at opposite corners of 4096²: shrunk 32 times, each keeps a pixel."""
    photo = photo_of("L", 4096, 4096)
    patch = compose.cut(photo, mask_of(4096, 4096, (3, 3, 1, 1), (4090, 4090, 1, 1)), native=128, multiple=16)
    assert patch.size == (128, 128)
    assert patch.mask.sum() == 2


@pytest.mark.parametrize(
    ("box", "photo"),
    [((0, 0, 5, 5), (40, 300)), ((0, 0, 2000, 3), (2000, 3)), ((10, 10, 90, 90), (100, 100))],
)
def test_the_crop_keeps_the_photos_shape(box: compose.Box, photo: tuple[int, int]) -> None:
    crop = compose.around(box, photo, 128)
    size = compose.model_size(crop, 128, 16)
    shape, made = (crop[2] - crop[0]) / (crop[3] - crop[1]), size[0] / size[1]
    assert made == pytest.approx(min(max(shape, 0.25), 4.0), rel=0.25)
    assert 0.7 < size[0] * size[1] / 128**2 < 1.4


def test_grow_and_shrink_are_round_and_opposite() -> None:
    white = np.zeros((60, 60), bool)
    white[20:40, 20:40] = True
    wide = compose.grown(white, 6)
    assert wide[14, 30]
    assert not wide[13, 30]
    assert not wide[14, 14], "corners are round"
    back = compose.grown(wide, -6)
    assert (back & ~white).sum() == 0
    assert back.sum() > 0.95 * white.sum()
    assert compose.grown(np.ones((9, 9), bool), -3).all(), "the photo's border is no edge"


def test_refusals_say_what_is_wrong() -> None:
    photo = photo_of("RGB", 64, 48)
    with pytest.raises(Refusal, match="nothing white"):
        compose.cut(photo, mask_of(64, 48), native=64, multiple=8)
    with pytest.raises(Refusal, match="nothing of the mask is left"):
        compose.cut(photo, mask_of(64, 48, (5, 5, 4, 4)), native=64, multiple=8, grow=-10)
    with pytest.raises(Refusal, match=r"64×48.*32×48"):
        compose.cut(photo, mask_of(32, 48, (5, 5, 4, 4)), native=64, multiple=8)
    with pytest.raises(Refusal, match="nothing white"):
        compose.cut(photo, mask_of(64, 48, (0, 0, 64, 48)), native=64, multiple=8, invert=True)


def test_transparent_parts_become_white_for_img2img() -> None:
    clear = Image.new("RGBA", (4, 4), (0, 0, 0, 0))
    assert compose.flattened(clear).getpixel((0, 0)) == (255, 255, 255)
    assert compose.flattened(photo_of("I;16", 8, 8)).mode == "RGB"
