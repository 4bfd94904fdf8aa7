"""From a mask to the picture: transparent, on a colour, cropped; and the form that asks for it."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from engines.background.cutout import cut_out, softened, solid
from engines.background.request import RemoveBackground
from engines.words import Refusal

sizes = st.tuples(st.integers(1, 12), st.integers(1, 12))


@st.composite
def cases(draw: st.DrawFn) -> tuple[Image.Image, Image.Image]:
    """A photo of any mode and a mask of its size."""
    (width, height), mode = draw(sizes), draw(st.sampled_from(["L", "RGB", "RGBA", "I;16"]))
    rng = np.random.default_rng(draw(st.integers(0, 9999)))
    many = {"L": 1, "RGB": 3, "RGBA": 4, "I;16": 2}[mode]
    photo = Image.frombytes(mode, (width, height), rng.bytes(width * height * many))
    mask = rng.choice(np.array([0, 7, 128, 250, 255], np.uint8), (height, width))
    return photo, Image.fromarray(mask)


@settings(max_examples=150, deadline=None)
@given(case=cases(), feather=st.integers(0, 4))
def test_transparent(case: tuple[Image.Image, Image.Image], feather: int) -> None:
    photo, mask = case
    made = np.asarray(cut_out(photo, mask, RemoveBackground(image="", feather=feather)))
    assert made.shape == (photo.height, photo.width, 4)
    alpha = made[..., 3]
    assert (alpha <= np.asarray(mask)).all(), "never more than the network saw"
    if photo.mode == "RGBA":
        assert (alpha <= np.asarray(photo)[..., 3]).all()
    assert (made[alpha == 0] == 0).all()
    if photo.mode != "I;16":
        own = np.asarray(photo.convert("RGB"))
        assert (made[..., :3][alpha == 255] == own[alpha == 255]).all()


def test_solid_has_no_haze_and_no_specks() -> None:
    alpha = np.zeros((60, 60), np.uint8)
    alpha[10:50, 10:30] = 255
    alpha[10:50, 40:58] = 90  # a cloud
    alpha[5, 5] = 255  # a speck
    made = solid(alpha)
    assert set(np.unique(made)) == {0, 255}
    assert (made[12:48, 12:28] == 255).all()
    assert (made[:, 33:] == 0).all()
    assert made[5, 5] == 0


@settings(max_examples=100, deadline=None)
@given(case=cases(), colour=st.tuples(*[st.integers(0, 255)] * 3))
def test_on_a_colour(case: tuple[Image.Image, Image.Image], colour: tuple[int, int, int]) -> None:
    photo, mask = case
    said = "#{:02x}{:02x}{:02x}".format(*colour)
    made = cut_out(photo, mask, RemoveBackground(image="", background=said))
    clear = np.asarray(cut_out(photo, mask, RemoveBackground(image="")), int)
    values, alpha = np.asarray(made, int), clear[..., 3:]
    assert made.mode == "RGB"
    assert (values[alpha[..., 0] == 0] == colour).all()
    expected = (clear[..., :3] * alpha + np.array(colour) * (255 - alpha)) / 255
    assert np.abs(values - expected).max() <= 0.5


@settings(max_examples=100, deadline=None)
@given(case=cases(), colour=st.sampled_from(["", "white"]), only=st.booleans())
def test_crop_is_the_object_and_nothing_else(
    case: tuple[Image.Image, Image.Image], colour: str, only: bool
) -> None:
    photo, mask = case
    options: dict[str, Any] = {"image": "", "background": colour, "mask_only": only}
    whole = cut_out(photo, mask, RemoveBackground(**options))
    cropped = cut_out(photo, mask, RemoveBackground(**options, crop=True))
    alpha = np.asarray(cut_out(photo, mask, RemoveBackground(image="", mask_only=True)))
    rows, columns = np.nonzero(alpha >= 26)
    if not len(rows):
        assert cropped.tobytes() == whole.tobytes(), "nothing to crop to"
        return
    box = (columns.min(), rows.min(), columns.max() + 1, rows.max() + 1)
    assert cropped.tobytes() == whole.crop(box).tobytes()


def test_the_soft_edge_is_inside_and_not_at_the_photos_border() -> None:
    alpha = np.zeros((40, 40), np.uint8)
    alpha[10:30, 0:20] = 255
    soft = softened(alpha, 4)
    assert (soft[alpha == 0] == 0).all()
    ramp = soft[20, 14:21].astype(int)
    assert (np.diff(ramp) <= 0).all()
    assert (ramp[0], ramp[-2], ramp[-1]) == (255, 51, 0)
    assert (soft[20, :14] == 255).all(), "the photo's border is no edge"
    assert (softened(alpha, 0) == alpha).all()
    everything = np.full((5, 5), 255, np.uint8)
    assert (softened(everything, 9) == 255).all()


# ------------------------------------------------------------------ the form


@pytest.mark.parametrize(
    ("said", "meant"),
    [
        ("", ""),
        ("none", ""),
        ("투명", ""),
        (" White ", "white"),
        ("흰색", "white"),
        ("#F80", "#f80"),
        ("#ff8800", "#ff8800"),
        ("rgb(1,2,3)", "rgb(1,2,3)"),
    ],
)
def test_colours_people_say(said: str, meant: str) -> None:
    form, notes = RemoveBackground.fill({"image": "x", "background": said})
    assert (form.background, notes) == (meant, ())


@pytest.mark.parametrize("said", ["whiteish", "#12", "1,2,3", "#gggggg", "rgb(1,2)"])
def test_no_colour_is_refused_before_anything_is_promised(said: str) -> None:
    with pytest.raises(Refusal) as no:
        RemoveBackground.fill({"image": "x", "background": said})
    assert said in no.value.words.ko
    assert "#rrggbb" in no.value.words.en


def test_what_does_not_go_together_is_told() -> None:
    _, notes = RemoveBackground.fill({"image": "x", "mask_only": "yes", "bg": "red"})
    assert "`background` was not used" in notes[0].en
    assert RemoveBackground(image="x", model="birefnet-general").cost > RemoveBackground(image="x").cost
