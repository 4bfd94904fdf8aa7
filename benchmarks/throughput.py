"""Eight people's mixed requests through the pool, against the same requests one after another through `pipe()`.

Three sides in one process, of one dtype, warmed up, with the same PNG files written: the pool, a resident `pipe()` as
`from_pretrained` gives it, and a pipeline loaded from disk for each job, as the first Defect Studio worked. Wall and
processor time are both told: the second does not mind what else the machine does. A job alone in the warm pool is
compared with one loaded anew.
"""

from __future__ import annotations

import argparse
import asyncio
import statistics
import tempfile
import time
from collections.abc import AsyncIterator
from contextlib import aclosing, asynccontextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from rich.console import Console
from rich.table import Table

from benchmarks.counted import measured
from benchmarks.machine import described, keep
from benchmarks.mixed import inpainting, requests
from engines import recipe
from engines.devices import Device, probe, quick_bfloat16
from engines.diffusion import samplers
from engines.diffusion.engine import Diffusion
from engines.engine import Work
from engines.events import Failed, Finished
from engines.models.memory import Parts
from engines.requests import Diffusion as Asked
from engines.requests import Img2Img, Inpaint, Txt2Img
from engines.serving.lane import Pace
from engines.serving.pool import Pool
from engines.studio import EngineSettings, open_diffusion

PEOPLE = 8
EMBEDDED = Path(__file__).parent.parent / "engines" / "embedded" / "weights"


class Bench:
    """The two sides. `plain`: pipelines are loaded as diffusers does, else they are made of the engine's modules."""

    def __init__(
        self, settings: EngineSettings, device: Device, folder: Path, rows: int, *, plain: bool = False
    ) -> None:
        self.plain = plain
        made = open_diffusion(settings, device)
        assert isinstance(made, Diffusion)
        self.engine, self.device, self.folder, self.rows = made, device, folder, rows
        self.files = {"photo": folder / "photo.png", "mask": folder / "mask.png"}
        self._pipes: dict[str, Any] = {}

    def through_pool(self, asked: list[Asked]) -> None:
        asyncio.run(self._through_pool(asked))

    async def _through_pool(self, asked: list[Asked]) -> None:
        async with self._pool() as pool:
            await asyncio.gather(*(self._one(pool, i, one) for i, one in enumerate(asked)))

    @asynccontextmanager
    async def _pool(self) -> AsyncIterator[Pool]:
        pool = Pool(
            {Txt2Img: lambda d: self.engine, Img2Img: lambda d: self.engine, Inpaint: lambda d: self.engine},
            [self.device],
            slots=PEOPLE,
            pace=Pace(rows=self.rows),
        )
        await pool.start()
        try:
            yield pool
        finally:
            await pool.stop(10)

    async def _one(self, pool: Pool, number: int, asked: Asked) -> None:
        folder = self.folder / f"pool{number}"
        folder.mkdir(exist_ok=True)
        async with aclosing(pool.run(Work(number, f"person {number}", asked, folder, self.files))) as events:
            async for event in events:
                if isinstance(event, Failed):
                    raise RuntimeError(f"{asked}: {event.reason.en} {event.trace}")
                if isinstance(event, Finished):
                    return

    def one_after_another(self, asked: list[Asked], parts: Parts, fresh: bool = False) -> None:
        for number, one in enumerate(asked):
            made = self.pipe(one, parts, fresh)(**self._said(one, parts)).images[0]
            told = {"request": one.to_json(), "width": made.width, "height": made.height}
            recipe.write(self.folder / f"pipe{number}.png", recipe.png(made, told))

    def loaded_for_each(self, asked: list[Asked], parts: Parts) -> list[float]:
        """Seconds of each job, the loading of its pipeline included."""
        took = []
        for one in asked:
            began = time.perf_counter()
            self._pipes.clear()
            self.one_after_another([one], parts, fresh=True)
            took.append(time.perf_counter() - began)
        return took

    def alone_in_the_pool(self, asked: list[Asked]) -> list[float]:
        """Seconds of each job, one after another through a pool that is warm."""

        async def each() -> list[float]:
            took = []
            async with self._pool() as pool:
                for number, one in enumerate(asked):
                    began = time.perf_counter()
                    await self._one(pool, number, one)
                    took.append(time.perf_counter() - began)
            return took

        return asyncio.run(each())

    @property
    def unets(self) -> list[torch.nn.Module]:
        """Those of the resident pipelines, each once."""
        return list({id(pipe.unet): pipe.unet for pipe in self._pipes.values()}.values())

    def pipe(self, asked: Asked, parts: Parts, fresh: bool = False) -> Any:
        """The resident pipeline of the request's kind, with its sampler."""
        import diffusers

        kind = {"txt2img": "", "img2img": "Img2Img", "inpaint": "Inpaint"}[asked.name]
        name = f"StableDiffusion{kind}Pipeline"
        if name not in self._pipes and (fresh or self.plain):
            folder = "inpaint" if kind == "Inpaint" else "txt2img"
            self._pipes[name] = getattr(diffusers, name).from_pretrained(
                EMBEDDED / folder, dtype=getattr(torch, parts.dtype), local_files_only=True
            )
            self._pipes[name].set_progress_bar_config(disable=True)
        if name not in self._pipes:
            roles = ("vae", "text_encoder", "tokenizer", "unet")
            self._pipes[name] = getattr(diffusers, name)(
                **{role: getattr(parts, role) for role in roles},
                scheduler=samplers.build("Euler", parts.scheduler_config, 10),
                safety_checker=None,
                feature_extractor=None,
                requires_safety_checker=False,
            )
            self._pipes[name].set_progress_bar_config(disable=True)
        pipe = self._pipes[name]
        pipe.scheduler = samplers.build(asked.sampler, parts.scheduler_config, asked.steps)
        return pipe

    def _said(self, asked: Asked, parts: Parts) -> dict[str, Any]:
        said: dict[str, Any] = {
            "prompt": asked.prompt,
            "negative_prompt": asked.negative,
            "num_inference_steps": asked.steps,
            "guidance_scale": parts.guidance if asked.guidance is None else asked.guidance,
            "generator": torch.Generator("cpu").manual_seed(asked.seed),
        }
        if isinstance(asked, Img2Img | Inpaint):
            said |= {"image": Image.open(self.files["photo"]), "strength": asked.strength}
        if isinstance(asked, Inpaint):
            said["mask_image"] = Image.open(self.files["mask"])
        if not isinstance(asked, Img2Img):
            said |= {"width": parts.native, "height": parts.native}
        return said


