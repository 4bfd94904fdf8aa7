"""Pictures from strangers: what is accepted comes out clean, what is not gets its own sentence, and the worker
that decodes them may die without harm."""

from __future__ import annotations

import asyncio
import contextlib
import io
import os
import re
import signal
import struct
import time
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image, PngImagePlugin

from bot.pictures import words
from bot.pictures.fast_png import fast_png
from bot.pictures.reading import Picture, PictureLimits, PictureReader, safe_name
from engines.words import Refusal, Words

LIMITS = PictureLimits(file_bytes=2_000_000, pixels=4_000_000, seconds=20, workers=1)


@pytest.fixture(scope="module")
def reader() -> Iterator[PictureReader]:
    reader = PictureReader(LIMITS)
    yield reader
    asyncio.run(reader.close())


def saved(image: Image.Image, kind: str = "PNG", **options: Any) -> bytes:
    out = io.BytesIO()
    image.save(out, kind, **options)
    return out.getvalue()


def noise(mode: str = "RGB", size: tuple[int, int] = (60, 40)) -> Image.Image:
    rng = np.random.default_rng(7)
    bands = {"L": (), "RGB": (3,), "RGBA": (4,), "CMYK": (4,)}[mode]
    return Image.fromarray(
        rng.integers(0, 256, (size[1], size[0], *bands), dtype=np.uint8), mode=None
    ).convert(mode)


def deep(top: int = 65535) -> Image.Image:
    return Image.fromarray(np.linspace(0, top, 2400).astype("<u2").reshape(40, 60))


def pixels(picture: Picture) -> np.ndarray[Any, Any]:
    image = Image.open(io.BytesIO(picture.png))
    assert (image.mode, image.size) == (picture.mode, (picture.width, picture.height))
    return np.asarray(image)


async def refused(reader: PictureReader, data: bytes, name: str = "photo.png") -> Words:
    with pytest.raises(Refusal) as caught:
        await reader.read(data, name)
    return caught.value.words


def told(sentence: Words, template: Words) -> bool:
    """Is `sentence` this template filled in, in both languages?"""
    languages = ((sentence.en, template.en), (sentence.ko, template.ko))
    return all(re.match(re.sub(r"\\\{\w+\\\}", ".+", re.escape(t)), s, re.S) for s, t in languages)


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


# --- what is not -----------------------------------------------------------------------------------------


async def test_a_file_of_no_bytes(reader: PictureReader) -> None:
    assert told(await refused(reader, b""), words.EMPTY)


async def test_too_many_bytes(reader: PictureReader) -> None:
    sentence = await refused(reader, b"\x89PNG" + bytes(2_000_000))
    assert told(sentence, words.TOO_MANY_BYTES)
    assert "2 MB" in sentence.en


async def test_too_many_pixels_names_both_figures(reader: PictureReader) -> None:
    sentence = await refused(reader, saved(noise(size=(60, 40)).resize((2500, 2000)), "JPEG"))
    assert told(sentence, words.TOO_MANY_PIXELS)
    assert "2500 × 2000 = 5.0 megapixels; at most 4" in sentence.en


@pytest.mark.parametrize("kind", ["PNG", "BMP", "TIFF", "WEBP", "JPEG"])
async def test_a_bomb_is_not_unpacked(reader: PictureReader, kind: str) -> None:
    started = time.monotonic()
    sentence = await refused(reader, bomb(kind))
    assert told(sentence, words.BOMB), sentence.en
    assert time.monotonic() - started < 5


def bomb(kind: str) -> bytes:
    """A small file that claims more than a hundred megapixels."""
    if kind == "BMP":
        head = struct.pack("<IiiHHIIiiII", 40, 30000, 30000, 1, 24, 0, 0, 0, 0, 0, 0)
        return b"BM" + struct.pack("<IHHI", 54, 0, 0, 54) + head
    if kind == "PNG":
        return png(30000, 30000, zlib.compress(b""))
    if kind == "WEBP":  # a small animation on a huge canvas
        frames = [Image.new("RGB", (8, 8), colour) for colour in ("red", "blue")]
        data = bytearray(saved(frames[0], kind, save_all=True, append_images=frames[1:]))
        data[24:30] = (16382).to_bytes(3, "little") * 2
        return bytes(data)
    data = bytearray(saved(Image.new("L", (8, 8)), kind))
    if kind == "JPEG":
        at = data.index(b"\xff\xc0") + 5
        data[at : at + 4] = struct.pack(">HH", 60000, 60000)
    if kind == "TIFF":
        for tag in (256, 257):
            at = data.index(struct.pack("<HH", tag, 4))
            data[at + 8 : at + 12] = struct.pack("<I", 30000)
    return bytes(data)


