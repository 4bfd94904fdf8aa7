"""Cleaning up as people do it: a scratch over a photograph, marked by a mask as good as a hand makes it."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import pytest
import skimage.data
from cleanup_world import Studio
from numpy.typing import NDArray
from PIL import Image, ImageDraw
from scipy import ndimage

from engines.cleaning import iopaint_library, menders
from engines.cleaning.copying import filled
from engines.requests import Cleanup


def wire(size: tuple[int, int]) -> Image.Image:
    """A thin curve across the picture."""
    width, height = size
    xs = np.linspace(0.1, 0.9, 60)
    curve = [(x * width, (0.5 + 0.2 * np.sin(8 * x)) * height) for x in xs]
    mask = Image.new("L", size)
    ImageDraw.Draw(mask).line(curve, fill=255, width=4)
    return mask


def scratched(photo: Image.Image, mask: Image.Image) -> Image.Image:
    """The photo with a bright scratch of soft edges, a pixel off what the mask says, through a camera's JPEG."""
    share = ndimage.shift(ndimage.gaussian_filter(np.asarray(mask) / 255, 0.7), (1, 1))[..., None]
    values = np.rint(np.asarray(photo) * (1 - share) + 245 * share).astype(np.uint8)
    out = io.BytesIO()
    Image.fromarray(values).save(out, "JPEG", quality=92)
    with Image.open(out) as made:
        return made.convert("RGB")


def error(made: Image.Image, photo: Image.Image, mask: Image.Image) -> float:
    """Root mean square of what differs within 9 pixels of the mask, in levels."""
    near = ndimage.distance_transform_edt(np.asarray(mask) == 0) <= 9
    off = (np.asarray(made, float) - np.asarray(photo, float))[near]
    return float(np.sqrt(np.mean(off**2)))


@pytest.mark.parametrize("name", ["brick", "gravel", "coffee", "chelsea"])
def test_a_scratch_is_gone_and_no_band_is_left_in_its_place(tmp_path: Path, name: str) -> None:
    """Under the defaults nothing of it shines through, and less is smeared than under wide ones."""
    photo = Image.fromarray(getattr(skimage.data, name)()).convert("RGB")
    mask = wire(photo.size)
    bad = scratched(photo, mask)
    studio = Studio(tmp_path, menders.reader(None, "cpu"))
    plain = Cleanup(image="", mask="")
    ours = studio.clean(bad, mask, grow=plain.grow, feather=plain.feather)
    wide = studio.clean(bad, mask, grow=3, feather=3)
    assert error(ours, photo, mask) < 0.5 * error(bad, photo, mask), "gone"
    assert error(ours, photo, mask) < 0.92 * error(wide, photo, mask), "and little else with it"


def grain(picture: Image.Image, where: NDArray[np.bool_]) -> float:
    """How much there is of what is finer than 4 pixels, in levels."""
    grey = np.asarray(picture.convert("L"), float)
    return float((grey - ndimage.gaussian_filter(grey, 2))[where].std())


@pytest.mark.parametrize("name", ["gravel", "grass", "brick"])
def test_a_wide_hole_is_filled_with_the_surfaces_own_grain(tmp_path: Path, name: str) -> None:
    photo = Image.fromarray(getattr(skimage.data, name)())
    mask = Image.new("L", photo.size)
    ImageDraw.Draw(mask).ellipse((200, 180, 280, 270), fill=255)
    made = Studio(tmp_path, menders.reader(None, "cpu")).clean(photo, mask)
    hole = np.asarray(mask) > 0
    inner = ndimage.binary_erosion(hole, iterations=8)
    around = ndimage.binary_dilation(hole, iterations=40) & ~hole
    smeared = iopaint_library.manager("cv2", "cpu")(
        np.asarray(photo.convert("RGB")), np.asarray(mask), menders.whole()
    )
    assert grain(made, inner) > 0.6 * grain(photo, around)
    assert grain(Image.fromarray(smeared.astype(np.uint8)), inner) < 0.4 * grain(photo, around), (
        "else no need"
    )
    tone = np.asarray(made, float)[inner].mean() - np.asarray(photo, float)[around].mean()
    assert abs(tone) < 12, "as bright as what is around it"


def test_a_copy_is_of_what_is_known_and_only_for_what_is_wide() -> None:
    picture = np.asarray(Image.fromarray(skimage.data.gravel()).convert("RGB"))
    made, hole = np.zeros_like(picture), np.zeros(picture.shape[:2], bool)
    hole[200:270, 200:260] = hole[100:104, 20:480] = hole[104:230, 230:234] = hole[220:300, 420:512] = True
    once = filled(picture, hole, made, 16)
    garbage = np.where(hole[..., None], 255 - picture, picture)
    assert (filled(garbage, hole, made, 16) == once).all(), "what the hole shows is not looked at"
    assert (once[~hole] == 0).all()
    assert (once[100:104] == 0).all(), "what is thin is left as it was"
    assert (once[210:260, 210:250] > 0).mean() > 0.95
    assert (once[230:290, 430:502] > 0).mean() > 0.95, "at the border, too"
    everything = np.ones((60, 60), bool)
    everything[0] = False
    assert (filled(picture[:60, :60], everything, made[:60, :60], 16) == 0).all(), "there is nothing to copy"
