"""Diffusion as an engine: what every engine must do, and what a person sees of it. Equality: test_diffusion_equal.py."""

from __future__ import annotations

import dataclasses
import io
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import shapes
import torch
from engine_conformance import Conformance, drive, finished
from PIL import Image

from engines import recipe
from engines.diffusion.engine import Diffusion, Pictures
from engines.engine import Work
from engines.events import Artifact
from engines.models.loading import folder_blueprint
from engines.models.memory import Models
from engines.requests import Diffusion as Asked
from engines.requests import Img2Img, Inpaint, Txt2Img
from engines.words import Refusal


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    work = tmp_path_factory.mktemp("models")
    nine = shapes.save(work / "nine", "sd2", 9, v_prediction=True, seed=1)
    return {"four": shapes.save(work / "four", "sd1"), "nine": nine}


@pytest.fixture
def models(folders: dict[str, Path], one_thread: None) -> Iterator[Models]:
    held = Models(lambda name, kind: folder_blueprint(name, folders[name], "cpu", "float32"))
    yield held
    assert all(leases == 0 for _, _, leases in held.held()), "a lease was left open"


@pytest.fixture
def engine(models: Models) -> Diffusion:
    return Diffusion(models)


def nut(**more: Any) -> Txt2Img:
    said: dict[str, Any] = {"prompt": "a nut", "model": "four", "steps": 3, "seed": 7, "sampler": "Euler a"}
    return Txt2Img(**(said | more))


class TestConformance(Conformance):
    exact = (
        False  # a matrix product's rounding depends on how many rows it has: one level of 255, here and there
    )

    def work(self, folder: Path, number: int, seed: int) -> Work:
        return Work(number, "anna", nut(seed=seed, count=2), folder)

    def spoil(self, engine: Any, monkeypatch: pytest.MonkeyPatch, run: Any) -> None:
        def broken(*_: Any, **__: Any) -> None:
            raise RuntimeError("spoiled")

        monkeypatch.setattr(run.state.scheduler, "step", broken)  # after the others have drawn their noise

    def footprint(self, engine: Any) -> int:
        return sum(leases for _, _, leases in engine._models.held())

    def similar(self, alone: Sequence[Artifact], batched: Sequence[Artifact]) -> bool:
        return all(close(pixels(a), pixels(b)) for a, b in zip(alone, batched, strict=True))


def pixels(artifact: Artifact) -> np.ndarray[Any, Any]:
    with Image.open(artifact.path) as picture:
        return np.asarray(picture)


def close(one: np.ndarray[Any, Any], other: np.ndarray[Any, Any]) -> bool:
    return bool(one.shape == other.shape and np.abs(one.astype(int) - other.astype(int)).max() <= 1)


class Desk:
    """Says a request and waits for its files, with photos lying about."""

    def __init__(self, engine: Diffusion, folder: Path) -> None:
        self.engine, self.folder, self.files, self.jobs = engine, folder, {}, 0

    def photo(self, name: str, picture: Image.Image) -> str:
        picture.save(self.folder / f"{name}.png")
        self.files[name] = self.folder / f"{name}.png"
        return name

    def begin(self, asked: Asked) -> Pictures:
        self.jobs += 1
        folder = self.folder / f"job{self.jobs}"
        folder.mkdir()
        return self.engine.begin(Work(self.jobs, "anna", asked, folder, self.files))

    def make(self, asked: Asked) -> tuple[tuple[Artifact, ...], Pictures]:
        run = self.begin(asked)
        while not run.finished:
            self.engine.advance([run])
        try:
            return finished(self.engine, run), run
        finally:
            self.engine.suspend(run)


@pytest.fixture
def desk(engine: Diffusion, tmp_path: Path) -> Desk:
    return Desk(engine, tmp_path)


def noise(width: int, height: int, mode: str = "RGB") -> Image.Image:
    bands = {"L": (), "RGB": (3,), "RGBA": (4,)}[mode]
    values = np.random.default_rng(3).integers(0, 256, (height, width, *bands), np.uint8)
    return Image.fromarray(values)


