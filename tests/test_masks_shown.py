"""Masks shown on the photo, as the engine will understand them."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import pytest
from masks_world import PHOTO, SIZE, WANTED, Array, png, spot
from PIL import Image

from bot.pictures.reading import PictureReader
from engines.compose import bits, grown


def reddened(data: bytes, photo: Image.Image) -> Array:
    shown = np.asarray(Image.open(io.BytesIO(data)).convert("RGB")).astype(int)
    return np.abs(shown - np.asarray(photo.convert("RGB")).astype(int)).sum(axis=2) > 30


async def test_the_overlay_tints_what_changes_and_nothing_else(reader: PictureReader) -> None:
    shown = reddened(await reader.overlay(png(PHOTO), png(spot())), PHOTO)
    assert shown[WANTED].all()
    assert not (shown & ~grown(WANTED, 2)).any()


async def test_the_overlay_shows_grow_and_invert_as_the_engine_does(reader: PictureReader) -> None:
    shown = reddened(await reader.overlay(png(PHOTO), png(spot()), grow=10), PHOTO)
    assert shown[grown(bits(spot()), 10)].all()
    turned = reddened(await reader.overlay(png(PHOTO), png(spot()), invert=True), PHOTO)
    assert turned[~grown(WANTED, 2)].mean() > 0.99


async def test_on_a_red_product_the_tint_is_not_red(reader: PictureReader) -> None:
    photo = Image.new("RGB", SIZE, (200, 20, 25))
    assert reddened(await reader.overlay(png(photo), png(spot())), photo)[WANTED].all()


async def test_a_feathered_edge_fades(reader: PictureReader) -> None:
    hard = reddened(await reader.overlay(png(PHOTO), png(spot())), PHOTO).sum()
    assert reddened(await reader.overlay(png(PHOTO), png(spot()), feather=30), PHOTO).sum() > 1.3 * hard


@pytest.mark.parametrize("mode", ["L", "RGB", "RGBA", "I;16"])
async def test_the_overlay_of_a_large_photo_is_small_and_keeps_thin_marks(
    reader: PictureReader, mode: str
) -> None:
    size = (3000, 2000)
    photo = Image.new(mode, size, 1000 if mode == "I;16" else "grey")
    mask = Image.new("L", size, 0)
    mask.paste(255, (1500, 0, 1501, 2000))
    shown = Image.open(io.BytesIO(await reader.overlay(png(photo), png(mask), feather=4)))
    assert shown.size == (1024, 683)
    row = np.asarray(shown)[300].astype(int)
    assert (np.abs(row - row[0]).sum(axis=1) > 30).any()


async def test_stored_files_may_be_named_from_the_folder_the_bot_runs_in(
    reader: PictureReader, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The process that unpacks pictures runs in another folder."""
    monkeypatch.chdir(tmp_path)
    Image.new("RGB", (64, 48), "grey").save("photo.png")
    Image.new("L", (64, 48), 255).save("mask.png")
    shown = await reader.overlay(Path("photo.png"), Path("mask.png"))
    assert Image.open(io.BytesIO(shown)).size == (64, 48)
    small, _ = await reader.shrink(Path("photo.png"), 10_000)
    assert Image.open(io.BytesIO(small)).size == (64, 48)
