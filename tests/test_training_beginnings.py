"""What somebody meets who trains for the first time: what is said before, what is made first, what is shown."""

from __future__ import annotations

import json
import math
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import training_world
from data_sets import mvtec, photo, png, zipped
from desk_world import HERE, KIM, Sent, World, mask
from PIL import Image

import bot
from bot.models.listing import _parameters
from bot.training.words import described, made_first, step_seconds, time_needed
from engines.training import classes, drawing
from engines.training.learner import Broken, Step
from engines.training.record import Record
from engines.training.request import Train
from engines.words import Refusal

ZIP = zipped(mvtec(defects=("scratch", "dent"), photos=5, good=2))
BARE: dict[str, Any] = {
    "name": "dent", "instance_prompt": "a dented nut", "class_prompt": "a nut",
    "images": [{"image": "i", "mask": "m"}] * 5, "normals": [], "class_images": [], "weight": 1.0,
}  # fmt: skip


# ------------------------------------------------------------------ the engine


@pytest.mark.parametrize("mode", ["defect", "normal-inpainting"])
def test_an_inpainting_training_without_good_photos_makes_its_class_pictures(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, mode: str
) -> None:
    """Its samples are drawn in a photo that is there from the beginning."""
    monkeypatch.setattr(classes, "STEPS", 2)
    told, files = training_world.data(tmp_path / "data", concepts=1, normals=0)
    own = training_world.engine(training_world.bases(tmp_path / "models"))
    asked = training_world.train(mode=mode, steps=2, class_images=3, concepts=tuple(told))
    run = training_world.driven(own, training_world.work(tmp_path / "w", asked, files))
    assert len(list((tmp_path / "w" / "class").glob("*.png"))) == 3
    assert len(run.concepts[0].prior) == 3
    assert run.learnt == 2
    assert sorted(run.pictures) == [0, 2]
    own.suspend(run)


def test_a_picture_that_cannot_be_read_is_named_in_both_languages(tmp_path: Path) -> None:
    told, files = training_world.data(tmp_path / "data", concepts=1)
    files["c0-good1"].write_bytes(b"gone")
    own = training_world.engine(training_world.bases(tmp_path / "models"))
    with pytest.raises(Refusal) as refused:
        own.prepare(training_world.work(tmp_path / "w", training_world.train(concepts=tuple(told)), files))
    assert "“thing-0”, good photo #2" in refused.value.words.en
    assert "“thing-0”의 정상 사진 #2" in refused.value.words.ko


@pytest.mark.parametrize(
    ("save_every", "kept", "told"),
    [(1, 1, "by step 1 is kept for a week. Resume (`/resume 1`)"), (100, 0, "No checkpoint was written yet")],
)
def test_what_broke_down_tells_what_there_is_to_go_on_from(
    tmp_path: Path, save_every: int, kept: int, told: str
) -> None:
    concepts, files = training_world.data(tmp_path / "data", concepts=1)
    own = training_world.engine(training_world.bases(tmp_path / "models"))
    asked = training_world.train(steps=5, save_every=save_every, concepts=tuple(concepts))
    run = own.begin(training_world.work(tmp_path / "w", asked, files))
    while run.learnt < 1:
        own.advance([run])
    with torch.no_grad():
        next(iter(run.learner.trained.values())).fill_(math.nan)
    with pytest.raises(Broken) as broken:
        own.advance([run])
    own.suspend(run)
    assert told in broken.value.words.en
    assert len(list((tmp_path / "w").glob("checkpoint-*"))) == kept
    assert broken.value.code == "numbers"


# ------------------------------------------------------------------ what is said


def test_that_the_text_encoder_is_trained_too_is_said() -> None:
    asked = {"save_as": "n", "model": "mini", "concepts": (BARE,)}
    assert "lora 8 · `mini` · text encoder too · " in described(Train(**asked))[0].en
    assert "lora 8 · `mini` · 텍스트 인코더 포함 · " in described(Train(**asked))[0].ko
    for more in ({"text_encoder": "no"}, {"mode": "normal"}):
        assert "text encoder" not in described(Train(**asked, **more))[0].en


def test_a_models_details_tell_what_was_chosen_for_it() -> None:
    """A learning rate, a size and steps that were left open, and whether the text encoder was trained."""
    card = {
        "parameters": Train(save_as="n", model="mini").to_json(),
        "text_encoder": True, "steps": 200, "learning_rate": 0.002, "resolution": 128,
    }  # fmt: skip
    assert _parameters(card).startswith(
        "mode defect, method lora, rank 8, text_encoder yes, steps 200, learning_rate 0.002, resolution 128"
    )
    earlier = {"parameters": {"method": "full", "rank": 8, "text_encoder": False}}
    assert _parameters(earlier) == "method full, text_encoder no"
    assert _parameters({}) == ""


def test_class_pictures_are_told_and_counted_in_the_time() -> None:
    train = Train(save_as="n", model="mini", steps=100, concepts=(BARE,), class_images=100)
    (said,) = made_first(train)
    assert "**dent**: no good photos are given, so 100 pictures" in said.en
    with_good = Train(save_as="n", model="mini", steps=100, concepts=({**BARE, "normals": ["n"]},))
    assert made_first(with_good) == []
    assert (train.drawing_cost, with_good.drawing_cost) == (2.0 * (2 * 20 + 100 * 25), 2.0 * 2 * 20)
    assert "about 1 min" in time_needed(with_good, 0.6, False).en
    assert "about 6 min 39 s" in time_needed(train, 0.6, False).en
    assert "about 1 min" in time_needed(train, 0.6, True).en, "what trainings took has all of it"


