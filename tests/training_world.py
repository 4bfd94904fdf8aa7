"""What tests of the training share: a tiny base, photos with defects drawn on them, and an engine."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import small_models
from PIL import Image, ImageDraw

from engines.engine import Work
from engines.events import Artifact
from engines.models.loading import reader
from engines.models.memory import Models
from engines.training.engine import DreamBooth
from engines.training.request import Train
from engines.training.run import Training

INPAINT, PICTURES = "tiny-inpaint", "tiny"
SMALL: dict[str, Any] = {
    "attention_head_dim": 8,
    "block_out_channels": (16, 32),
    "sample_size": 8,
}  # 32 pixels


def bases(folder: Path) -> Path:
    """A models folder with a base for pictures and one for inpainting."""
    for name, channels, prediction in ((PICTURES, 4, "epsilon"), (INPAINT, 9, "v_prediction")):
        path = small_models.save(
            folder / name, channels=channels, prediction=prediction, seed=channels, **SMALL
        )
        index = json.loads((path / "model_index.json").read_text())
        assert index["unet"][1] == "UNet2DConditionModel"
    return folder


def house(folder: Path, of: Path) -> Path:
    """Another models folder with the same bases."""
    folder.mkdir()
    for name in (PICTURES, INPAINT):
        (folder / name).symlink_to(of / name)
    return folder


def photo(path: Path, number: int, scratch: bool, side: int = 96) -> Path:
    """A grey plate with grain; with a dark scratch where one is wanted, and then its mask beside it."""
    own = np.random.default_rng(number)
    picture = Image.fromarray(own.integers(150, 180, (side, side, 3), dtype=np.uint8))
    mask = Image.new("L", (side, side))
    if scratch:
        left, top = (int(x) for x in own.integers(20, side - 40, 2))
        line = (left, top, left + 20, top + 9)
        ImageDraw.Draw(picture).line(line, fill=(20, 20, 20), width=2)
        ImageDraw.Draw(mask).line(line, fill=255, width=2)
        mask.save(path.with_suffix(".mask.png"))
    picture.save(path)
    return path


def data(
    folder: Path, concepts: int = 2, shots: int = 3, normals: int = 5
) -> tuple[list[dict[str, Any]], dict[str, Path]]:
    """Concepts as `Train.concepts` has them, and the files they name."""
    folder.mkdir(parents=True, exist_ok=True)
    files: dict[str, Path] = {}

    def blob(name: str, number: int, scratch: bool) -> str:
        files[name] = photo(folder / f"{name}.png", number, scratch)
        if scratch:
            files[f"{name}.mask"] = folder / f"{name}.mask.png"
        return name

    told = []
    for c in range(concepts):
        images = [blob(f"c{c}-shot{i}", 100 * c + i, True) for i in range(shots)]
        told.append(
            {
                "name": f"thing-{c}",
                "instance_prompt": f"a photo of a scratched thing {c}",
                "class_prompt": f"a photo of a thing {c}",
                "weight": 1.0 + c,
                "images": [{"image": name, "mask": f"{name}.mask"} for name in images],
                "normals": [blob(f"c{c}-good{i}", 5000 + 100 * c + i, False) for i in range(normals)],
                "class_images": [],
            }
        )
    return told, files


def engine(folder: Path, **models: Any) -> DreamBooth:
    read = reader(folder, "cpu", "float32")
    return DreamBooth(Models(read, **models), read, folder, sample_steps=2)


def driven(own: DreamBooth, at: Work) -> Training:
    """A training from begin to its last tick."""
    run = own.begin(at)
    while not run.finished:
        own.advance([run])
    return run


def made(own: DreamBooth, at: Work) -> tuple[Artifact, ...]:
    """A whole training; its report."""
    run = driven(own, at)
    packing = own.finish(run)
    own.suspend(run)
    return packing()


def train(**more: Any) -> Train:
    """A short training of the tiny bases."""
    mode = more.get("mode", "defect")
    said: dict[str, Any] = {
        "save_as": "mine",
        "mode": mode,
        "model": PICTURES if mode == "normal" else INPAINT,
        "steps": 4,
        "seed": 7,
        "validate_every": 0,
        "learning_rate": 1e-3,
    }
    return Train(**(said | more))


def work(folder: Path, request: Train, files: dict[str, Path], number: int = 1) -> Work:
    folder.mkdir(parents=True, exist_ok=True)
    return Work(number, "anna", request, folder, files)
