"""Cleaning up as people do it: a scratch over a photograph, marked by a mask as good as a hand makes it."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import pytest
import skimage.data
from PIL import Image, ImageDraw
from scipy import ndimage
from test_cleanup import Studio

from engines.cleaning import menders
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