def spot(width: int, height: int, box: tuple[int, int, int, int]) -> Image.Image:
    white = Image.new("L", (width, height))
    white.paste(255, box)
    return white


def test_picture_i_depends_on_its_own_seed_alone(desk: Desk) -> None:
    """Not on how many there are, nor on which of them it is; also where the sampler draws noise at every step."""
    three, _ = desk.make(nut(seed=2**32 - 2, count=3))
    assert [a.recipe["seed"] for a in three] == [2**32 - 2, 2**32 - 1, 0]
    for artifact in three:
        (alone,), _ = desk.make(nut(seed=artifact.recipe["seed"]))
        assert close(pixels(alone), pixels(artifact))
    assert not close(pixels(three[0]), pixels(three[1]))


def test_the_recipe_in_the_file_makes_it_again(desk: Desk) -> None:
    (_, second), _ = desk.make(nut(count=2, negative="흐림"))
    told = recipe.read(second.path.read_bytes())
    assert told == second.recipe
    assert told["model"] == "four"
    (again,), _ = desk.make(Txt2Img.from_json(told["request"]))
    assert again.recipe == told
    assert close(pixels(again), pixels(second))
    (twice,), _ = desk.make(Txt2Img.from_json(told["request"]))
    assert twice.path.read_bytes() == again.path.read_bytes(), "alone, the very bytes"


@pytest.mark.parametrize("mode", ["L", "RGB", "RGBA"])
@pytest.mark.parametrize("model", ["four", "nine"])
def test_inpainting_leaves_the_photo_alone_outside_the_mask(desk: Desk, model: str, mode: str) -> None:
    photo = noise(150, 90, mode)
    desk.photo("p", photo)
    desk.photo("m", spot(150, 90, (100, 40, 103, 70)))
    asked = Inpaint(prompt="a scratch", model=model, image="p", mask="m", steps=2, seed=1, feather=3)
    (made,), _ = desk.make(asked)
    with Image.open(made.path) as result:
        assert (result.size, result.mode) == (photo.size, mode)
        changed = np.asarray(result) != np.asarray(photo)
    changed = changed if changed.ndim == 2 else changed.any(axis=2)
    assert changed[40:70, 100:103].mean() > 0.9
    changed[37:73, 97:106] = False
    assert not changed.any()


def test_photo_and_mask_are_read_and_cut_before_it_is_the_devices_turn(desk: Desk, tmp_path: Path) -> None:
    desk.photo("p", noise(150, 90))
    desk.photo("m", spot(150, 90, (100, 40, 103, 70)))
    asked = Inpaint(prompt="a scratch", model="nine", image="p", mask="m", steps=2, seed=1)
    work = Work(1, "anna", asked, tmp_path, desk.files)
    before = desk.begin(asked)
    desk.engine.prepare(work)
    for file in desk.files.values():
        file.unlink()
    run = desk.engine.begin(work)
    assert run.frame.size == before.frame.size
    assert run.state is not None
    assert before.state is not None
    assert torch.equal(run.state.latents, before.state.latents)
    for one in (run, before):
        desk.engine.suspend(one)
    with pytest.raises(Refusal, match="no longer stored"):
        desk.engine.begin(work)  # what was read is kept for one beginning


def test_img2img_takes_a_photo_of_any_size(desk: Desk) -> None:
    desk.photo("large", noise(700, 350, "RGBA"))
    (made,), run = desk.make(Img2Img(prompt="x", model="four", image="large", steps=4, seed=1, strength=0.5))
    assert run.total == 2
    assert made.width / made.height == pytest.approx(2, rel=0.4)
    assert made.width * made.height <= 2 * 64 * 64
    assert f"{made.width}×{made.height}" in run.notes[0].en
    desk.photo("own", noise(64, 64))
    _, run = desk.make(Img2Img(prompt="x", model="four", image="own", steps=4, seed=1, strength=0.01))
    assert run.total == 1, "at least one step"
    assert not run.notes