def compared(bench: Bench, asked: list[Asked], kind: str) -> dict[str, Any]:
    """Both sides, each warmed up by two steps of everything."""
    with bench.engine.lease("", kind) as lease:
        parts = lease.parts
        prepared(bench, parts.native)
        warm = [replace(one, steps=2) for one in asked]
        bench.one_after_another(warm, parts)
        bench.through_pool(warm)
        pipe = measured(lambda: bench.one_after_another(asked, parts), bench.unets)
        pool = measured(lambda: bench.through_pool(asked), [parts.unet])
        warm_jobs = bench.alone_in_the_pool(asked)
        anew = bench.loaded_for_each(asked, parts)
    return {
        "dtype, all sides": parts.dtype,
        "rows of one call at most": bench.rows,
        "pipe() s": round(pipe.wall, 2),
        "pool s": round(pool.wall, 2),
        "loaded for each job s": round(sum(anew), 2),
        "times faster": round(pipe.wall / pool.wall, 2),
        "times faster than loading for each": round(sum(anew) / pool.wall, 2),
        "p50 of a job alone: loaded anew / warm": round(
            statistics.median(anew) / statistics.median(warm_jobs), 2
        ),
        "times less processor time": round(pipe.processor / pool.processor, 2),
        "UNet calls, pipe()": pipe.calls,
        "UNet ticks, pool": pool.calls,
        "ticks / solo calls": round(pool.calls / pipe.calls, 3),
        "rows, pipe()": pipe.rows,
        "rows, pool": pool.rows,
        "pictures a second, pool": round(len(asked) / pool.wall, 3),
    }


def in_bfloat16(
    settings: EngineSettings, bench: Bench, asked: list[Asked], kind: str, other: float
) -> dict[str, Any]:
    """The pool alone, in another number format than `pipe()`, which took `other` seconds: told apart, for no floor."""
    device = replace(bench.device, dtype="bfloat16")
    half = Bench(replace(settings, dtype="bfloat16"), device, bench.folder, bench.rows)
    with half.engine.lease("", kind) as lease:
        half.through_pool([replace(one, steps=2) for one in asked])
        pool = measured(lambda: half.through_pool(asked), [lease.parts.unet])
    return {
        "apart: pool in bfloat16 s": round(pool.wall, 2),
        "apart: in bfloat16 against pipe() in float32": round(other / pool.wall, 2),
    }


def prepared(bench: Bench, side: int) -> None:
    """A photo and a mask of the model's size: nothing to crop on either side."""
    values = np.random.default_rng(0).integers(0, 256, (side // 8, side // 8, 3), np.uint8)
    Image.fromarray(values).resize((side, side), Image.Resampling.BICUBIC).save(bench.files["photo"])
    mask = Image.new("L", (side, side))
    mask.paste(255, (side // 4, side // 4, side * 3 // 4, side * 3 // 4))
    mask.save(bench.files["mask"])


def main(argv: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--steps", type=int, default=16, help="of the middle request")
    parser.add_argument("--rows", type=int, default=16, help="rows of one UNet call at most")
    parser.add_argument("--device", default="auto")
    parser.add_argument("--dtype", default="auto")
    parser.add_argument("--threads", type=int, default=0)
    said = parser.parse_args(argv)
    device = probe((said.device,), dtype=said.dtype, threads=said.threads)[0]
    machine = described(device.name)
    figures: dict[str, Any] = {"machine": machine, "people": PEOPLE, "steps": said.steps}
    with tempfile.TemporaryDirectory() as folder:
        settings = EngineSettings(models=Path(folder))
        bench = Bench(settings, device, Path(folder), said.rows, plain=True)
        more = device.kind == "cpu" and device.dtype == "float32" and quick_bfloat16()
        for group, asked, kind in (
            ("text and image to image", requests(said.steps), "txt2img"),
            ("inpainting", inpainting(said.steps), "inpaint"),
        ):
            figures[group] = found = compared(bench, asked, kind)
            bench._pipes.clear()
            if more:
                found |= in_bfloat16(settings, bench, asked, kind, found["pipe() s"])
    show(figures)
    Console().print(f"kept in {keep('throughput', figures).relative_to(Path.cwd())}")


def show(figures: dict[str, Any]) -> None:
    """The figures as a table."""
    table = Table(title=f"{PEOPLE} people's mixed requests: pool against resident pipe(), one after another")
    table.add_column("")
    groups = ["text and image to image", "inpainting"]
    for group in groups:
        table.add_column(group, justify="right")
    for name in figures[groups[0]]:
        table.add_row(name, *(str(figures[group][name]) for group in groups))
    Console().print(table)
    Console().print(", ".join(f"{k}: {v}" for k, v in figures["machine"].items()))


if __name__ == "__main__":
    main()