def png(width: int, height: int, packed: bytes, depth: int = 8, colour: int = 2) -> bytes:
    """A PNG put together by hand, so that it can lie or be large."""
    header = struct.pack(">IIBBBBB", width, height, depth, colour, 0, 0, 0)
    parts = ((b"IHDR", header), (b"IDAT", packed), (b"IEND", b""))
    return b"\x89PNG\r\n\x1a\n" + b"".join(
        struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))
        for kind, body in parts
    )


async def test_text_that_unpacks_to_an_enormous_size(reader: PictureReader) -> None:
    data = saved(noise())
    body = b"Comment\0\0" + zlib.compress(bytes(50_000_000), 9)
    chunk = struct.pack(">I", len(body)) + b"zTXt" + body + struct.pack(">I", zlib.crc32(b"zTXt" + body))
    sentence = await refused(reader, data[:33] + chunk + data[33:])
    assert told(sentence, words.BOMB_INSIDE)


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "WEBP", "BMP", "TIFF"])
@pytest.mark.parametrize("share", [0.3, 0.6, 0.95])
async def test_a_file_that_breaks_off(reader: PictureReader, kind: str, share: float) -> None:
    data = saved(noise(size=(200, 200)), kind)
    sentence = await refused(reader, data[: int(len(data) * share)])
    assert told(sentence, words.TRUNCATED), sentence.en


async def test_damage_in_the_middle(reader: PictureReader) -> None:
    data = bytearray(saved(noise(size=(200, 200))))
    data[5000:5400] = bytes(400)
    assert told(await refused(reader, bytes(data)), words.CORRUPT)


@pytest.mark.parametrize(
    ("data", "kind"),
    [
        (b"just words\n" * 50, "a text file"),
        ("한글로 쓴 글입니다. ".encode() * 400, "a text file"),
        ("wide words".encode("utf-16"), "a text file"),
        (b"<!DOCTYPE html><html><body>Sign in</body></html>", "a web page (HTML)"),
        (b'<?xml version="1.0"?><svg xmlns="x"/>', "a vector drawing (SVG)"),
    ],
)
async def test_text_under_a_pictures_name(reader: PictureReader, data: bytes, kind: str) -> None:
    sentence = await refused(reader, data)
    assert told(sentence, words.TEXT)
    assert f"is {kind}, not a picture" in sentence.en


@pytest.mark.parametrize(
    ("data", "kind"),
    [
        (saved(noise(), "GIF"), "GIF"),
        (saved(noise(), "AVIF"), "AVIF"),
        (saved(noise(), "JPEG2000"), "JPEG 2000"),
        (saved(noise(), "ICO"), "ICO"),
        (saved(noise(), "PDF"), "PDF"),
        (b"\0\0\0\x18ftypheic\0\0\0\0" + bytes(100), "HEIC"),
        (b"PK\3\4" + bytes(100), "ZIP"),
    ],
)
async def test_other_formats_are_named(reader: PictureReader, data: bytes, kind: str) -> None:
    sentence = await refused(reader, data)
    assert told(sentence, words.FORMAT)
    assert f"is a {kind} file" in sentence.en


async def test_what_nobody_knows(reader: PictureReader) -> None:
    assert told(await refused(reader, bytes(range(256)) * 4), words.UNKNOWN)


async def test_the_name_in_a_sentence_is_harmless(reader: PictureReader) -> None:
    sentence = await refused(reader, b"", "../../etc/`@everyone`\u202egnp.exe\n.png")
    assert "“_ everyone_ gnp.exe .png”" in sentence.en or not set("`@/\u202e\n") & set(sentence.en)


# --- the worker ------------------------------------------------------------------------------------------


@given(
    st.one_of(
        st.binary(max_size=3000),
        st.builds(
            lambda a, b: a + b,
            st.sampled_from(
                [
                    b"\x89PNG\r\n\x1a\n",
                    b"\xff\xd8\xff\xe0",
                    b"BM",
                    b"II*\0",
                    b"MM\0*",
                    b"RIFF\0\1\0\0WEBPVP8 ",
                ]
            ),
            st.binary(max_size=800),
        ),
    )
)
@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_junk_is_refused_and_the_reader_lives(reader: PictureReader, data: bytes) -> None:
    for junk in (data, saved(noise())[:60] + data, saved(noise(), "JPEG")[:300] + data):
        with contextlib.suppress(Refusal):  # any other exception is a bug
            picture = asyncio.run(reader.read(junk, "junk"))
            assert picture.mode in ("L", "RGB", "RGBA", "I;16")
    assert asyncio.run(reader.read(saved(noise()), "a.png")).width == 60


