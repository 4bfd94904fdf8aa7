"""`mask:auto` by the background remover: real photographs, the real network, and what is said without it."""

from __future__ import annotations

import asyncio
import io
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from background_world import MODELS, needs_network, photo
from desk_world import Sent, World, opened
from PIL import Image

from bot.masks import words
from bot.pictures.reading import PictureReader
from engines.background.outline import Outliner
from engines.models import downloadable
from engines.requests import Inpaint

Bits = np.ndarray[Any, Any]


@pytest.fixture(scope="module")
def outliner() -> Outliner:
    return Outliner(MODELS)


@pytest.fixture
async def world(tmp_path: Path, reader: PictureReader, outliner: Outliner) -> AsyncIterator[World]:
    async with opened(tmp_path, reader, outline=outliner.outline) as world:
        yield world


def jpeg(name: str) -> bytes:
    out = io.BytesIO()
    photo(name).save(out, "JPEG", quality=95)
    return out.getvalue()


def stored(world: World, blob: str) -> Bits:
    return np.asarray(Image.open(world.store.blobs.path(blob))) > 127


def within(mask: Bits, left: float, top: float, right: float, bottom: float) -> float:
    """The share of a mask that lies in a box, given in parts of the photo."""
    height, width = mask.shape
    box = mask[int(top * height) : int(bottom * height), int(left * width) : int(right * width)]
    return float(box.sum() / mask.sum())


# Each with the box in which a person sees the object, and the least and most of the photo that it is.
OBJECTS = [
    ("coffee", (0.11, 0.03, 0.83, 0.99), (0.4, 0.55)),
    ("chelsea", (0.0, 0.0, 1.0, 1.0), (0.35, 0.97)),
]


@needs_network
@pytest.mark.parametrize(("name", "box", "share"), OBJECTS, ids=[name for name, _, _ in OBJECTS])
async def test_the_object_of_a_photograph_and_all_but_it(
    world: World, name: str, box: tuple[float, ...], share: tuple[float, float]
) -> None:
    masks = []
    for spec in ("auto", "auto-inverse"):
        said = await world.say(f"/inpaint dents image:@a.jpg mask:{spec}", Sent("a.jpg", jpeg(name)))
        assert said.kind == "accepted", said.text
        assert "GrabCut" not in said.text
        masks.append(stored(world, Inpaint.from_json((await world.job(said.job)).request).mask))
    front, back = masks
    assert front.shape == photo(name).size[::-1]
    assert np.array_equal(front, ~back)
    assert share[0] < float(front.mean()) < share[1]
    assert within(front, *box) > 0.97


@needs_network
async def test_every_picture_of_a_batch_has_its_own(world: World) -> None:
    sent = [Sent(f"{name}.jpg", jpeg(name)) for name in ("coffee", "chelsea", "coins")]
    said = await world.say("/inpaint dents mask:auto", *sent)
    assert said.kind == "accepted", said.text
    request = Inpaint.from_json((await world.job(said.job)).request)
    assert [item.name for item in request.items] == [one.name for one in sent]
    for item, name in zip(request.items, ("coffee", "chelsea", "coins"), strict=True):
        assert stored(world, item.mask).shape == photo(name).size[::-1]


@needs_network
@pytest.mark.parametrize("mode", ["L", "RGB", "RGBA", "I;16"])
async def test_modes_of_a_photo(reader: PictureReader, outliner: Outliner, mode: str) -> None:
    """A photo of any mode goes to the network as the picture worker makes it small."""
    image = photo("coffee").convert("L" if mode == "I;16" else mode)
    if mode == "I;16":
        image = Image.fromarray((np.asarray(image).astype(np.uint16) * 16).astype("<u2"))
    out = io.BytesIO()
    image.save(out, "PNG")
    outline = outliner.outline(await reader.thumbnail(out.getvalue(), 640))
    assert outline is not None
    found = await reader.mask(out.getvalue(), "auto", outline=outline)
    assert found.notes == (words.AUTO_FRONT,)
    assert 0.4 < found.share < 0.55


@needs_network
async def test_it_is_found_by_colours_where_the_network_sees_nothing(reader: PictureReader) -> None:
    image = Image.new("RGB", (320, 240), (205, 203, 198))
    image.paste((70, 72, 80), (100, 80, 220, 170))
    out, nothing = io.BytesIO(), io.BytesIO()
    image.save(out, "PNG")
    Image.new("L", (320, 240)).save(nothing, "PNG")
    found = await reader.mask(out.getvalue(), "auto", outline=nothing.getvalue())
    assert found.notes == (words.AUTO_FRONT, words.BY_COLOURS_AFTER_ALL)
    assert abs(found.share - 120 * 90 / (320 * 240)) < 0.02


async def test_without_the_network_it_is_said_in_both_languages(
    tmp_path: Path, reader: PictureReader
) -> None:
    nothing_here = Outliner(tmp_path / "none")
    async with opened(tmp_path, reader, outline=nothing_here.outline) as world:
        english = await world.say("/inpaint dents image:@a.jpg mask:auto", Sent("a.jpg", jpeg("coffee")))
        korean = await world.say(
            "/inpaint dents image:@a.jpg mask:자동", Sent("a.jpg", jpeg("coffee")), lang="ko"
        )
    assert words.BY_COLOURS.en in english.text
    assert words.BY_COLOURS.ko in korean.text


@needs_network
async def test_a_damaged_file_is_not_used(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    known = downloadable.named("u2netp")
    assert known is not None
    file = known.path(tmp_path)
    file.parent.mkdir(parents=True)
    file.write_bytes(bytes(known.file.size))
    assert Outliner(tmp_path).outline(jpeg("coffee")) is None
    assert "damaged" in caplog.text


async def test_a_library_that_breaks_costs_nobody_the_mask(tmp_path: Path, reader: PictureReader) -> None:
    def broken(picture: bytes) -> bytes | None:
        raise ImportError("no onnxruntime here")

    async with opened(tmp_path, reader, outline=broken) as world:
        said = await world.say("/inpaint dents image:@a.jpg mask:auto", Sent("a.jpg", jpeg("coffee")))
    assert said.kind == "accepted"
    assert words.BY_COLOURS.en in said.text


async def test_words_that_do_not_ask_for_it_do_not_wait_for_it(tmp_path: Path, reader: PictureReader) -> None:
    asked: list[bytes] = []

    def outline(picture: bytes) -> bytes | None:
        asked.append(picture)
        return None

    async with opened(tmp_path, reader, outline=outline) as world:
        photo = Sent("a.jpg", jpeg("coffee"))
        await world.say("/inpaint dents image:@a.jpg mask:box=10%,10%,30%,30%", photo)
        assert asked == []
        await asyncio.gather(*(world.say("/inpaint x image:@a.jpg mask:auto", photo) for _ in range(2)))
        assert len(asked) == 2
        with Image.open(io.BytesIO(asked[0])) as small:
            assert max(small.size) <= 640
