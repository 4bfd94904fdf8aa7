"""Pictures of a data set read by the real worker: what is kept, what is left out, and what is said about it."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from data_sets import mvtec, photo, png, written
from PIL import Image

from bot.datasets.files import Source
from bot.datasets.layouts import understood
from bot.datasets.reading import Reading, Understood, spread
from bot.pictures.reading import PictureReader
from engines.words import Refusal
from storage.store import Store


async def read(folder: Path, reader: PictureReader, files: dict[str, bytes]) -> tuple[Understood, Store]:
    written(folder / "given", files)
    sources = [Source(name, folder / "given" / name) for name in files]
    store = await Store.open(folder / "data")
    async with store:
        found = await Reading(reader, store.blobs).read(understood(sources, "nut").concepts)
    return found, store


async def test_all_is_stored_and_shown(tmp_path: Path, reader: PictureReader) -> None:
    files = mvtec(defects=("scratch", "dent"), photos=5, good=3)
    found, store = await read(tmp_path, reader, files)
    dent, scratch = found.concepts
    assert (dent["name"], len(dent["images"]), len(dent["normals"])) == ("dent", 5, 3)
    assert scratch["normals"] == dent["normals"], "one product, the same good pictures"
    for one in scratch["images"]:
        with Image.open(store.blobs.path(one["image"])) as picture:
            assert picture.size == (96, 96)
        with Image.open(store.blobs.path(one["mask"])) as mask:
            assert mask.size == (96, 96)
            assert sorted(value for _, value in mask.getcolors() or ()) == [0, 255]
    with Image.open(store.blobs.path(found.sheet)) as sheet:
        assert sheet.width > 5 * 160
        colours = np.asarray(sheet.convert("RGB")).reshape(-1, 3).astype(int)
        red = (colours[:, 0] > 200) & (colours[:, 1:].max(axis=1) < 90)
        assert red.sum() > 100, "the masks are drawn on it"
    assert found.notes == ()


async def test_what_is_doubtful_is_said(tmp_path: Path, reader: PictureReader) -> None:
    files = mvtec(photos=4)
    first = files["nut/test/scratch/000.png"]
    files["nut/test/scratch/004.png"] = first  # a copy, without a mask
    wide = Image.new("L", (96, 96), 0)
    wide.paste(255, (0, 0, 96, 60))
    files["nut/ground_truth/scratch/001_mask.png"] = png(wide)
    files["nut/ground_truth/scratch/002_mask.png"] = png(Image.new("L", (96, 96), 0))
    files["nut/train/good/000.png"] = b"\x89PNG\r\n\x1a\n broken"
    found, _ = await read(tmp_path, reader, files)
    (scratch,) = found.concepts
    assert len(scratch["images"]) == 4, "the one with an empty mask is left out"
    assert [bool(one["mask"]) for one in scratch["images"]] == [True, True, True, False]
    said = "\n".join(note.en for note in found.notes)
    for part in (
        "`nut/test/scratch/002.png` was left out, for its mask cannot be used: The mask is empty",
        "**scratch** has only 4 photo(s)",
        "1 of 4 photos of **scratch** have no mask",
        "1 mask(s) of **scratch** cover more than 40 %",
        "1 photo(s) of **scratch** look like copies of others: `004.png`",
        "1 file(s) could not be read and were left out: `000.png`",
    ):
        assert part in said
    assert all(note.ko and note.ko != note.en for note in found.notes)


async def test_photos_of_one_product_in_one_pose_are_no_copies(tmp_path: Path, reader: PictureReader) -> None:
    files = {f"nut/test/scratch/{i}.png": png(photo(i)[0]) for i in range(5)}
    jpeg = tmp_path / "copy.jpg"
    photo(0)[0].save(jpeg, quality=85)
    files["nut/test/scratch/5.jpg"] = jpeg.read_bytes()
    found, _ = await read(tmp_path, reader, files)
    copies = [note.en for note in found.notes if "copies" in note.en]
    assert copies == ["1 photo(s) of **scratch** look like copies of others: `5.jpg`."]


async def test_nothing_usable_is_a_refusal(tmp_path: Path, reader: PictureReader) -> None:
    with pytest.raises(Refusal, match=r"None of the 2 photos of “scratch”"):
        await read(tmp_path, reader, {f"nut/test/scratch/{i}.png": b"no picture" for i in range(2)})


def test_shown_from_all_over() -> None:
    assert spread(range(3), 6) == [0, 1, 2]
    assert spread(list(range(100)), 4) == [0, 25, 50, 75]
