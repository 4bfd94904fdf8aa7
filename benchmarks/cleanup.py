"""Cleaning 1, 10 and 40 photos in a process that keeps its model, against a process that loads it for each photo.

The counts run one after another in one process, so its peak memory grows with a count only if that needs more. LaMa
is measured with a network of its shape and random weights where the real file is not given, and on small photos: a
core needs some seconds for half a megapixel.
"""

from __future__ import annotations

import argparse
import asyncio
import dataclasses
import hashlib
import json
import resource
import subprocess
import sys
import tempfile
import time
from contextlib import aclosing
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image
from rich.console import Console
from rich.table import Table

from benchmarks.machine import described, keep

COUNTS = (1, 10, 40)
SIZES = {"cv2": (1024, 768), "big-lama": (384, 288)}  # of the photos for each model
AT_ONCE = 8  # photos in flight


def photos(folder: Path, size: tuple[int, int], count: int) -> None:
    """Photos of nothing, each with a spot to be taken out."""
    folder.mkdir()
    chance, (width, height) = np.random.default_rng(0), size
    for i in range(count):
        rough = Image.fromarray(chance.integers(0, 256, (height // 8, width // 8, 3), np.uint8))
        rough.resize(size, Image.Resampling.BICUBIC).save(folder / f"photo{i}.png", compress_level=1)
        mask = Image.new("L", size)
        x, y = (
            int(chance.integers(width // 5, width * 2 // 3)),
            int(chance.integers(height // 4, height * 2 // 3)),
        )
        mask.paste(255, (x, y, x + 30, y + 20))
        mask.save(folder / f"mask{i}.png")


# ------------------------------------------------------------------ the process that is measured


def child(folder: Path, model: str, counts: list[int], device: str, threads: int, warm: bool) -> None:
    """Clean photos and tell what it took, as JSON on stdout. `warm`: one photo is done before the clock runs."""
    from engines.cleaning.engine import Cleaner
    from engines.cleaning.menders import reader
    from engines.devices import probe
    from engines.requests import Cleanup
    from engines.serving.pool import Pool
    from engines.studio import EngineSettings, open_models

    known_as(folder / "models" / "big-lama" / "big-lama.pt")
    found = probe((device,), threads=threads)[0]

    def cleaner(_: Any) -> Cleaner:
        models = open_models(EngineSettings(models=folder / "models"), found)
        return Cleaner(models, reader(folder / "models", models.device))

    async def clean(pool: Pool, count: int) -> dict[str, float]:
        turn = asyncio.Semaphore(AT_ONCE)

        async def next_one(number: int) -> None:
            async with turn:
                await one(pool, number, model, folder)

        wall, processor = time.perf_counter(), time.process_time()
        await asyncio.gather(*(next_one(i) for i in range(count)))
        wall, processor = time.perf_counter() - wall, time.process_time() - processor
        return {"wall": wall, "processor": processor, "peak": peak()}

    async def all_of_them() -> list[dict[str, float]]:
        pool = Pool({Cleanup: cleaner}, [found], slots=AT_ONCE)
        await pool.start()
        try:
            if warm:
                await one(pool, 0, model, folder)
            return [await clean(pool, count) for count in counts]
        finally:
            await pool.stop(10)

    print(json.dumps(asyncio.run(all_of_them())))


async def one(pool: Any, number: int, model: str, folder: Path) -> None:
    from engines.engine import Work
    from engines.events import Failed
    from engines.requests import Cleanup

    place = folder / f"out{number}"
    place.mkdir(exist_ok=True)
    files = {kind: folder / model / f"{kind}{number}.png" for kind in ("photo", "mask")}
    work = Work(number, "kim", Cleanup(image="photo", mask="mask", model=model), place, files)
    async with aclosing(pool.run(work)) as events:
        async for event in events:
            if isinstance(event, Failed):
                raise RuntimeError(f"{event.reason.en} {event.trace}")


def known_as(file: Path) -> None:
    """Let the list of downloads say that this file is big-lama, if it is another one."""
    from engines.models import downloadable

    true = downloadable.named("big-lama")
    if true is None or not file.exists():
        return
    with file.open("rb") as opened:
        sum = hashlib.file_digest(opened, "sha256").hexdigest()
    told = dataclasses.replace(true.file, size=file.stat().st_size, sha256=sum)
    rest = [download for download in downloadable.KNOWN if download.name != true.name]
    downloadable.KNOWN = (*rest, dataclasses.replace(true, file=told))


def peak() -> float:
    """The most memory this process ever had, in MB."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1000


# ------------------------------------------------------------------ the process that measures


def compared(folder: Path, model: str, said: argparse.Namespace) -> dict[str, Any]:
    """Warm and cold figures of a model."""
    size = SIZES[model]
    photos(folder / model, size, max(said.counts))
    told, _, _ = measured(folder, model, said.counts, said, warm=True)
    rows = {
        f"{count} photos": {
            "s": round(took["wall"], 2),
            "s a photo": round(took["wall"] / count, 3),
            "processor s a photo": round(took["processor"] / count, 3),
            "peak MB": round(took["peak"]),
        }
        for count, took in zip(said.counts, told, strict=True)
    }
    cold = sorted(measured(folder, model, [1], said, warm=False)[1:] for _ in range(said.cold))
    wall, processor = cold[(len(cold) - 1) // 2]
    last = rows[f"{said.counts[-1]} photos"]
    return {
        "photos": f"{size[0]} × {size[1]}",
        **rows,
        "a process for each photo, s": round(wall, 2),
        "a process for each photo, processor s": round(processor, 2),
        "times faster": round(wall / last["s a photo"], 1),
        "times less processor time": round(processor / last["processor s a photo"], 1),
    }


def measured(
    folder: Path, model: str, counts: list[int], said: argparse.Namespace, *, warm: bool
) -> tuple[list[dict[str, float]], float, float]:
    """What a child tells of each count, how long it lived, and its processor time."""
    options = ["--folder", str(folder), "--model", model, "--device", said.device]
    options += ["--threads", str(said.threads), *(["--warm"] if warm else [])]
    options += ["--counts", *map(str, counts)]
    before, began = resource.getrusage(resource.RUSAGE_CHILDREN), time.perf_counter()
    done = subprocess.run(
        [sys.executable, "-m", "benchmarks.cleanup", *options], capture_output=True, text=True, check=False
    )
    if done.returncode:
        raise RuntimeError(done.stderr)
    wall, after = time.perf_counter() - began, resource.getrusage(resource.RUSAGE_CHILDREN)
    processor = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    told: list[dict[str, float]] = json.loads(done.stdout.splitlines()[-1])
    return told, wall, processor


def main(argv: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--device", default="auto")
    parser.add_argument("--threads", type=int, default=0)
    parser.add_argument("--counts", type=int, nargs="+", default=list(COUNTS))
    parser.add_argument("--cold", type=int, default=2, help="how often the cold side is measured")
    parser.add_argument("--lama", type=Path, help="the real big-lama.pt, instead of one of its shape")
    for name in ("folder", "model"):
        parser.add_argument(f"--{name}", help=argparse.SUPPRESS)
    parser.add_argument("--warm", action="store_true", help=argparse.SUPPRESS)
    said = parser.parse_args(argv)
    if said.folder:
        child(Path(said.folder), said.model, said.counts, said.device, said.threads, said.warm)
        return
    from engines.devices import probe

    figures: dict[str, Any] = {"machine": described(probe((said.device,))[0].name)}
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        figures["LaMa"] = placed(folder / "models" / "big-lama" / "big-lama.pt", said.lama)
        for model in SIZES:
            figures[model] = compared(folder, model, said)
            kept = keep("cleanup", figures)  # now: the next model may take an hour on a small machine
    show(figures, said.counts)
    Console().print(f"kept in {kept.relative_to(Path.cwd())}")


def placed(file: Path, real: Path | None) -> str:
    """A LaMa at `file`; what it is, in words."""
    file.parent.mkdir(parents=True)
    if real is not None:
        file.symlink_to(real.resolve())
        return "the real file"
    from benchmarks import lama_shape

    return f"random weights of LaMa's shape, {lama_shape.save(file) / 1e6:.0f} million numbers"


def show(figures: dict[str, Any], counts: list[int]) -> None:
    """The figures as a table."""
    table = Table(title="Cleaning photos: a model that stays, against a process for each photo")
    table.add_column("")
    for model in SIZES:
        table.add_column(f"{model}, {figures[model]['photos']}", justify="right")
    for count in counts:
        for fact in ("s", "s a photo", "processor s a photo", "peak MB"):
            cells = [str(figures[model][f"{count} photos"][fact]) for model in SIZES]
            table.add_row(f"{count} photos, {fact}", *cells)
    for fact in list(figures["cv2"])[len(counts) + 1 :]:
        table.add_row(fact, *(str(figures[model][fact]) for model in SIZES))
    Console().print(table)
    Console().print(", ".join(f"{k}: {v}" for k, v in figures["machine"].items()), figures["LaMa"])


if __name__ == "__main__":
    main()
