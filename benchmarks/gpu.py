"""Speed on a GPU: Stable Diffusion 1.5 and 2-inpainting by their shapes, with random weights, 512 pixels.

Speed does not depend on the weights. Ours (the pool, compiled UNets filled up to a few sizes of batch) against the
resident `pipe()`, one request after another, eager and compiled; then how long 1, 4, 8 and 16 people wait who each
ask for the next picture when they have the last; then one person beside a training of a LoRA on the same model, as
in `benchmarks.latency`. `--smoke` runs all of it on the CPU with tiny shapes.
"""

from __future__ import annotations

import argparse
import asyncio
import statistics
import tempfile
import time
from contextlib import aclosing
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from rich.console import Console
from rich.table import Table

from benchmarks import latency, throughput
from benchmarks.cache import save
from benchmarks.machine import described, keep
from engines.devices import Device, probe
from engines.engine import Work
from engines.events import Failed
from engines.models.memory import Parts
from engines.requests import Diffusion as Asked
from engines.requests import Img2Img, Inpaint, Txt2Img
from engines.serving.lane import Pace
from engines.serving.pool import Pool
from engines.studio import EngineSettings

SHAPES = (("SD 1.5", "sd1", 4, "txt2img"), ("SD 2 inpainting", "sd2", 9, "inpaint"))
NO_GPU = "No CUDA device: nothing was measured (--smoke runs the same code on the CPU with tiny shapes)."
COMPILING = 550.0  # seconds that are waited for one round of compiling
PATIENT = 3  # jobs that each person asks for, one after another
BESIDE, ALONE = 12, 8.0  # pictures beside a training, each way; seconds that it runs by itself


def saved(shape: tuple[str, str, int, str], folder: Path, *, smoke: bool, compile: str) -> EngineSettings:
    """The model is in the folder, and what is asked for without a name."""
    _, base, channels, _ = shape
    name = f"shape-of-{base}"
    save(folder / name, 0, narrow=smoke, base=base, channels=channels)
    usual = {"txt2img": name, "img2img": name, "inpaint": name}
    return EngineSettings(models=folder, defaults=usual, compile=compile)


def training(
    settings: EngineSettings, device: Device, folder: Path, *, smoke: bool, steps: int
) -> dict[str, Any]:
    """One person's pictures beside a training that is gated, or is not, and what the training keeps."""
    house = latency.House(folder, settings, device)
    jobs, seconds = (2, 0.1) if smoke else (BESIDE, ALONE)
    told = asyncio.run(latency.beside(house, jobs, steps, seconds))
    ways = {name: told.pop(name) for name in ("idle", "gated", "naive thread")}
    rows = {
        f"training {name}: {fact}": row[fact] for name, row in ways.items() for fact in ("p50 s", "p95 s")
    }
    return rows | told


def figures_of(
    shape: tuple[str, str, int, str], device: Device, folder: Path, *, smoke: bool, steps: int, compile: str
) -> dict[str, Any]:
    """Images a second of the three sides, and latencies."""
    kind, settings = shape[-1], saved(shape, folder, smoke=smoke, compile=compile)
    bench = throughput.Bench(settings, device, folder, rows=4 if smoke else 32)
    asked = throughput.requests(steps) if kind == "txt2img" else throughput.inpainting(steps)
    asked = asked[:2] if smoke else asked
    with bench.engine.lease("", kind) as lease:
        throughput.prepared(bench, lease.parts.native)
        found = sides(bench, asked, lease.parts, compile)
    for people in (1, 2) if smoke else (1, 4, 8, 16):
        waits = asyncio.run(latencies(bench, asked, people))
        found[f"{people} people: p50 s"] = round(statistics.median(waits), 3)
        found[f"{people} people: p95 s"] = round(percentile(waits, 0.95), 3)
    return found


