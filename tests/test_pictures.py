"""Pictures from strangers: what is accepted comes out clean, and copies of it fit; names are made safe."""

from __future__ import annotations

import io
import re
import struct
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from desk_world import picture_reader
from hypothesis import given, settings
from hypothesis import strategies as st
from pictures_world import LIMITS, deep, noise, pixels, png, saved, told
from PIL import Image, PngImagePlugin

from bot.pictures import words
from bot.pictures.fast_png import fast_png
from bot.pictures.reading import PictureReader, safe_name
from engines.words import Refusal


@pytest.fixture(scope="module")
def reader() -> Iterator[PictureReader]:
    with picture_reader(LIMITS) as reader:
        yield reader


# --- what is accepted ------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "WEBP", "BMP", "TIFF"])
async def test_every_accepted_format_under_any_name(reader: PictureReader, kind: str) -> None:
    lossless = {"WEBP": {"lossless": True}, "JPEG": {"quality": 100, "subsampling": 0}}.get(kind, {})
    source = noise()
    got = pixels(await reader.read(saved(source, kind, **lossless), "a.exe"))
    same = np.abs(got.astype(int) - np.asarray(source))
    assert same.max() <= (0 if kind != "JPEG" else 12)


@pytest.mark.parametrize("mode", ["L", "RGB", "RGBA"])
async def test_these_modes_keep_every_value(reader: PictureReader, mode: str) -> None:
    source = noise(mode)
    picture = await reader.read(saved(source), "a.png")
    assert picture.mode == mode
    assert np.array_equal(pixels(picture), np.asarray(source))


@pytest.mark.parametrize(("kind", "top"), [("PNG", 65535), ("PNG", 4095), ("TIFF", 65535)])
async def test_sixteen_bit_grey_is_never_clipped(reader: PictureReader, kind: str, top: int) -> None:
    picture = await reader.read(saved(deep(top), kind), "a")
    assert picture.mode == "I;16"
    assert np.array_equal(pixels(picture), np.asarray(deep(top)))


async def test_big_endian_sixteen_bits(reader: PictureReader) -> None:
    values = np.asarray(deep())
    image = Image.frombytes("I;16B", (60, 40), values.astype(">u2").tobytes())
    assert np.array_equal(pixels(await reader.read(saved(image, "TIFF"), "a.tif")), values)


async def test_wide_values_are_scaled_and_told(reader: PictureReader) -> None:
    values = np.linspace(-1000, 200_000, 2400).reshape(40, 60)
    whole = await reader.read(saved(Image.fromarray(values.astype(np.int32)), "TIFF"), "a.tif")
    real = await reader.read(saved(Image.fromarray(values.astype(np.float32)), "TIFF"), "a.tif")
    for picture in (whole, real):
        assert (pixels(picture).min(), pixels(picture).max()) == (0, 65535)
        assert told(picture.notes[0], words.SCALED)


@pytest.mark.parametrize(
    ("image", "mode"),
    [
        (noise().quantize(16), "RGB"),
        (noise("L").convert("1"), "L"),
        (noise("RGBA").convert("LA"), "RGBA"),
        (noise("CMYK"), "RGB"),
    ],
    ids=["palette", "bilevel", "grey with alpha", "print"],
)
async def test_other_modes_become_one_of_ours(reader: PictureReader, image: Image.Image, mode: str) -> None:
    kind = "TIFF" if image.mode == "CMYK" else "PNG"
    picture = await reader.read(saved(image, kind), "a")
    assert picture.mode == mode
    assert np.array_equal(pixels(picture), np.asarray(image.convert(mode)))


async def test_a_transparent_colour_of_a_palette_stays_transparent(reader: PictureReader) -> None:
    image = noise().quantize(16)
    picture = await reader.read(saved(image, transparency=3), "a.png")
    assert picture.mode == "RGBA"
    assert np.array_equal(pixels(picture)[..., 3] == 0, np.asarray(image) == 3)


@pytest.mark.parametrize("turn", range(1, 9))
@pytest.mark.parametrize("kind", ["JPEG", "PNG", "TIFF"])
async def test_photos_are_put_upright(reader: PictureReader, turn: int, kind: str) -> None:
    source = Image.new("L", (40, 20), 0)
    source.paste(255, (0, 0, 10, 10))
    exif = Image.Exif()
    exif[0x0112] = turn
    got = pixels(await reader.read(saved(source, kind, exif=exif), "a.jpg"))
    corner = {1: (0, 0), 2: (0, -1), 3: (-1, -1), 4: (-1, 0), 5: (0, 0), 6: (0, -1), 7: (-1, -1), 8: (-1, 0)}[
        turn
    ]
    assert got.shape == ((20, 40) if turn < 5 else (40, 20))
    assert got[corner] > 200
    assert got.mean() < 50


