"""Masks that are words: boxes, colours, and the object that is found."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from masks_world import PHOTO, SIZE, WANTED, Array, alike, png, refused, spot, white
from PIL import Image, ImageDraw

from bot.masks import words
from bot.masks.spoken import Alpha, Auto, Box, Colour, Difference, White, parse
from bot.pictures.reading import PictureReader
from engines.words import Refusal


@pytest.mark.parametrize(
    ("spec", "boxes"),
    [
        ("box=10,20,30,40", [(10, 20, 40, 60)]),
        ("mask:box=10,20,30,40", [(10, 20, 40, 60)]),
        ("10,20,30,40", [(10, 20, 40, 60)]),
        ("BOX 10 20 30x40 px", [(10, 20, 40, 60)]),
        ("box(10px, 20px, 30px, 40px)", [(10, 20, 40, 60)]),
        ("x=10 y=20 w=30 h=40", [(10, 20, 40, 60)]),
        ("박스=10，20，30，40", [(10, 20, 40, 60)]),
        ("box=50%,50%,25%,10%", [(160, 120, 240, 144)]),
        ("box=0.5,0.5,0.25,0.1", [(160, 120, 240, 144)]),
        ("box=10,10,50,50;60%,60%,10%,10%", [(10, 10, 60, 60), (192, 144, 224, 168)]),
        ("box=10,10,50,50; box=60%,60%,10%,10%", [(10, 10, 60, 60), (192, 144, 224, 168)]),
        ("box=-5,-5,20,20", [(0, 0, 15, 15)]),
        ("box=0,0,0.1%,0.1%", [(0, 0, 1, 1)]),
    ],
)
async def test_boxes(reader: PictureReader, spec: str, boxes: list[tuple[int, int, int, int]]) -> None:
    wanted = np.zeros(SIZE[::-1], bool)
    for left, top, right, bottom in boxes:
        wanted[top:bottom, left:right] = True
    mask = await reader.mask(png(PHOTO), spec)
    assert np.array_equal(white(mask), wanted)
    assert mask.notes == ((words.BOX_CUT(width=320, height=240),) if "-" in spec else ())


@pytest.mark.parametrize(
    ("spec", "part"),
    [
        ("auto", Auto()),
        ("자동", Auto()),
        ("auto-inverse", Auto(True)),
        ("Auto inverse", Auto(True)),
        ("background", Auto(True)),
        ("배경", Auto(True)),
        ("alpha", Alpha()),
        ("white", White()),
        ("difference", Difference()),
        ("colour", Colour()),
        ("color:red", Colour((255, 0, 0))),
        ("colour=#0f8", Colour((0, 255, 136))),
        ("#ff0000", Colour((255, 0, 0))),
        ("빨간색", Colour((255, 0, 0))),
    ],
)
def test_words(spec: str, part: object) -> None:
    assert parse(spec) == (part,)


@pytest.mark.parametrize(
    "spec",
    [
        "box",
        "box=1,2,3",
        "box=1,2,3,4,5",
        "box=1,2,a,4",
        "box=1,2,0,4",
        "box=1,2,3,-4",
        "boxer",
        "colour=mauve",
        "hm",
    ],
)
def test_what_is_not_understood_is_quoted_with_the_way_to_say_it(spec: str) -> None:
    with pytest.raises(Refusal) as caught:
        parse(spec)
    assert f"“{spec}”" in caught.value.words.en or "not “" in caught.value.words.en
    assert "box=" in caught.value.words.en or "#rrggbb" in caught.value.words.en


@given(st.text(max_size=60))
def test_any_words_are_read_or_refused(spec: str) -> None:
    try:
        parts = parse(spec)
    except Refusal as refusal:
        assert len(refusal.words.en) < 600  # noqa: PT017 – either way out is fine
    else:
        assert isinstance(parts, tuple)


numbers = st.floats(-50, 400, allow_nan=False).map(lambda v: round(v, 1))


@given(st.tuples(numbers, numbers, st.floats(0.1, 400), st.floats(0.1, 400)), st.tuples(*[st.booleans()] * 4))
def test_a_box_is_never_empty_before_it_is_cut(values: Any, percent: Any) -> None:
    left, top, right, bottom = Box(values, percent).pixels(*SIZE)
    assert right > left
    assert bottom > top


async def test_a_box_outside_the_photo_is_refused_with_its_size(reader: PictureReader) -> None:
    sentence = await refused(reader, png(PHOTO), "box=400,10,5,5")
    assert "320 × 240" in sentence.en


async def test_a_box_and_a_picture_are_united(reader: PictureReader) -> None:
    mask = await reader.mask(png(PHOTO), "box=0,0,10,10", png(spot()))
    wanted = WANTED.copy()
    wanted[:10, :10] = True
    assert np.array_equal(white(mask), wanted)


# --- the object ------------------------------------------------------------------------------------------


def nut() -> tuple[Image.Image, Array]:
    image = Image.new("RGB", (400, 300), (205, 203, 198))
    draw, mask = ImageDraw.Draw(image), Image.new("L", (400, 300), 0)
    corners = [(200 + 90 * np.cos(a), 150 + 90 * np.sin(a)) for a in np.linspace(0, 2 * np.pi, 7)[:-1]]
    draw.polygon(corners, fill=(70, 72, 80))
    ImageDraw.Draw(mask).polygon(corners, fill=255)
    noisy = np.asarray(image).astype(np.float32) + np.random.default_rng(1).normal(0, 5, (300, 400, 3))
    return Image.fromarray(np.clip(noisy, 0, 255).astype(np.uint8)), np.asarray(mask) > 0


async def test_auto_finds_the_object_and_its_inverse_the_background(reader: PictureReader) -> None:
    photo, wanted = nut()
    front, back = await reader.mask(png(photo), "auto"), await reader.mask(png(photo), "auto-inverse")
    assert alike(white(front), wanted) > 0.9
    assert np.array_equal(white(back), ~white(front))
    assert front.notes == (words.AUTO_FRONT, words.BY_COLOURS)
    assert white(await reader.mask(png(photo), "auto")).tolist() == white(front).tolist()


@pytest.mark.parametrize("mode", ["L", "RGBA", "I;16"])
async def test_auto_in_other_modes(reader: PictureReader, mode: str) -> None:
    photo, wanted = nut()
    photo, wanted = photo.resize((1600, 1200)), wanted.repeat(4, axis=0).repeat(4, axis=1)
    if mode == "I;16":
        photo = Image.fromarray((np.asarray(photo.convert("L")).astype(np.uint16) * 16).astype("<u2"))
    else:
        photo = photo.convert(mode)
    assert alike(white(await reader.mask(png(photo), "auto")), wanted) > 0.85


async def test_a_plain_surface_has_no_object(reader: PictureReader) -> None:
    assert await refused(reader, png(Image.new("RGB", SIZE, (90, 90, 90))), "auto") == words.NO_OBJECT