def test_a_long_prompt_is_told_of(desk: Desk) -> None:
    long = " ".join(f"word{i}" for i in range(60)) + " 마지막"
    _, run = desk.make(nut(prompt=long, negative="short"))
    assert len(run.notes) == 1
    assert "75" in run.notes[0].en
    assert "“28 word29 word30 word31" in run.notes[0].en  # the 76th token is the 28 of word28
    assert "prompt" in run.notes[0].ko


def test_where_nobody_says_how_strictly_it_is_as_suits_the_model_and_told(desk: Desk, models: Models) -> None:
    (one,), run = desk.make(nut())
    assert run.rows == 2
    assert one.recipe["request"]["guidance"] == 3.0, "small models glare at 7.5"
    (said,), _ = desk.make(nut(guidance=3.0))
    assert one.path.read_bytes() == said.path.read_bytes()
    with models.lease("four", "txt2img") as lease:
        assert dataclasses.replace(lease.parts, native=512).guidance == 7.5


def test_only_guided_pictures_take_two_rows(desk: Desk) -> None:
    rows = [desk.begin(nut(count=3, guidance=guidance)) for guidance in (7.5, 1.0)]
    assert [run.rows for run in rows] == [6, 3]
    assert rows[0].key == rows[1].key
    for run in rows:
        desk.engine.suspend(run)


def test_one_call_of_the_unet_a_tick(desk: Desk, models: Models) -> None:
    """Different samplers, steps, guidance and counts: the longest run's ticks are all the calls there are."""
    runs = [
        desk.begin(nut(sampler=s, steps=2 + i, count=1 + i)) for i, s in enumerate(("DDIM", "Heun", "LCM"))
    ]
    calls = 0

    def called(*_: Any) -> None:
        nonlocal calls
        calls += 1

    hook = runs[0].lease.parts.unet.register_forward_hook(called)
    drive(desk.engine, runs)
    hook.remove()
    assert calls == max(run.total for run in runs) == 5


def test_more_rows_than_fit_go_in_several_calls(models: Models, tmp_path: Path) -> None:
    wide, _ = Desk(Diffusion(models), tmp_path).make(nut(count=3))
    (tmp_path / "b").mkdir()
    narrow, _ = Desk(Diffusion(models, most_rows=2), tmp_path / "b").make(nut(count=3))
    assert all(close(pixels(a), pixels(b)) for a, b in zip(wide, narrow, strict=True))


def test_broken_numbers_are_refused_not_painted_black(desk: Desk) -> None:
    run = desk.begin(nut())
    while not run.finished:
        desk.engine.advance([run])
    assert run.state is not None
    broken = run.state.latents.clone()
    broken[0, 0, 0, 0] = float("nan")
    run.state = dataclasses.replace(run.state, latents=broken)
    with pytest.raises(Refusal, match="no usable numbers"):
        desk.engine.finish(run)
    desk.engine.suspend(run)


def test_refusals_before_anything_is_done(desk: Desk) -> None:
    desk.photo("p", noise(64, 64))
    desk.photo("black", Image.new("L", (64, 64)))
    for asked, why in (
        (Inpaint(prompt="x", model="four", image="p"), "There is no mask"),
        (Inpaint(prompt="x", model="four", image="p", mask="black"), "nothing white"),
        (Img2Img(prompt="x", model="four", image="gone"), "no longer stored"),
    ):
        with pytest.raises(Refusal, match=why):
            desk.begin(asked)


def test_a_preview_is_a_small_picture(desk: Desk) -> None:
    run = desk.begin(nut(count=5))
    assert desk.engine.preview(run) is None, "nothing yet"
    desk.engine.advance([run])
    shown = desk.engine.preview(run)
    assert shown is not None
    with Image.open(io.BytesIO(shown)) as picture:
        assert picture.format == "JPEG"
        assert max(picture.size) <= 256
    assert len(shown) < 20_000
    desk.engine.suspend(run)
    assert desk.engine.preview(run) is None
