"""What /train made is used: by /inpaint and /compare, in the same life and after a restart, with its prompt noise."""

from __future__ import annotations

import asyncio
import json
import os
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import training_world as world
from data_sets import mvtec, photo, zipped
from PIL import Image

from engines.diffusion import latents
from engines.diffusion.engine import Diffusion
from engines.diffusion.prompts import shaken
from engines.engine import Work
from engines.models import trained
from engines.models.loading import reader
from engines.models.memory import Models
from engines.requests import Inpaint

ROOT = Path(__file__).parents[1]


# ------------------------------------------------------------------ prompt noise


@pytest.fixture(scope="module")
def house(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Path, dict[str, Path]]]:
    """A models folder with a LoRA of the tiny base, trained for two steps, and a photo and mask."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    root = tmp_path_factory.mktemp("used")
    models = world.house(root / "models", world.bases(root / "bases"))
    told, files = world.data(root / "data", concepts=1)
    request = world.train(concepts=tuple(told), steps=2, prompt_noise=0.2)
    world.made(world.engine(models), world.work(root / "work", request, files))
    Image.new("L", (96, 96)).save(root / "mask.png")
    with Image.open(root / "mask.png") as mask:
        mask.paste(255, (30, 30, 60, 60))
        mask.save(root / "mask.png")
    yield models, {"p": files["c0-good0"], "m": root / "mask.png"}
    torch.set_num_threads(threads)


def drawn(house: tuple[Path, dict[str, Path]], folder: Path, **more: Any) -> list[tuple[Any, dict[str, Any]]]:
    """Pictures as pixels with their recipes, by an engine that has nothing in memory yet."""
    models, files = house
    said: dict[str, Any] = {"image": "p", "mask": "m", "prompt": "a scratched thing", "steps": 2, "seed": 5}
    request = Inpaint(**({"model": "mine"} | said | more))
    folder.mkdir()
    own = Diffusion(Models(reader(models, "cpu", "float32")))
    run = own.begin(Work(1, "anna", request, folder, files))
    while not run.finished:
        own.advance([run])
    made = own.finish(run)()
    own.suspend(run)
    return [(np.asarray(Image.open(one.path)), one.recipe) for one in made]


def test_each_pictures_noise_is_its_seeds_alone(house: Any, tmp_path: Path) -> None:
    assert trained.prompt_noise(house[0] / "mine") == 0.2
    three = drawn(house, tmp_path / "three", count=3)
    for i, (pixels, recipe) in enumerate(three):
        assert recipe["prompt_noise"] == 0.2
        ((alone, its),) = drawn(house, tmp_path / str(i), seed=recipe["seed"])
        assert np.abs(alone.astype(int) - pixels).max() <= 1
        assert its["request"] == recipe["request"], "the recipe makes it again"
    ((bare, recipe),) = drawn(house, tmp_path / "bare", model=world.INPAINT)
    assert "prompt_noise" not in recipe
    assert not np.array_equal(bare, three[0][0])


def test_without_noise_on_its_card_it_is_another_picture(house: Any, tmp_path: Path) -> None:
    ((noisy, _),) = drawn(house, tmp_path / "noisy")
    trained.change_card(house[0] / "mine", {"prompt_noise": 0.0})
    ((plain, _),) = drawn(house, tmp_path / "plain")
    for odd in ("much", -1, 7, None):
        trained.change_card(house[0] / "mine", {"prompt_noise": odd})
        assert trained.prompt_noise(house[0] / "mine") == 0.0
    trained.change_card(house[0] / "mine", {"prompt_noise": 0.2})
    assert not np.array_equal(noisy, plain)


def test_the_noise_is_as_strong_as_in_training_and_apart_from_the_latents() -> None:
    text = torch.randn((2, 77, 64), generator=torch.Generator().manual_seed(0)) * 3
    moved = shaken(text, 0.1, (5, 6)) - text
    assert moved.std() == pytest.approx(0.3, rel=0.05)
    assert not torch.allclose(moved[0], moved[1])
    own = torch.randn((77, 64), generator=latents.generator(5))
    assert abs(torch.corrcoef(torch.stack([own.flatten(), moved[0].flatten()]))[0, 1]) < 0.05
    assert torch.equal(shaken(text, 0.0, (5, 6)), text)


# ------------------------------------------------------------------ from the zip to the table


async def said(folder: Path, out: str, *lines: str) -> list[dict[str, Any]]:
    """One life of the bot; its last word on each line."""
    env = os.environ | {"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    arguments = ("-m", "bot", "exec", "-c", str(folder / "config.toml"), "--json", "--out", str(folder / out))
    process = await asyncio.create_subprocess_exec(
        sys.executable, *arguments, *lines, cwd=folder, env=env, stdout=asyncio.subprocess.PIPE
    )
    told, _ = await process.communicate()
    assert process.returncode == 0, told.decode()[-2000:]
    events = [json.loads(line) for line in told.decode().splitlines()]
    return [event for event in events if event["event"] in ("finished", "said")]


@pytest.mark.slow  # the embedded models, two lives of the bot
@pytest.mark.timeout(600)
async def test_the_zip_the_lora_the_picture_and_the_table(tmp_path: Path) -> None:
    (tmp_path / "config.toml").write_text('data = "data"\n[engines]\ndevices = ["cpu"]\n')
    (tmp_path / "nut.zip").write_bytes(zipped(mvtec(photos=5)))
    picture, mask = photo(7, defect=True)
    picture.save(tmp_path / "p.png")
    mask.save(tmp_path / "m.png")
    draw = (
        '/inpaint model:nut image:@p.png mask:@m.png prompt:"a photo of a nut with a scratch" seed:3 steps:3'
    )
    first = await said(
        tmp_path,
        "out",
        "/train dataset:@nut.zip mode:defect steps:3 name:nut learning_rate:0.01 resolution:64",
        draw,
        draw.replace("model:nut ", "model:mini-inpaint "),
        "/compare models:mini-inpaint,nut image:@p.png mask:@m.png seed:3 steps:3",
    )
    card = json.loads((tmp_path / "data" / "models" / "nut" / "model.json").read_text())
    assert (card["kind"], card["prompt_noise"]) == ("lora", 0.1)
    assert [event["command"] for event in first] == ["train", "inpaint", "inpaint", "compare"]
    mine, bare = (_pixels(tmp_path / "out", event) for event in first[1:3])
    assert not np.array_equal(mine, bare), "the LoRA changes nothing"
    (again,) = await said(tmp_path, "again", draw)
    assert np.array_equal(_pixels(tmp_path / "again", again), mine), "another picture after a restart"


def _pixels(folder: Path, event: dict[str, Any]) -> Any:
    (path,) = [Path(one) for one in event["files"] if str(one).endswith(".png")]
    return np.asarray(Image.open(path if path.is_absolute() else folder / path).convert("RGB"))
