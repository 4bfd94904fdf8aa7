"""What tests of cleaning up share: a small network with the manners of LaMa, and a studio with photos lying about."""

from __future__ import annotations

import dataclasses
import hashlib
import warnings
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from engine_conformance import finished
from PIL import Image

from engines.cleaning import menders
from engines.cleaning.engine import Cleaner
from engines.cleaning.menders import ROLE, Bytes
from engines.engine import Work
from engines.events import Artifact
from engines.models import downloadable
from engines.models.memory import Blueprint, Models, Piece
from engines.requests import Cleanup


class Network(torch.nn.Module):
    """LaMa's signature and manners, small: mean colours of the known surroundings, in the hole only."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.mix = torch.nn.Conv2d(4, 3, 5, padding=2, padding_mode="reflect")

    def forward(self, image: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
        known = image * (1 - mask)
        guess = torch.sigmoid(self.mix(torch.cat([known, mask], dim=1)))
        return mask * guess + (1 - mask) * image


class Noise:
    """A mender that changes everything it is given."""

    together, deep, row_bytes = True, 0, 0

    def padded(self, width: int, height: int) -> tuple[int, int]:
        return width, height

    def mend(self, pictures: Sequence[Bytes], holes: Sequence[Bytes]) -> list[Bytes]:
        return [np.random.default_rng(5).integers(0, 256, one.shape, np.uint8) for one in pictures]


def noise(name: str) -> Blueprint:
    return Blueprint("noise", "n0", (Piece(ROLE, "n0", 1, Noise),))


def never(name: str, kind: str) -> Blueprint:
    raise AssertionError("cleanup asks for no diffusion model")


def network(folder: Path) -> Path:
    """A models folder with a big-lama in it that is not the real one."""
    (folder / "big-lama").mkdir()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FutureWarning)  # TorchScript is what there is of LaMa
        torch.jit.script(Network().eval()).save(folder / "big-lama" / "big-lama.pt")
    return folder


def known_as(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Let the list of downloads say that `file` is the true big-lama."""
    data = file.read_bytes()
    true = downloadable.named("big-lama")
    assert true is not None
    told = dataclasses.replace(true.file, size=len(data), sha256=hashlib.sha256(data).hexdigest())
    rest = [one for one in downloadable.KNOWN if one.name != true.name]
    monkeypatch.setattr(downloadable, "KNOWN", (*rest, dataclasses.replace(true, file=told)))


class Studio:
    """A cleaner with photos lying about."""

    def __init__(self, folder: Path, read: Callable[[str], Blueprint], budget: int | None = None) -> None:
        self.models = Models(never, budget=budget)
        self.engine = Cleaner(self.models, read)
        self.folder, self.files, self.jobs = folder, dict[str, Path](), 0

    def store(self, name: str, picture: Image.Image) -> str:
        self.files[name] = self.folder / f"{name}.png"
        picture.save(self.files[name])
        return name

    def work(self, photo: Image.Image, mask: Image.Image | None, **asked: Any) -> Work:
        self.jobs += 1
        place = self.folder / f"job{self.jobs}"
        place.mkdir()
        image = self.store(f"photo{self.jobs}", photo)
        blob = self.store(f"mask{self.jobs}", mask) if mask else ""
        request = Cleanup(**{"model": "cv2", **asked, "image": image, "mask": blob})
        return Work(self.jobs, f"person {self.jobs}", request, place, self.files)

    def clean(self, photo: Image.Image, mask: Image.Image | None, **asked: Any) -> Image.Image:
        work = self.work(photo, mask, **asked)
        self.engine.prepare(work)
        run = self.engine.begin(work)
        try:
            while not run.finished:
                self.engine.advance([run])
            self.last = run.notes
            return opened(finished(self.engine, run)[0])
        finally:
            self.engine.suspend(run)


def opened(made: Artifact) -> Image.Image:
    with Image.open(made.path) as picture:
        picture.load()
        return picture


SPECKS = [(40, 60, 9, 9), (600, 70, 30, 5), (1120, 200, 12, 40)]  # too far apart for one crop


def by_opencv(folder: Path) -> Studio:
    return Studio(folder, menders.reader(None, "cpu"))


def by_lama(folder: Path, network: Path, monkeypatch: pytest.MonkeyPatch) -> Studio:
    known_as(network / "big-lama" / "big-lama.pt", monkeypatch)
    return Studio(folder, menders.reader(network, "cpu", "big-lama"))