def sides(bench: throughput.Bench, asked: list[Asked], parts: Parts, compile: str) -> dict[str, Any]:
    """Ours and `pipe()`, each warmed up as a whole before it is measured."""
    seconds: dict[str, float] = {}
    warmed(bench, asked)
    seconds["pool"] = wall(lambda: bench.through_pool(asked))
    bench.one_after_another([replace(one, steps=2) for one in asked], parts)
    seconds["pipe()"] = wall(lambda: bench.one_after_another(asked, parts))
    found: dict[str, Any] = {"requests": len(asked)}
    if compile != "no":
        bench._pipes.clear()
        fast = replace(parts, unet=torch.compile(parts.unet, dynamic=False))
        bench.one_after_another([replace(one, steps=2) for one in asked], fast)
        seconds["compiled pipe()"] = wall(lambda: bench.one_after_another(asked, fast))
        bench._pipes.clear()
    unets = bench.engine._unets
    found |= {f"images/s, {name}": round(len(asked) / took, 3) for name, took in seconds.items()}
    found["times faster than pipe()"] = round(seconds["pipe()"] / seconds["pool"], 2)
    found["calls compiled / plain"] = f"{unets.compiled} / {unets.plain}"
    return found


def warmed(bench: throughput.Bench, asked: list[Asked]) -> None:
    """Run until no batch asks for a size that is not compiled."""
    for _ in range(4):
        plain = bench.engine._unets.plain
        bench.through_pool(asked)
        bench.engine._unets.settled(COMPILING)
        if bench.engine._unets.plain == plain:
            return


def wall(what: Any) -> float:
    began = time.perf_counter()
    what()
    return time.perf_counter() - began


async def latencies(bench: throughput.Bench, asked: list[Asked], people: int) -> list[float]:
    """Seconds of every job of so many people."""
    engine: Any = bench.engine
    makers = {kind: lambda device: engine for kind in (Txt2Img, Img2Img, Inpaint)}
    pool = Pool(makers, [bench.device], slots=max(people, 1), pace=Pace(rows=bench.rows))
    await pool.start()

    async def person(number: int) -> list[float]:
        waits = []
        for job in range(PATIENT):
            id = 1000 * people + PATIENT * number + job
            folder = bench.folder / f"wait{id}"
            folder.mkdir()
            began = time.perf_counter()
            work = Work(id, f"person {number}", asked[(number + job) % len(asked)], folder, bench.files)
            async with aclosing(pool.run(work)) as events:
                async for event in events:
                    if isinstance(event, Failed):
                        raise RuntimeError(f"{event.reason.en} {event.trace}")
            waits.append(time.perf_counter() - began)
        return waits

    try:
        return [wait for own in await asyncio.gather(*map(person, range(people))) for wait in own]
    finally:
        await pool.stop(10)


def percentile(values: list[float], part: float) -> float:
    """The value that `part` of all do not exceed."""
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(part * len(ordered)))]


def measured(device: Device, *, smoke: bool, steps: int, compile: str) -> dict[str, Any]:
    found: dict[str, Any] = {"machine": described(device.name), "steps": steps, "compile": compile}
    for shape in SHAPES:
        with tempfile.TemporaryDirectory() as folder:
            found[shape[0]] = figures_of(
                shape, device, Path(folder), smoke=smoke, steps=steps, compile=compile
            )
    shape = SHAPES[0]
    with tempfile.TemporaryDirectory() as folder, tempfile.TemporaryDirectory() as models:
        settings = saved(shape, Path(models), smoke=smoke, compile=compile)
        found[shape[0]] |= training(settings, device, Path(folder), smoke=smoke, steps=steps)
    return found


def show(figures: dict[str, Any]) -> None:
    table = Table(title="Random weights in the shapes of real models: pool against resident pipe()")
    names = [shape[0] for shape in SHAPES]
    for column in ("", *names):
        table.add_column(column, justify="right" if column else "left")
    for row in figures[names[0]]:
        table.add_row(row, *(str(figures[name].get(row, "–")) for name in names))
    Console().print(table)


def main(argv: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--steps", type=int, default=20, help="of the middle request")
    parser.add_argument("--compile", choices=("auto", "yes", "no"), default="auto")
    parser.add_argument("--smoke", action="store_true", help="on the CPU, tiny, nothing kept")
    said = parser.parse_args(argv)
    device = probe(("cpu",) if said.smoke else ("auto",))[0]
    if device.kind != "cuda" and not said.smoke:
        Console().print(NO_GPU)
        return
    compile = "no" if said.smoke and said.compile == "auto" else said.compile
    figures = measured(device, smoke=said.smoke, steps=said.steps, compile=compile)
    show(figures)
    if not said.smoke:
        Console().print(f"kept in {keep('gpu', figures).relative_to(Path.cwd())}")


if __name__ == "__main__":
    main()
