"""Training as an engine: what every engine must do, and what comes out of each of the three arms."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import shapes
import torch
import training_world as world
from engine_conformance import Conformance
from PIL import Image

from engines.engine import Work
from engines.models import catalogue
from engines.training.engine import DreamBooth
from engines.words import Refusal


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> tuple[list[dict[str, Any]], dict[str, Path]]:
    return world.data(tmp_path_factory.mktemp("data"))


@pytest.fixture
def models(bases: Path, tmp_path: Path) -> Path:
    return world.house(tmp_path / "models", bases)


@pytest.fixture
def engine(models: Path, one_thread: None) -> Iterator[DreamBooth]:
    made = world.engine(models)
    yield made
    assert all(leases == 0 for _, _, leases in made._models.held()), "a lease was left open"


class TestConformance(Conformance):
    @pytest.fixture(autouse=True)
    def given(self, data: tuple[list[dict[str, Any]], dict[str, Path]]) -> None:
        told, self.files = data
        self.concepts = tuple(told[:1])

    def work(self, folder: Path, number: int, seed: int) -> Work:
        request = world.train(save_as=f"mine-{number}", seed=seed, steps=2, concepts=self.concepts)
        return world.work(folder, request, self.files, number)

    def spoil(self, engine: Any, monkeypatch: pytest.MonkeyPatch, run: Any) -> None:
        def broken(*_: Any, **__: Any) -> None:
            raise RuntimeError("spoiled")

        monkeypatch.setattr(run.learner, "gradients", broken)
        monkeypatch.setattr(run.round, "tick", broken)

    def footprint(self, engine: Any) -> int:
        return sum(leases for _, _, leases in engine._models.held())


@pytest.mark.parametrize(
    ("mode", "method", "kind"),
    [
        ("normal", "full", "StableDiffusionPipeline"),
        ("normal-inpainting", "full", "StableDiffusionInpaintPipeline"),
        ("defect", "full", "StableDiffusionInpaintPipeline"),
        ("defect", "lora", "StableDiffusionInpaintPipeline"),
        ("normal", "lora", "StableDiffusionPipeline"),
    ],
)
def test_plain_diffusers_loads_what_comes_out(
    engine: DreamBooth, models: Path, data: Any, tmp_path: Path, mode: str, method: str, kind: str
) -> None:
    import diffusers

    told, files = data
    request = world.train(
        mode=mode,
        method=method,
        steps=2,
        text_encoder="yes" if method == "full" else "no",
        concepts=tuple(told),
    )
    world.made(engine, world.work(tmp_path / "work", request, files))
    made = models / "mine"
    if method == "full":
        assert json.loads((made / "model_index.json").read_text())["_class_name"] == kind
        pipe = diffusers.DiffusionPipeline.from_pretrained(made)
    else:
        base = getattr(diffusers, kind).from_pretrained(models / request.model, safety_checker=None)
        before = [p.clone() for p in base.unet.parameters()]
        base.load_lora_weights(made)
        base.fuse_lora()
        moved = [p for name, p in base.unet.named_parameters() if "lora" not in name]
        assert any(not torch.equal(a, b) for a, b in zip(before, moved, strict=True))
        pipe = base
    assert type(pipe).__name__ == kind
    told_size = catalogue.look(made)
    assert told_size is not None
    card = json.loads((made / "model.json").read_text())
    assert (card["base"], card["mode"], card["steps"]) == (request.model, mode, 2)
    assert [c["images"] for c in card["concepts"]] == [3, 3]
    listed = {p.relative_to(made).as_posix() for p in made.rglob("*") if p.is_file()}
    assert set(card["files"]) | {"model.json"} == listed
    assert {"concepts_list.json", "training_log.csv", "loss.png", "samples/samples.png"} <= listed
    assert str(tmp_path) not in "".join(p.read_text() for p in made.rglob("*.json")), "a path of this machine"


@pytest.mark.parametrize(
    ("base", "channels", "mode", "v_prediction"),
    [
        pytest.param("sd1", 4, "normal", False, id="1.5"),
        pytest.param("sd1", 9, "defect", False, id="1.5-inpainting"),
        pytest.param("sd2", 4, "normal", True, id="2"),
        pytest.param("sd2", 9, "defect", False, id="2-inpainting"),
    ],
)
def test_the_real_shapes_can_be_learnt_from(
    data: Any, tmp_path: Path, base: str, channels: int, mode: str, v_prediction: bool
) -> None:
    import diffusers

    told, files = data
    shapes.save(tmp_path / "models" / "shape", base, channels, v_prediction=v_prediction)
    request = world.train(model="shape", mode=mode, steps=1, text_encoder="yes", concepts=tuple(told[:1]))
    world.made(world.engine(tmp_path / "models"), world.work(tmp_path / "work", request, files))
    kind = diffusers.StableDiffusionPipeline if channels == 4 else diffusers.StableDiffusionInpaintPipeline
    pipe = kind.from_pretrained(tmp_path / "models" / "shape", safety_checker=None)
    pipe.load_lora_weights(tmp_path / "models" / "mine", adapter_name="mine")
    assert pipe.get_list_adapters() == {"unet": ["mine"], "text_encoder": ["mine"]}


def test_what_was_not_trained_is_the_bases_own_files(
    engine: DreamBooth, models: Path, data: Any, tmp_path: Path
) -> None:
    told, files = data
    request = world.train(method="full", steps=1, text_encoder="no", concepts=tuple(told))
    world.made(engine, world.work(tmp_path / "w", request, files))
    for role in ("vae", "text_encoder", "tokenizer", "scheduler"):
        for file in (models / world.INPAINT / role).iterdir():
            assert (models / "mine" / role / file.name).read_bytes() == file.read_bytes()


def test_the_base_that_others_use_is_never_changed(engine: DreamBooth, data: Any, tmp_path: Path) -> None:
    told, files = data
    with engine._models.lease(world.INPAINT, "inpaint") as lease:
        unet = lease.parts.unet
        before = {name: p.clone() for name, p in unet.state_dict().items()}
        names = [name for name, _ in unet.named_modules()]
        for i, method in enumerate(("lora", "full")):
            request = world.train(
                method=method, steps=2, save_as=f"m{i}", text_encoder="yes", concepts=tuple(told)
            )
            world.made(engine, world.work(tmp_path / method, request, files, i))
        assert [name for name, _ in unet.named_modules()] == names
        assert all(torch.equal(p, before[name]) for name, p in unet.state_dict().items())
        assert not any(p.requires_grad for p in unet.parameters())


def test_a_base_in_use_for_pictures_can_be_learnt_from(engine: DreamBooth, data: Any, tmp_path: Path) -> None:
    """Weights loaded while pictures are made (in inference mode) take no part in gradients, unless care is taken."""
    told, files = data
    with torch.inference_mode():
        lease = engine._models.lease(world.INPAINT, "inpaint")
    world.made(engine, world.work(tmp_path / "w", world.train(steps=1, concepts=tuple(told)), files))
    lease.close()


def test_samples_keep_the_photo_outside_of_the_hole(engine: DreamBooth, data: Any, tmp_path: Path) -> None:
    told, files = data
    run = world.driven(engine, world.work(tmp_path / "w", world.train(steps=1, concepts=tuple(told)), files))
    assert sorted(run.pictures) == [0, 1], "before and after"
    for item, picture in zip(run.items, run.pictures[1], strict=True):
        assert item.pixels is not None
        assert item.hole is not None
        away = ~np.asarray(Image.fromarray(item.hole.astype(np.uint8) * 255).resize((32, 32))).astype(bool)
        from scipy import ndimage

        away &= ndimage.distance_transform_edt(~item.hole) > 4
        assert away.any()
        assert np.array_equal(np.asarray(picture)[away], item.pixels[away])
        assert not item.seen, "the photo of the samples is never learnt"
        assert run.concepts[item.concept].held_out not in run.concepts[item.concept].prior
    engine.suspend(run)


def test_class_pictures_are_made_where_there_are_no_good_photos(
    engine: DreamBooth, data: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from engines.training import classes

    monkeypatch.setattr(classes, "STEPS", 2)
    told, files = data
    bare = [{**told[0], "normals": []}, told[1]]
    request = world.train(mode="normal", method="full", steps=3, class_images=5, concepts=tuple(bare))
    run = world.driven(engine, world.work(tmp_path / "w", request, files))
    assert len(list((tmp_path / "w" / "class").glob("00-*.png"))) == 5, "and none for the other concept"
    assert len(run.concepts[0].prior) == 5
    engine.suspend(run)


def test_a_name_that_is_taken_is_refused(engine: DreamBooth, data: Any, tmp_path: Path) -> None:
    told, files = data
    for name in (world.INPAINT, "mini", "stable-diffusion-v1-5", "../up", ".hidden", "a b"):
        work = world.work(tmp_path / "w", world.train(save_as=name, concepts=tuple(told)), files)
        with pytest.raises(Refusal):
            engine.prepare(work)
        with pytest.raises(Refusal):
            engine.begin(work)


def test_a_record_lost_after_the_model_was_placed_costs_nothing(
    engine: DreamBooth, models: Path, data: Any, tmp_path: Path
) -> None:
    """Killed between the model's move and the job's record: the job runs again and ends with that model."""
    told, files = data
    work = world.work(tmp_path / "w", world.train(steps=1, concepts=tuple(told)), files)
    world.made(engine, work)
    before = (models / "mine" / "model.json").stat().st_mtime_ns
    assert world.made(engine, work)
    assert (models / "mine" / "model.json").stat().st_mtime_ns == before
    assert sorted(p.name for p in models.iterdir()) == ["mine", world.PICTURES, world.INPAINT]


@pytest.mark.parametrize(("mode", "base"), [("defect", world.PICTURES), ("normal", world.INPAINT)])
def test_a_base_of_the_other_kind_is_refused_with_what_to_do(
    engine: DreamBooth, data: Any, tmp_path: Path, mode: str, base: str
) -> None:
    told, files = data
    work = world.work(tmp_path / "w", world.train(mode=mode, model=base, concepts=tuple(told)), files)
    with pytest.raises(Refusal, match=r"mode:|inpaint"):
        engine.begin(work)