async def test_a_worker_that_dies_is_replaced(reader: PictureReader) -> None:
    await reader.read(saved(noise()), "a.png")
    for worker in reader._workers:
        os.kill(worker.process.pid, signal.SIGKILL)
    await asyncio.sleep(0.1)
    assert (await reader.read(saved(noise()), "a.png")).width == 60


async def test_too_little_memory_costs_the_worker_not_the_bot() -> None:
    limits = PictureLimits(pixels=100_000_000, memory_bytes=500_000_000, seconds=60, workers=1)
    big = png(9000, 9000, zlib.compress(bytes(9000 * (9000 * 3 + 1)), 1))
    async with PictureReader(limits) as reader:
        assert told(await refused(reader, big), words.TOO_MUCH_MEMORY)
        assert (await reader.read(saved(noise()), "a.png")).width == 60


async def test_too_much_time_costs_the_worker_not_the_bot() -> None:
    async with PictureReader(PictureLimits(seconds=1, workers=1)) as reader:
        await reader.read(saved(noise()), "a.png")
        (worker,) = reader._workers
        os.kill(worker.process.pid, signal.SIGSTOP)  # as slow as can be
        sentence = await refused(reader, saved(noise()))
        assert told(sentence, words.TOO_LONG)
        assert (await reader.read(saved(noise()), "a.png")).width == 60


async def test_many_at_once_all_get_their_own_answer(reader: PictureReader) -> None:
    sizes = [(10 + i, 7) for i in range(20)]
    found = await asyncio.gather(*(reader.read(saved(noise(size=size)), "a") for size in sizes))
    assert [(p.width, p.height) for p in found] == sizes


async def test_a_caller_who_leaves_does_not_mix_up_the_answers(reader: PictureReader) -> None:
    first = asyncio.ensure_future(reader.read(saved(noise(size=(700, 700))), "a"))
    await asyncio.sleep(0.02)
    first.cancel()
    assert (await reader.read(saved(noise(size=(33, 7))), "b")).width == 33


async def test_leaving_ends_the_workers_even_in_the_middle() -> None:
    async with PictureReader(LIMITS) as reader:
        waiting = asyncio.ensure_future(reader.read(saved(noise(size=(700, 700))), "a"))
        await asyncio.sleep(0.05)
        workers = [worker.process for worker in reader._workers]
    assert workers
    assert all(process.poll() is not None for process in workers)
    with pytest.raises((Refusal, asyncio.CancelledError)):
        await waiting


async def test_the_worker_sees_no_secret(reader: PictureReader, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DISCORD_TOKEN", "hush")
    async with PictureReader(LIMITS) as fresh:
        await fresh.read(saved(noise()), "a.png")
        (worker,) = fresh._workers
        assert b"hush" not in _environment(worker.process.pid)


def _environment(process: int) -> bytes:
    file = Path(f"/proc/{process}/environ")
    if not file.exists():
        pytest.skip("needs /proc")
    return file.read_bytes()


async def test_a_photo_of_twelve_megapixels_takes_little_and_does_not_hold_the_loop() -> None:
    base = noise(size=(200, 150)).resize((4000, 3000), Image.Resampling.BICUBIC)
    data = saved(base, "JPEG", quality=90)
    async with PictureReader(PictureLimits(workers=1)) as reader:
        await reader.read(saved(noise()), "warm.png")
        (worker,) = reader._workers
        before, lags = _cpu_seconds(worker.process.pid), []
        reading = asyncio.ensure_future(reader.read(data, "a.jpg"))
        while not reading.done():
            started = time.monotonic()
            await asyncio.sleep(0.005)
            lags.append(time.monotonic() - started - 0.005)
        assert (await reading).width == 4000
        assert _cpu_seconds(worker.process.pid) - before < 1.5  # on the clock too, on a machine that has time
    assert sorted(lags)[len(lags) // 2] < 0.05


def _cpu_seconds(process: int) -> float:
    file = Path(f"/proc/{process}/stat")
    if not file.exists():
        pytest.skip("needs /proc")
    fields = file.read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


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