def test_only_a_training_of_some_length_tells_how_long_a_step_takes() -> None:
    @dataclass
    class Before:
        request: dict[str, Any]
        seconds: float = 60.0

    def asked(**more: Any) -> Train:
        return Train(**{"save_as": "n", "model": "mini", "steps": 60, "concepts": (BARE,), **more})

    def told(**more: Any) -> float | None:
        return step_seconds(asked(), [Before(asked(**more).to_json())])  # type: ignore[list-item]

    assert told() == pytest.approx(1.0)
    assert told(steps=4) is None
    assert told(text_encoder="no") is None
    assert told(concepts=({**BARE, "normals": ["n"]},)) is None, "that one made no class pictures"


async def test_a_base_that_the_mode_cannot_start_from_is_refused_at_once(world: World) -> None:
    refused = await world.say("/train dataset:@a.zip save_as:a mode:defect model:mini", Sent("a.zip", ZIP))
    assert refused.kind == "refused"
    assert "made for whole pictures" in refused.text
    assert await world.store.jobs.get(1) is None


async def test_a_mask_that_grow_eats_is_refused_at_once(world: World) -> None:
    given = Sent("a.png", png(photo(1)[0])), Sent("m.png", mask((96, 96)))
    refused = await world.say('/inpaint "a dent" image:@a.png mask:@m.png grow:-64', *given)
    assert refused.kind == "refused"
    assert "With grow -64 nothing of the mask is left" in refused.text
    for left in ("grow:-8", "grow:-40 invert:yes"):
        taken = await world.say(f'/inpaint "a dent" image:@a.png mask:@m.png {left}', *given)
        assert taken.kind == "accepted", left


async def test_the_history_of_a_command_by_its_korean_name(world: World) -> None:
    given = Sent("a.png", png(photo(1)[0])), Sent("m.png", mask((96, 96)))
    await world.say('/inpaint "a dent" image:@a.png mask:@m.png', *given)
    for said, found in (
        ("결함그려넣기", True),
        ("/결함그려넣기", True),
        ("/inpaint", True),
        ("배경제거", False),
    ):
        assert ("#1 inpaint" in (await world.say(f"/history command:{said}")).text) is found, said


async def test_what_was_resumed_and_failed_again_goes_on_from_there(world: World) -> None:
    train = Train(save_as="n", model="toy", steps=8, concepts=({**BARE, "images": []},))
    number = 0
    for step in (3, 5):
        if number == 0:
            order = {"person": KIM.id, "name": KIM.name, "platform": "console", "place": HERE.to_json()}
            job, _ = await world.store.jobs.add(
                key="t", **order, language="en", command="train", request=train.to_json(),
                cost=1.0, department="", inputs=(), notes=(), now=1.0,
            )  # fmt: skip
            number = job.id
        await world.store.jobs.claim(2.0)
        kept = world.store.folder / "work" / str(number) / f"checkpoint-{step:06}"
        kept.mkdir(parents=True)
        state = {"step": step, "batch": 1, "schedule": {"base_lrs": [1e-4]}}
        (kept / "state.json").write_text(json.dumps(state))
        error = {"en": "no", "ko": "no", "code": "numbers"}
        await world.store.jobs.fail(number, error=error, seconds=1.0, now=3.0)
        answer = await world.say("/resume 1")
        assert (answer.kind, answer.job) == ("accepted", number + 1)
        assert f"It goes on with #{number} from step {step} of 8" in answer.text
        number = answer.job
    assert (await world.say("/resume 1")).job == number, "one that waits is the one"


# ------------------------------------------------------------------ what is shown


def test_a_sheet_names_its_rows_and_what_has_no_letters_has_a_number() -> None:
    assert drawing._labels(["scratch", "긁힘"], numbered=True) == ["1. scratch", "concept 2"]
    red = Image.new("RGB", (8, 8), "red")
    bare, named = (
        np.asarray(drawing.sheet([("before", [red, red]), ("after", [red, None])], 64, rows=rows))
        for rows in ((), ("scratch", "a name that is much too long for so narrow a sheet"))
    )
    assert named.shape[0] == bare.shape[0] + 2 * drawing.HEAD
    heads = named[drawing.HEAD : 2 * drawing.HEAD], named[2 * drawing.HEAD + 68 : 3 * drawing.HEAD + 68]
    assert all((head < 128).any() for head in heads), "a name above each row"
    assert (named[-64:, -64:] == 255).all(), "no picture there"


def test_the_curve_of_a_single_step_can_be_seen(tmp_path: Path) -> None:
    record = Record(tmp_path, ["scratch"])
    record.add(1, Step(0.5, 1e-3, {0: 0.5}))
    record.close()
    (tmp_path / "loss.png").write_bytes(drawing.losses(record))
    with Image.open(tmp_path / "loss.png") as picture:
        drawn = np.asarray(picture.convert("RGB")).astype(int)[100:350, 100:700]
    blue = (drawn[..., 2] - drawn[..., 0]) > 80
    assert blue.sum() > 10


def test_what_we_tell_people_to_type_names_options_as_their_forms_do() -> None:
    """An alias works when typed, but a form on Discord or Slack shows `model`, `save_as`."""
    texts = {
        f: f.read_text(encoding="utf-8") for f in Path(bot.__file__).parents[1].glob("[be][on]*/**/*.py")
    }
    assert len(texts) > 200
    typed = re.compile(r"`/(?:models|train) [^`\n]*\bname:")
    assert [f.name for f, text in texts.items() if typed.search(text)] == []
