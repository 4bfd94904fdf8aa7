"""The worker that decodes strangers' pictures: it sees no secret, and may die without harm."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import time
import zlib
from collections.abc import Iterator
from pathlib import Path

import pytest
from desk_world import picture_reader
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pictures_world import LIMITS, noise, png, refused, saved, told
from PIL import Image

from bot.pictures import words
from bot.pictures.reading import PictureLimits, PictureReader
from engines.words import Refusal


@pytest.fixture(scope="module")
def reader() -> Iterator[PictureReader]:
    with picture_reader(LIMITS) as reader:
        yield reader


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
