"""What a training takes on a GPU: Stable Diffusion 1.5 by its shape, LoRA and full, bf16, 512 pixels, alone and beside.

Random weights: neither speed nor memory depends on them. The training is the product's own default, the defect mode on
the inpainting sibling of nine channels; beside it somebody asks for one 512-pixel picture of the four-channel base
after the other, in the same pool and within the same budget. `--tiny` runs all of it on the CPU with narrow shapes.
"""

from __future__ import annotations

import argparse
import asyncio
import gc
import itertools
import resource
import statistics
import tempfile
import time
from contextlib import aclosing
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from rich.console import Console
from rich.table import Table

from benchmarks.cache import save
from benchmarks.latency import followed
from benchmarks.machine import described, keep
from engines.devices import Device, probe
from engines.engine import Work
from engines.events import Failed, Progress
from engines.requests import Train, Txt2Img
from engines.serving.serves import Serves
from engines.studio import EngineSettings, open_devices
from engines.training.samples import STEPS as SAMPLING

PICTURES, INPAINTING = "shape-of-sd1", "shape-of-sd1-inpainting"
METHODS = ("lora", "full")
NO_GPU = "No CUDA device: nothing was measured (--tiny runs the same code on the CPU with narrow shapes)."
MOST = 46  # GB that the training and the pictures beside it may take together
PATIENCE = 60.0  # seconds that a pool has to stop


