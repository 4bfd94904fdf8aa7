"""A tiny honest engine without torch: a few steps, then a PNG that depends on the seed alone."""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

from PIL import Image

from engines.devices import Device
from engines.engine import Run, Work
from engines.events import Artifact
from engines.requests import Diffusion, Img2Img, Txt2Img
from engines.serving.pool import Pool

Inside = Callable[[str], AbstractContextManager[None]]


class Brush:
    """Paints dots. `inside` is told which phase it is in; `ledger` holds a line for each work that was begun."""

    def __init__(self, inside: Inside, ledger: Path) -> None:
        self._inside = inside
        self._ledger = ledger

    def begin(self, work: Work) -> Run:
        with self._inside("begin"):
            time.sleep(0.02)
            assert isinstance(work.request, Diffusion)
            with self._ledger.open("a") as book:
                book.write(f"{work.folder}\n")
            return Run(work, work.request.steps)

    def advance(self, runs: Sequence[Any]) -> None:
        with self._inside("step"):
            time.sleep(0.015)
            for run in runs:
                run.done += 1

    def preview(self, run: Run) -> bytes | None:
        return None

    def finish(self, run: Run) -> tuple[Artifact, ...]:
        request = run.work.request
        assert isinstance(request, Diffusion)
        dice = random.Random(request.seed)
        image = Image.new("RGB", (16, 16))
        image.putdata([(dice.randrange(256), 0, 0) for _ in range(256)])
        path = run.work.folder / "dots.png"
        image.save(path)
        return (
            Artifact(path, path.name, recipe={"model": "brush", "seed": request.seed}, width=16, height=16),
        )

    def suspend(self, run: Run) -> None:
        pass


def pool(inside: Inside, ledger: Path) -> Pool:
    def brush(device: Device) -> Brush:
        return Brush(inside, ledger)

    return Pool({Txt2Img: brush, Img2Img: brush}, [Device("cpu", "a brush")], slots=4)
