"""The studio in bfloat16 on a processor: every kind of picture looks as it does in float32, and trainings stay there."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import lora_making
import numpy as np
import pytest
import torch
import training_world
from engine_conformance import finished
from PIL import Image

from engines.devices import probe
from engines.diffusion.engine import Diffusion, Pictures
from engines.engine import Work
from engines.models.loading import reader
from engines.models.memory import Models
from engines.requests import Diffusion as Asked
from engines.requests import Img2Img, Inpaint, Txt2Img
from engines.studio import EngineSettings, open_diffusion
from engines.training.engine import DreamBooth
from engines.training.request import Train

pytestmark = pytest.mark.timeout(300)
BASE = Path(__file__).parents[1] / "engines" / "embedded" / "weights" / "txt2img"
NUT = "a photo of a metal nut with a scratch"


@pytest.fixture(scope="module", autouse=True)
def _one_thread() -> Iterator[None]:
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    folder = tmp_path_factory.mktemp("files")
    grain = np.random.default_rng(0).integers(90, 200, (16, 16, 3), np.uint8)
    Image.fromarray(grain).resize((128, 128), Image.Resampling.BICUBIC).save(folder / "photo.png")
    mask = Image.new("L", (128, 128))
    mask.paste(255, (40, 40, 90, 80))
    mask.save(folder / "mask.png")
    lora_making.make(folder / "models" / "tune", BASE, 1, base="defect-studio/mini", size=0.1)
    return {"photo": folder / "photo.png", "mask": folder / "mask.png", "models": folder / "models"}


def asked() -> list[Asked]:
    return [
        Txt2Img(prompt=NUT, seed=1, steps=8),
        Txt2Img(prompt=NUT, seed=1, steps=8, model="tune"),
        Img2Img(prompt=NUT, image="photo", seed=2, steps=8, sampler="UniPC"),
        Inpaint(prompt=NUT, image="photo", mask="mask", seed=3, steps=8, sampler="Euler a"),
    ]


def drawn(files: dict[str, Path], dtype: str, folder: Path) -> list[Any]:
    """All that is asked, in one life of an engine; what shares a UNet goes together, the LoRA by row."""
    (cpu,) = probe(("cpu",), dtype=dtype, threads=1)
    engine = open_diffusion(EngineSettings(models=files["models"], dtype=dtype, threads=1), cpu)
    assert isinstance(engine, Diffusion)
    runs: list[Pictures] = []
    for number, one in enumerate(asked()):
        (at := folder / f"{dtype}{number}").mkdir()
        runs.append(engine.begin(Work(number, "anna", one, at, files)))
    assert runs[0].key == runs[1].key
    assert all(str(run.lease.parts.unet.dtype) == f"torch.{dtype}" for run in runs)
    while to_do := [run for run in runs if not run.finished]:
        engine.advance([run for run in to_do if run.key == to_do[0].key])
    pictures = []
    for run in runs:
        assert engine.preview(run)
        (artifact,) = finished(engine, run)
        engine.suspend(run)
        with Image.open(artifact.path) as picture:
            pictures.append(np.asarray(picture.convert("RGB")).astype(float))
        assert artifact.recipe["dtype"] == dtype
    return pictures


def test_pictures_look_the_same(files: dict[str, Path], tmp_path: Path) -> None:
    exact, half = (drawn(files, dtype, tmp_path) for dtype in ("float32", "bfloat16"))
    for one, other in zip(exact, half, strict=True):
        noise = 20 * np.log10(255 / np.sqrt(((one - other) ** 2).mean() + 1e-9))
        assert noise > 30, f"{noise:.1f} dB: what the eye takes for the same picture"
    assert abs(half[0] - half[1]).mean() > 3 * abs(exact[1] - half[1]).mean(), "the LoRA is there"


@pytest.mark.parametrize("method", ["lora", "full"])
def test_a_training_on_such_a_studio_learns_in_float32(tmp_path: Path, method: Any) -> None:
    folder = training_world.bases(tmp_path / "models")
    concepts, files = training_world.data(tmp_path / "data", concepts=1)
    models = Models(reader(folder, "cpu", "bfloat16"), dtype="bfloat16")
    own = DreamBooth(models, reader(folder, "cpu", "float32"), folder, sample_steps=2)
    request = Train(
        save_as="nut", model=training_world.INPAINT, method=method, steps=2, concepts=tuple(concepts)
    )
    (at := tmp_path / "work").mkdir()
    run = own.begin(Work(1, "anna", request, at, files))
    own.advance([run])
    assert run.learner.dtype == torch.float32
    assert {value.dtype for value in run.learner.unet.parameters() if value.requires_grad} == {torch.float32}
    own.suspend(run)
