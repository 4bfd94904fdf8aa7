"""How long people wait for a picture: 1, 4, 8 and 16 of them, and one beside a training that is gated, or is not.

Closed loop: each person asks again as soon as they have their picture. The training is the real one on the embedded
model. Gated = a run of the same lane, as in the product; naive = a thread of its own in the same process.
"""

from __future__ import annotations

import argparse
import asyncio
import itertools
import statistics
import tempfile
import threading
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import aclosing, asynccontextmanager, contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image
from rich.console import Console
from rich.table import Table

from benchmarks.machine import described, keep
from engines import devices
from engines.devices import Device
from engines.engine import Run, Work
from engines.events import Failed
from engines.requests import Train, Txt2Img
from engines.serving.lane import Pace
from engines.serving.pool import Pool
from engines.studio import (
    CPU_TICK,
    GPU_TICK,
    EngineSettings,
    open_diffusion,
    open_models,
    open_training,
)

SHARE = 0.1  # of the device that the training keeps; the product's default


class House:
    """One device, its two engines on the same models, and photos to learn from.

    The embedded model on one thread of the CPU, where no other `settings` and `device` are given.
    """

    def __init__(
        self, folder: Path, settings: EngineSettings | None = None, device: Device | None = None
    ) -> None:
        settings = settings or EngineSettings(models=folder / "models")
        settings.models.mkdir(exist_ok=True)
        self.device = device or devices.probe(("cpu",), threads=1)[0]
        self.model = settings.defaults.get("txt2img", "")
        self.models = open_models(settings, self.device)
        self.pictures = open_diffusion(settings, self.device, self.models)
        self.training: Any = open_training(settings, self.device, self.models)
        self.folder = folder
        self._numbers = itertools.count(1)
        own = np.random.default_rng(1)
        self.files = {f"photo{i}": folder / f"photo{i}.png" for i in range(4)}
        for path in self.files.values():
            Image.fromarray(own.integers(0, 256, (128, 128, 3), np.uint8)).save(path)

    def work(self, request: Any, person: str) -> Work:
        number = next(self._numbers)
        folder = self.folder / str(number)
        folder.mkdir()
        return Work(number, person, request, folder, self.files)

    def learning(self) -> Work:
        """A training that does not end by itself."""
        concept = {"name": "nut", "instance_prompt": "a photo of a nut", "class_prompt": "a photo of a nut", "weight": 1.0,
                   "images": [{"image": name, "mask": ""} for name in self.files], "normals": [], "class_images": []}  # fmt: skip
        request = Train(
            save_as="bench", mode="normal", method="lora", concepts=[concept], steps=20000, prior=False, batch=1,
            validate_every=0, save_every=20000, seed=1, model=self.model,
        )  # fmt: skip
        return self.work(request, "trainer")

    @asynccontextmanager
    async def pool(self) -> AsyncIterator[Pool]:
        pool = Pool(
            {Txt2Img: lambda d: self.pictures, Train: lambda d: self.training}, [self.device], slots=32,
            pace=Pace(16, SHARE, seconds=GPU_TICK if self.device.kind == "cuda" else CPU_TICK),
        )  # fmt: skip
        await pool.start()
        try:
            yield pool
        finally:
            await pool.stop(20)

    async def people(self, pool: Pool, count: int, jobs: int, steps: int) -> list[float]:
        """Seconds of each picture of so many people."""
        took: list[float] = []

        async def person(number: int) -> None:
            for job in range(jobs):
                asked = Txt2Img(prompt=f"a photo of nut {number}", seed=100 * number + job, steps=steps)
                began = time.perf_counter()
                await followed(pool, self.work(asked, f"person {number}"))
                took.append(time.perf_counter() - began)

        await asyncio.gather(*(person(number) for number in range(count)))
        return took


async def followed(pool: Pool, work: Work) -> None:
    async with aclosing(pool.run(work)) as events:
        async for event in events:
            if isinstance(event, Failed):
                raise RuntimeError(f"{event.reason.en} {event.trace}")


def told(took: list[float]) -> dict[str, Any]:
    return {
        "p50 s": round(statistics.median(took), 3),
        "p95 s": round(statistics.quantiles(took, n=20, method="inclusive")[-1], 3),
        "pictures": len(took),
    }


# ------------------------------------------------------------------ by number of people


