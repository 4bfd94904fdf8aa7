"""What the bot itself costs a job: heard, checked, stored, queued, claimed, recorded and answered, by the real parts.

The engine needs no time, pictures are encoded already, and the chat is in this process, so what is left is the bot
and its database, which waits for the disk at every promise. Then eight people with photos keep it busy: how late the
event loop wakes, and how long each waits for the first answer: until their photo is decoded, stored and promised, which
is the processor's work, two photos at a time. (What a chat wants within three seconds is said before any of that:
`tests/test_discord_load.py`, `tests/test_slack_load.py`.)
"""

from __future__ import annotations

import argparse
import asyncio
import tempfile
import time
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image
from rich.console import Console
from rich.table import Table

from benchmarks.instant import Heard, configured, pool, said
from benchmarks.machine import described, keep
from bot.app import Studio, studio
from bot.platforms.local_file import LocalFile

PEOPLE = 8
TICK = 0.005  # seconds between two looks at the event loop


async def one(desk: Studio, chat: Heard, person: str, text: str, *files: LocalFile) -> tuple[float, float]:
    """Seconds until the first answer, and until the last, of one job."""
    began = time.perf_counter()
    answer = await desk.desk.hear(said(person, text, *files))
    heard = time.perf_counter() - began
    if answer.kind != "accepted":
        raise RuntimeError(answer.text)
    return heard, await chat.answered(answer.job) - began


async def alone(folder: Path, jobs: int) -> list[float]:
    """Seconds of each of `jobs` jobs, one after another."""
    chat = Heard()
    async with studio(configured(folder), [chat], pool()) as parts:
        await one(parts, chat, "kim", '/txt2img "warm" steps:1')
        return [(await one(parts, chat, "kim", f'/txt2img "a nut" steps:1 seed:{k}'))[1] for k in range(jobs)]


async def lag(late: list[float]) -> None:
    """Notes how late the event loop wakes, until cancelled."""
    while True:
        due = time.perf_counter() + TICK
        await asyncio.sleep(TICK)
        late.append(time.perf_counter() - due)


async def loaded(folder: Path, photo: Path, jobs: int) -> tuple[list[float], list[float]]:
    """How late the loop woke, and seconds to the first answer, while `PEOPLE` send photos one after another."""
    chat, late, heard = Heard(), [], []

    async def person(name: str) -> None:
        for k in range(jobs):
            text = f'/img2img "a nut" steps:4 seed:{k} image:@{photo}'
            first, _ = await one(parts, chat, name, text, LocalFile(str(photo)))
            heard.append(first)

    async with studio(configured(folder), [chat], pool(0.002)) as parts:
        await one(parts, chat, "warm", f'/img2img "warm" steps:1 image:@{photo}', LocalFile(str(photo)))
        watch = asyncio.create_task(lag(late))
        await asyncio.gather(*(person(f"p{i}") for i in range(PEOPLE)))
        watch.cancel()
        with suppress(asyncio.CancelledError):
            await watch
    return late, heard


def synced(folder: Path, times: int = 100) -> float:
    """Median ms of one small write that the disk has: what a promise costs at least."""
    import os

    took = []
    with (folder / "sync").open("wb") as file:
        for _ in range(times):
            began = time.perf_counter()
            file.write(b"x" * 4096)
            file.flush()
            os.fsync(file.fileno())
            took.append((time.perf_counter() - began) * 1000)
    return float(np.median(took))


def main(argv: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--jobs", type=int, default=200, help="one after another")
    parser.add_argument("--each", type=int, default=12, help="jobs of each person under load")
    options = parser.parse_args(argv)
    figures: dict[str, Any] = {"machine": described("cpu")}
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        photo = folder / "photo.png"
        noise = np.random.default_rng(0).integers(0, 256, (96, 128, 3), np.uint8)
        Image.fromarray(noise).resize((1024, 768), Image.Resampling.BICUBIC).save(photo)
        figures["fsync ms"] = round(synced(folder), 2)
        took = np.array(asyncio.run(alone(folder / "alone", options.jobs))) * 1000
        late, heard = asyncio.run(loaded(folder / "loaded", photo, options.each))
    figures |= {
        "p50 ms": round(float(np.percentile(took, 50)), 2),
        "p95 ms": round(float(np.percentile(took, 95)), 2),
        "loop lag p99 ms": round(float(np.percentile(late, 99)) * 1000, 1),
        "loop lag worst ms": round(max(late) * 1000, 1),
        "first answer to a photo p50 ms": round(float(np.percentile(heard, 50)) * 1000, 1),
        "first answer to a photo p99 ms": round(float(np.percentile(heard, 99)) * 1000, 1),
        "jobs": {"one after another": options.jobs, "under load": options.each * PEOPLE},
    }
    show(figures)
    Console().print(f"kept in {keep('overhead', figures).relative_to(Path.cwd())}")


def show(figures: dict[str, Any]) -> None:
    """The figures as a table."""
    table = Table(title="What the bot itself costs a job")
    table.add_column("")
    table.add_column("", justify="right")
    for name, value in figures.items():
        if name not in ("machine", "jobs"):
            table.add_row(name, str(value))
    Console().print(table)
    Console().print(", ".join(f"{k}: {v}" for k, v in figures["machine"].items()))


if __name__ == "__main__":
    main()