class House:
    """Two models by their shapes, and photos with masks to learn from."""

    def __init__(self, folder: Path, device: Device, *, tiny: bool) -> None:
        self.folder, self.device, self.tiny = folder, device, tiny
        for name, channels in ((PICTURES, 4), (INPAINTING, 9)):
            save(folder / "models" / name, channels, narrow=tiny, channels=channels)
        self._numbers = itertools.count(1)
        own, side = np.random.default_rng(1), 128 if tiny else 512
        self.files = {f"photo{i}": folder / f"photo{i}.png" for i in range(6)} | {"mask": folder / "mask.png"}
        for path in self.files.values():
            Image.fromarray(own.integers(0, 256, (side, side, 3), np.uint8)).save(path)
        mask = Image.new("L", (side, side))
        mask.paste(255, (side // 3, side // 3, side // 2, side // 2))
        mask.save(self.files["mask"])

    def pool(self) -> Serves:
        """As the product opens it."""
        usual = {"txt2img": PICTURES, "inpaint": INPAINTING}
        threads = 1 if self.device.kind == "cpu" else 0
        return open_devices(
            EngineSettings(
                self.folder / "models", (), usual, (self.device.name,), threads=threads, compile="no"
            )
        )

    def work(self, request: Any, person: str) -> Work:
        number = next(self._numbers)
        folder = self.folder / str(number)
        folder.mkdir()
        return Work(number, person, request, folder, self.files)

    def learning(self, method: str) -> Work:
        """A training that does not end by itself, with the defaults that people get."""
        photos = [{"image": f"photo{i}", "mask": "mask"} for i in range(3)]
        concept = {"name": "scratch", "instance_prompt": "a photo of a nut with a scratch", "class_prompt": "a photo of a nut",
                   "weight": 1.0, "images": photos, "normals": ["photo3", "photo4", "photo5"], "class_images": []}  # fmt: skip
        request = Train(
            save_as="bench", model=INPAINTING, method=method, concepts=(concept,), steps=20_000, seed=1,
            precision="bf16", validate_every=0, save_every=20_000,
        )  # fmt: skip
        return self.work(request, "trainer")

    async def painting(self, pool: Serves, took: list[float], steps: int) -> None:
        """Somebody who asks for the next picture when they have the last; seconds of each, until cancelled."""
        for number in itertools.count():
            asked = Txt2Img(prompt=f"a photo of nut {number}", seed=number, steps=steps)
            began = time.perf_counter()
            await followed(pool, self.work(asked, "somebody"))
            took.append(time.perf_counter() - began)


async def learnt(pool: Serves, work: Work, warm: int, steps: int) -> float:
    """Optimizer steps a second over `steps` of them, after `warm`; the training is cancelled then."""
    first: tuple[int, float] | None = None
    async with aclosing(pool.run(work)) as events:
        async for event in events:
            if isinstance(event, Failed):
                raise RuntimeError(f"{event.reason.en} {event.trace}")
            step, now = event.step - SAMPLING if isinstance(event, Progress) else 0, time.perf_counter()
            if first is None and step >= warm:
                first = step, now
            elif first is not None and step >= first[0] + steps:
                return (step - first[0]) / (now - first[1])
    raise RuntimeError("the training ended before it was measured")


async def one(
    house: House, method: str, *, beside: bool, warm: int, steps: int, sampling: int
) -> dict[str, Any]:
    """One training in a pool of its own; with `beside`, pictures all the while."""
    forgotten(house.device)
    pool = house.pool()
    await pool.start()
    took: list[float] = []
    try:
        painter = asyncio.create_task(house.painting(pool, took, sampling)) if beside else None
        rate = await learnt(pool, house.learning(method), warm, steps)
        found: dict[str, Any] = {"steps/s": round(rate, 3), **peaks(house.device)}
        if painter is not None:
            painter.cancel()
            (ended,) = await asyncio.gather(painter, return_exceptions=True)
            if not isinstance(ended, asyncio.CancelledError):
                raise RuntimeError("the pictures beside failed") from ended
            found["pictures beside"] = len(took)
            found["a picture, p50 s"] = round(statistics.median(took), 3) if took else None
    finally:
        await pool.stop(PATIENCE)
    return found


def forgotten(device: Device) -> None:
    """What earlier measurements held and reached."""
    gc.collect()
    if device.kind == "cuda":
        torch.cuda.empty_cache()
        torch.cuda.reset_peak_memory_stats(device.name)


def peaks(device: Device) -> dict[str, float]:
    """GB at most since `forgotten`: in tensors, and taken from the device. On the CPU, of the process since its start."""
    if device.kind == "cuda":
        held = {
            "in tensors": torch.cuda.max_memory_allocated(device.name),
            "taken": torch.cuda.max_memory_reserved(device.name),
        }
    else:
        held = {"taken": 1024 * resource.getrusage(resource.RUSAGE_SELF).ru_maxrss}
    return {f"peak GB, {name}": round(size / 10**9, 2) for name, size in held.items()}


def measured(
    folder: Path, device: Device, *, tiny: bool, warm: int, steps: int, sampling: int
) -> dict[str, Any]:
    house = House(folder, device, tiny=tiny)
    request = house.learning("lora").request
    assert isinstance(request, Train)
    figures: dict[str, Any] = {
        "machine": described(device.name),
        "training": f"{request.mode}, {request.precision}, batch {request.batch}, gradient checkpointing "
        f"{'on' if request.gradient_checkpointing else 'off'}",
        "steps of a picture beside": sampling,
    }
    for method in METHODS:
        for name, beside in (("alone", False), ("a generation beside", True)):
            figures[f"{method}, {name}"] = asyncio.run(
                one(house, method, beside=beside, warm=warm, steps=steps, sampling=sampling)
            )
    return figures


def show(figures: dict[str, Any]) -> None:
    rows = {name: row for name, row in figures.items() if isinstance(row, dict) and "steps/s" in row}
    columns = list(dict.fromkeys(figure for row in rows.values() for figure in row))
    table = Table(title=f"A training of Stable Diffusion 1.5's shape; {MOST} GB at most are wanted")
    table.add_column("", no_wrap=True)
    for column in columns:
        table.add_column(column, justify="right")
    for name, row in rows.items():
        table.add_row(name, *(str(row.get(column, "–")) for column in columns))
    Console().print(table)
    Console().print(figures["training"])


def main(argv: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--warm", type=int, default=5, help="steps before it is measured")
    parser.add_argument("--steps", type=int, default=20, help="that are measured, each way")
    parser.add_argument("--sampling", type=int, default=20, help="steps of a picture beside")
    parser.add_argument("--tiny", action="store_true", help="on the CPU, narrow, nothing kept")
    said = parser.parse_args(argv)
    device = probe(("cpu",) if said.tiny else ("auto",))[0]
    if device.kind != "cuda" and not said.tiny:
        Console().print(NO_GPU)
        return
    with tempfile.TemporaryDirectory() as folder:
        figures = measured(
            Path(folder), device, tiny=said.tiny, warm=said.warm, steps=said.steps, sampling=said.sampling
        )
    show(figures)
    if not said.tiny:
        Console().print(f"kept in {keep('gpu-training', figures).relative_to(Path.cwd())}")


if __name__ == "__main__":
    main()