async def crowds(house: House, steps: int) -> dict[str, Any]:
    found = {}
    async with house.pool() as pool:
        await house.people(pool, 2, 1, 2)  # warmed up
        for count in (1, 4, 8, 16):
            began = time.perf_counter()
            took = await house.people(pool, count, max(2, 12 // count), steps)
            rate = len(took) / (time.perf_counter() - began)
            found[f"{count} people"] = told(took) | {"pictures a second": round(rate, 2)}
    return found


# ------------------------------------------------------------------ with training beside


def steps_alone(house: House, seconds: float) -> float:
    """Training steps a second when nothing else is there: `advance` in a loop."""
    run = begun(house)
    first, began = run.done, time.perf_counter()
    while time.perf_counter() - began < seconds:
        house.training.advance([run])
    rate = (run.done - first) / (time.perf_counter() - began)
    dropped(house, run)
    return rate


def begun(house: House) -> Run:
    """A training past its first steps, which are slower."""
    run: Run = house.training.begin(house.learning())
    for _ in range(3):
        house.training.advance([run])
    return run


def dropped(house: House, run: Run) -> None:
    run.cancelled = True
    house.training.suspend(run)


@contextmanager
def naive(house: House) -> Iterator[None]:
    """A training on a thread of its own, which asks nobody."""
    stop, run = threading.Event(), begun(house)

    def train() -> None:
        while not stop.is_set():
            house.training.advance([run])

    thread = threading.Thread(target=train)
    thread.start()
    try:
        yield
    finally:
        stop.set()
        thread.join()
        dropped(house, run)


async def beside(house: House, jobs: int, steps: int, seconds: float) -> dict[str, Any]:
    """One person: with no training, with a gated one, with a naive one; and the training with nobody."""
    alone = steps_alone(house, seconds)
    async with house.pool() as pool:
        idle = await house.people(pool, 1, jobs, steps)
    async with house.pool() as pool:
        training = asyncio.create_task(followed(pool, house.learning()))
        before = await step_of(pool, 3)
        await asyncio.sleep(seconds)
        kept = (await step_of(pool, before[0] + 1), before)
        gated = await house.people(pool, 1, jobs, steps)
        training.cancel()
        await asyncio.gather(training, return_exceptions=True)
    with naive(house):
        async with house.pool() as pool:
            wild = await house.people(pool, 1, jobs, steps)
    (last, then), (first, now) = kept
    pooled = (last - first) / (then - now)
    again = steps_alone(house, seconds)
    sides = {"idle": told(idle), "gated": told(gated), "naive thread": told(wild)}
    return sides | {
        "p95 gated / idle": round(sides["gated"]["p95 s"] / sides["idle"]["p95 s"], 2),
        "p95 naive / idle": round(sides["naive thread"]["p95 s"] / sides["idle"]["p95 s"], 2),
        "training steps a second, alone": [round(alone, 2), round(again, 2)],
        "training steps a second, in the pool": round(pooled, 2),
        "training's throughput kept": round(2 * pooled / (alone + again), 3),
    }


async def step_of(pool: Pool, least: int) -> tuple[int, float]:
    """The training's step as it becomes `least` or more, and when."""
    while True:
        step = max((held.step for held in pool.running() if held.command == "train"), default=0)
        if step >= least:
            return step, time.perf_counter()
        await asyncio.sleep(0.002)


def main(argv: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--steps", type=int, default=8, help="of a picture among many people")
    parser.add_argument("--long", type=int, default=25, help="of a picture beside the training")
    parser.add_argument("--jobs", type=int, default=12, help="pictures beside the training, each way")
    parser.add_argument("--seconds", type=float, default=8, help="that the training runs by itself, each way")
    said = parser.parse_args(argv)
    with tempfile.TemporaryDirectory() as folder:
        house = House(Path(folder))
        figures: dict[str, Any] = {
            "machine": described("cpu"),
            "steps": said.steps,
            "share of a training": SHARE,
        }
        figures |= asyncio.run(crowds(house, said.steps))
        figures["one person beside a training"] = asyncio.run(
            beside(house, said.jobs, said.long, said.seconds)
        )
    show(figures)
    Console().print(f"kept in {keep('latency', figures).relative_to(Path.cwd())}")


def show(figures: dict[str, Any]) -> None:
    table = Table("", "p50 s", "p95 s", "pictures", title="Seconds from asking to the picture")
    training = figures["one person beside a training"]
    for name, row in (
        figures | {f"1 person, training {name}": row for name, row in training.items()}
    ).items():
        if isinstance(row, dict) and "p50 s" in row:
            table.add_row(name, str(row["p50 s"]), str(row["p95 s"]), str(row["pictures"]))
    Console().print(table)
    for name, value in training.items():
        if not isinstance(value, dict):
            Console().print(f"{name}: {value}")


if __name__ == "__main__":
    main()
