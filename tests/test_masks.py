"""Masks: every way a person has one, what was understood, and what cannot be meant."""

from __future__ import annotations

import asyncio
import io
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image, ImageDraw

from bot.masks import words
from bot.masks.spoken import Alpha, Auto, Box, Colour, Difference, White, parse
from bot.pictures.reading import Mask, PictureLimits, PictureReader
from engines.compose import bits, grown
from engines.words import Refusal, Words

SIZE = (320, 240)
SPOT = (100, 80, 140, 130)  # left, top, right, bottom of the place to change
Array = np.ndarray[Any, Any]


@pytest.fixture(scope="module")
def reader() -> Iterator[PictureReader]:
    reader = PictureReader(PictureLimits(workers=1))
    yield reader
    asyncio.run(reader.close())


def png(image: Image.Image, kind: str = "PNG", **options: Any) -> bytes:
    out = io.BytesIO()
    image.save(out, kind, **options)
    return out.getvalue()


def product(size: tuple[int, int] = SIZE) -> Image.Image:
    """A brushed brown plate on grey, a little noisy: something like a photo."""
    rng = np.random.default_rng(3)
    width, height = size
    base = np.full((height, width, 3), (150, 152, 155), np.float32)
    base[height // 6 : -height // 6, width // 6 : -width // 6] = (105, 70, 40)
    base += rng.normal(0, 6, (height, 1, 3)) + rng.normal(0, 3, (height, width, 3))
    return Image.fromarray(np.clip(base, 0, 255).astype(np.uint8))


def spot(size: tuple[int, int] = SIZE, box: tuple[int, int, int, int] = SPOT) -> Image.Image:
    mask = Image.new("L", size, 0)
    mask.paste(255, box)
    return mask


def white(mask: Mask) -> Array:
    image = Image.open(io.BytesIO(mask.png))
    values = np.asarray(image)
    assert image.mode == "L"
    assert set(np.unique(values)) <= {0, 255}
    assert mask.share == pytest.approx(float(np.mean(values > 0)))
    return values > 0


def alike(a: Array, b: Array) -> float:
    """Intersection over union."""
    return float((a & b).sum() / max((a | b).sum(), 1))


async def refused(reader: PictureReader, *args: Any) -> Words:
    with pytest.raises(Refusal) as caught:
        await reader.mask(*args)
    return caught.value.words


PHOTO = product()
WANTED = np.asarray(spot()) > 0


# --- a second picture ------------------------------------------------------------------------------------


@pytest.mark.parametrize("mode", ["1", "L", "RGB", "RGBA", "P"])
async def test_white_is_what_changes_in_any_mode(reader: PictureReader, mode: str) -> None:
    mask = await reader.mask(png(PHOTO), None, png(spot().convert(mode)))
    assert np.array_equal(white(mask), WANTED)
    assert mask.notes == ()


@pytest.mark.parametrize("top", [65535, 255, 1])
async def test_sixteen_bit_masks(reader: PictureReader, top: int) -> None:
    given = Image.fromarray((WANTED * top).astype("<u2"))
    assert np.array_equal(white(await reader.mask(png(PHOTO), "", png(given))), WANTED)


async def test_a_mask_from_a_jpeg_has_clean_edges(reader: PictureReader) -> None:
    assert alike(white(await reader.mask(png(PHOTO), None, png(spot(), "JPEG", quality=60))), WANTED) > 0.97


async def test_many_greys_are_halved_and_told(reader: PictureReader) -> None:
    ramp = np.tile(np.linspace(0, 255, SIZE[0]).astype(np.uint8), (SIZE[1], 1))
    mask = await reader.mask(png(PHOTO), None, png(Image.fromarray(ramp)))
    assert np.array_equal(white(mask), ramp > 127)
    assert words.MANY_GREYS in mask.notes


async def test_label_pictures_of_zero_and_one(reader: PictureReader) -> None:
    mask = await reader.mask(png(PHOTO), None, png(Image.fromarray(WANTED.astype(np.uint8))))
    assert np.array_equal(white(mask), WANTED)
    assert mask.notes == (words.LABELS(top=1),)


async def test_a_black_mask_is_refused_with_advice(reader: PictureReader) -> None:
    assert await refused(reader, png(PHOTO), None, png(Image.new("L", SIZE, 0))) == words.NOTHING


async def test_a_white_mask_is_told(reader: PictureReader) -> None:
    mask = await reader.mask(png(PHOTO), None, png(Image.new("L", SIZE, 255)))
    assert (mask.share, mask.notes) == (1.0, (words.EVERYTHING,))


async def test_the_transparent_part_changes(reader: PictureReader) -> None:
    erased = PHOTO.copy()
    erased.putalpha(Image.fromarray(np.where(WANTED, 0, 255).astype(np.uint8)))
    for photo, attachment in ((PHOTO, erased), (erased, None)):
        mask = await reader.mask(png(photo), None, png(attachment) if attachment else None)
        assert np.array_equal(white(mask), WANTED)
        assert mask.notes == (words.FROM_ALPHA,)


async def test_white_strokes_on_a_transparent_layer_are_the_strokes(reader: PictureReader) -> None:
    layer = Image.new("RGBA", SIZE, (0, 0, 0, 0))
    layer.paste((255, 255, 255, 255), SPOT)
    mask = await reader.mask(png(PHOTO), None, png(layer))
    assert np.array_equal(white(mask), WANTED)
    assert mask.notes == (words.FROM_STROKES,)


# --- marks in a photo ------------------------------------------------------------------------------------

PENS = {
    "red": (255, 59, 48),
    "yellow": (255, 204, 0),
    "green": (52, 199, 89),
    "blue": (0, 122, 255),
    "pink": (255, 0, 200),
}


@pytest.mark.parametrize("quality", [None, 90, 60])
@pytest.mark.parametrize("pen", PENS)
async def test_a_painted_copy_beside_the_clean_photo(
    reader: PictureReader, pen: str, quality: int | None
) -> None:
    marked = PHOTO.copy()
    marked.paste(PENS[pen], SPOT)
    given = png(marked, "JPEG", quality=quality) if quality else png(marked)
    mask = await reader.mask(png(PHOTO), None, given)
    assert alike(white(mask), WANTED) > 0.75
    assert (WANTED & ~white(mask)).sum() < 20
    assert mask.notes == (words.FROM_DIFFERENCE,)


@pytest.mark.parametrize("mode", ["L", "I;16"])
async def test_white_paint_in_a_grey_photo_is_a_difference_too(reader: PictureReader, mode: str) -> None:
    grey = PHOTO.convert("L")
    if mode == "I;16":
        grey = Image.fromarray((np.asarray(grey).astype(np.uint16) * 100).astype("<u2"))
    marked = grey.copy()
    marked.paste(65535 if mode == "I;16" else 255, SPOT)
    mask = await reader.mask(png(grey), None, png(marked))
    assert alike(white(mask), WANTED) > 0.75
    assert mask.notes == (words.FROM_DIFFERENCE,)


@pytest.mark.parametrize("pen", PENS)
async def test_a_circle_drawn_in_the_photo_alone(reader: PictureReader, pen: str) -> None:
    marked = PHOTO.copy()
    ImageDraw.Draw(marked).ellipse(SPOT, outline=PENS[pen], width=4)
    inside = Image.new("L", SIZE, 0)
    ImageDraw.Draw(inside).ellipse(SPOT, fill=255)
    for data in (png(marked), png(Image.open(io.BytesIO(png(marked, "JPEG", quality=85))))):
        mask = await reader.mask(data, "colour")
        found, wanted = white(mask), np.asarray(inside) > 0
        assert not (wanted & ~found).any()  # no trace of the pen may stay
        assert alike(found, wanted) > 0.6
        assert mask.notes[0].en.startswith("The places marked in #")


async def test_of_two_colours_the_named_one_is_taken(reader: PictureReader) -> None:
    marked = PHOTO.copy()
    marked.paste(PENS["red"], (10, 10, 60, 60))
    marked.paste(PENS["blue"], SPOT)
    for spec in ("blue", "colour=blue", "color #007aff", "파랑"):
        assert alike(white(await reader.mask(png(marked), spec)), WANTED) > 0.7


async def test_colour_without_marks_is_refused(reader: PictureReader) -> None:
    assert (await refused(reader, png(PHOTO), "colour")).en.startswith(words.NO_COLOUR.en)
    assert (await refused(reader, png(PHOTO), "colour=green")).en.startswith(words.NO_COLOUR.en)


async def test_without_any_mask_the_ways_are_told_and_marks_are_noticed(reader: PictureReader) -> None:
    assert (await refused(reader, png(PHOTO))) == words.NO_MASK + words.WAYS
    marked = PHOTO.copy()
    marked.paste(PENS["red"], SPOT)
    assert (await refused(reader, png(marked))) == words.MARKS_SEEN


async def test_another_photo_is_no_mask(reader: PictureReader) -> None:
    rng = np.random.default_rng(5)
    other = Image.fromarray(rng.integers(60, 150, (*SIZE[::-1], 3), dtype=np.uint8))
    assert (await refused(reader, png(PHOTO), None, png(other))).en.startswith(words.NOT_A_MASK.en)
    assert await refused(reader, png(PHOTO), "difference", png(other)) == words.NO_COPY


# --- other sizes -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("factor", [0.25, 0.5, 2, 3])
async def test_a_mask_of_the_same_shape_is_resized_and_told(reader: PictureReader, factor: float) -> None:
    size = round(SIZE[0] * factor), round(SIZE[1] * factor)
    given = spot().resize(size, Image.Resampling.NEAREST)
    mask = await reader.mask(png(PHOTO), None, png(given))
    assert alike(white(mask), WANTED) > 0.85
    assert mask.notes == (words.RESIZED(mw=size[0], mh=size[1], pw=SIZE[0], ph=SIZE[1]),)


@given(st.integers(0, 1279), st.integers(1, 3))
@settings(max_examples=8, deadline=None)
def test_a_thin_scratch_survives_shrinking(reader: PictureReader, at: int, width: int) -> None:
    big = Image.new("L", (1280, 960), 0)
    big.paste(255, (at, 0, at + width, 960))
    found = white(asyncio.run(reader.mask(png(PHOTO), None, png(big))))
    assert found[:, at // 4].all()


async def test_another_shape_is_refused_with_both_sizes(reader: PictureReader) -> None:
    sentence = await refused(reader, png(PHOTO), None, png(Image.new("L", (300, 300), 255)))
    assert "320 × 240" in sentence.en
    assert "300 × 300" in sentence.ko
    assert sentence.en.endswith(words.FIT_IT.en)


async def test_a_turned_mask_is_recognised(reader: PictureReader) -> None:
    sentence = await refused(reader, png(PHOTO), None, png(spot().transpose(Image.Transpose.ROTATE_90)))
    assert sentence.en.endswith(words.TURN_IT.en)


@pytest.mark.parametrize("kind", ["text", "empty", "broken"])
async def test_a_broken_mask_file_is_refused_like_a_photo(reader: PictureReader, kind: str) -> None:
    data = {"text": b"white", "empty": b"", "broken": png(spot())[:200]}[kind]
    with pytest.raises(Refusal, match=r"maske\.png"):
        await reader.mask(png(PHOTO), None, data, "maske.png")


# --- words -----------------------------------------------------------------------------------------------


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


# --- the overlay -----------------------------------------------------------------------------------------


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