async def test_sixteen_bits_are_put_upright_too(reader: PictureReader) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    got = pixels(await reader.read(saved(deep(), "TIFF", exif=exif), "a.tif"))
    assert np.array_equal(got, np.rot90(np.asarray(deep()), -1))


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "WEBP", "TIFF"])
async def test_no_metadata_comes_through(reader: PictureReader, kind: str) -> None:
    exif = Image.Exif()
    exif[0x010E], exif[0x013B] = "SECRET-where", "SECRET-who"
    more: dict[str, Any] = {"exif": exif, "icc_profile": b"SECRET" * 40}
    if kind == "PNG":
        text = PngImagePlugin.PngInfo()
        text.add_text("Comment", "SECRET")
        text.add_itxt("XML:com.adobe.xmp", "SECRET", zip=True)
        more |= {"pnginfo": text, "dpi": (300, 300)}
    if kind == "JPEG":
        more |= {"comment": b"SECRET", "xmp": b"SECRET"}
    if kind == "WEBP":
        more |= {"xmp": b"SECRET"}
    picture = await reader.read(saved(noise(), kind, **more), "a")
    image = Image.open(io.BytesIO(picture.png))
    image.load()
    assert image.info == {}
    assert re.findall(rb"IHDR|IEND|tEXt|iTXt|zTXt|eXIf|iCCP|pHYs", picture.png) == [b"IHDR", b"IEND"]


async def test_of_several_pictures_the_first_is_taken_and_told(reader: PictureReader) -> None:
    frames = [Image.new("RGB", (20, 20), colour) for colour in ("red", "green", "blue")]
    for kind in ("PNG", "WEBP", "TIFF"):
        data = saved(frames[0], kind, save_all=True, append_images=frames[1:], lossless=True)
        picture = await reader.read(data, "a")
        assert picture.notes == (words.FIRST_FRAME,)
        assert pixels(picture)[0, 0].tolist()[:3] == [255, 0, 0]


async def test_colour_of_sixteen_bits_is_told(reader: PictureReader) -> None:
    row = b"\0" + struct.pack(">3H", 65535, 32768, 0) * 8
    data = png(8, 4, zlib.compress(row * 4), depth=16)
    picture = await reader.read(data, "a.png")
    assert picture.notes == (words.EIGHT_BITS,)


@given(
    st.sampled_from(["L", "RGB", "RGBA", "I;16"]),
    st.integers(1, 40),
    st.integers(1, 600),
    st.integers(0, 2**32 - 1),
)
@settings(max_examples=40, deadline=None)
def test_the_quick_png_is_lossless(mode: str, width: int, height: int, seed: int) -> None:
    rng = np.random.default_rng(seed)
    if mode == "I;16":
        image = Image.fromarray(rng.integers(0, 65536, (height, width)).astype("<u2"))
    else:
        image = Image.fromarray(rng.integers(0, 256, (height, width, 4), dtype=np.uint8)).convert(mode)
    again = Image.open(io.BytesIO(fast_png(image)))
    assert again.mode == mode
    assert np.array_equal(np.asarray(again), np.asarray(image))


# --- copies ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("limit", [200_000, 40_000, 4_000])
async def test_a_copy_fits_and_stays_as_large_as_it_can(
    reader: PictureReader, tmp_path: Path, limit: int
) -> None:
    file = tmp_path / "ab12"
    file.write_bytes(saved(noise(size=(200, 200)).resize((600, 600))))
    data, name = await reader.shrink(file, limit, name="../result.png")
    assert len(data) <= limit
    assert name == "result.jpg"
    assert len(data) > limit / 8


async def test_a_transparent_copy_stays_transparent(reader: PictureReader, tmp_path: Path) -> None:
    file = tmp_path / "x.png"
    file.write_bytes(saved(noise("RGBA", (300, 300))))
    for formats, suffix in ((("jpg", "png"), "png"), (("webp", "jpg"), "webp")):
        data, name = await reader.shrink(file, 100_000, formats)
        assert name == f"x.{suffix}"
        assert Image.open(io.BytesIO(data)).mode == "RGBA"


async def test_sixteen_bits_are_visible_in_a_copy(reader: PictureReader, tmp_path: Path) -> None:
    file = tmp_path / "x.png"
    file.write_bytes(saved(deep(4095)))
    data, _ = await reader.shrink(file, 100_000)
    assert Image.open(io.BytesIO(data)).getextrema()[1] > 240


async def test_a_limit_nothing_can_meet_is_refused(reader: PictureReader, tmp_path: Path) -> None:
    file = tmp_path / "x.png"
    file.write_bytes(saved(noise(size=(300, 300))))
    with pytest.raises(Refusal):
        await reader.shrink(file, 50)


async def test_a_thumbnail(reader: PictureReader) -> None:
    image = Image.open(io.BytesIO(await reader.thumbnail(saved(noise("RGBA", (600, 300))), 128)))
    assert (image.format, image.size) == ("JPEG", (128, 64))


# --- names -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("said", "kept"),
    [
        ("../../etc/passwd", "passwd"),
        ("C:\\Users\\kim\\사진 1.png", "사진 1.png"),
        ("", "picture"),
        ("...", "picture"),
        ("a\0b\n\u202egnp.exe", "a b gnp.exe"),
        ("`<@123>`.png", "_123_.png"),
        ("x" * 300 + ".jpeg", "x" * 75 + ".jpeg"),
    ],
)
def test_names_are_made_safe(said: str, kept: str) -> None:
    assert safe_name(said) == kept


@given(st.text())
def test_no_name_is_a_path_or_markup(said: str) -> None:
    name = safe_name(said)
    assert 0 < len(name) <= 80
    assert not set(name) & set("/\\`*<>@|~:\n\r\0")
    assert name not in (".", "..")
    assert Path(name).name == name
