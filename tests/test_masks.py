"""Masks that are pictures: a second picture, marks in a photo, other sizes and shapes."""

from __future__ import annotations

import asyncio
import io

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from masks_world import PHOTO, SIZE, SPOT, WANTED, alike, png, refused, spot, white
from PIL import Image, ImageDraw

from bot.masks import words
from bot.pictures.reading import PictureReader
from engines.words import Refusal

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
