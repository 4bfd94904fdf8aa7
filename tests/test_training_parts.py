"""The training's own rules: which picture when, what is cropped and hidden, what each row counts."""

from __future__ import annotations

import dataclasses
import math
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import training_world as world
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from engines.diffusion import latents
from engines.training import chance, concepts, copies, losses, record, rows, views
from engines.training.accelerated import Accelerated
from engines.training.concepts import Concept, Order, Shot
from engines.training.learner import Step
from engines.training.request import Train
from engines.training.timeline import Timeline
from engines.words import Refusal


def concept(index: int, shots: int = 3, prior: int = 5, weight: float = 1.0) -> Concept:
    own = tuple(Shot(f"{index}-{i}") for i in range(shots))
    return Concept(
        index, f"c{index}", f"a broken {index}", f"a {index}", weight, own, tuple(map(str, range(prior)))
    )


# ------------------------------------------------------------------ which picture when


@given(
    st.integers(0, 2**32 - 1),
    st.lists(st.tuples(st.integers(1, 7), st.integers(1, 9)), min_size=1, max_size=4),
)
@settings(max_examples=30, deadline=None)
def test_every_picture_is_used_and_equally_often(seed: int, sizes: list[tuple[int, int]]) -> None:
    told = [concept(i, shots, prior) for i, (shots, prior) in enumerate(sizes)]
    drawn = Order(told, seed, 1.0).span(0, 40 * len(told))
    for c, (shots, prior) in enumerate(sizes):
        mine = [s for s in drawn if s.concept == c]
        assert len(mine) == 40, "equal weights, equal turns"
        for used, size in (
            (Counter(s.shot for s in mine), shots),
            (Counter(p for s in mine for p in s.prior), prior),
        ):
            assert len(used) == size
            assert max(used.values()) - min(used.values()) <= 1


def test_concepts_take_turns_by_weight() -> None:
    drawn = Order([concept(0, weight=3.0), concept(1, weight=1.0)], 7).span(0, 400)
    assert Counter(s.concept for s in drawn) == {0: 300, 1: 100}
    assert all(len({s.concept for s in drawn[i : i + 4]}) == 2 for i in range(0, 400, 4)), "evenly spread"


@given(st.integers(0, 200), st.integers(1, 9), st.floats(0, 2.5))
@settings(max_examples=40, deadline=None)
def test_the_nth_sample_is_the_same_however_one_gets_there(start: int, count: int, priors: float) -> None:
    told = [concept(0), concept(1, weight=0.3)]
    straight = Order(told, 5, priors).span(0, start + count)[start:]
    jumped = Order(told, 5, priors)
    jumped.span(start + 3, 2)
    assert jumped.span(start, count) == straight


def test_a_seed_decides_everything_and_another_decides_otherwise() -> None:
    told = [concept(0), concept(1)]
    assert Order(told, 1, 1.0).span(0, 30) == Order(told, 1, 1.0).span(0, 30)
    assert Order(told, 1, 1.0).span(0, 30) != Order(told, 2, 1.0).span(0, 30)
    assert torch.equal(chance.noise((3, 4), 1, "a", 2), chance.noise((3, 4), 1, "a", 2))
    assert not torch.equal(chance.noise((3, 4), 1, "a", 2), chance.noise((3, 4), 1, "a", 3))


def test_class_pictures_are_wanted_only_where_no_good_photo_is() -> None:
    told = [
        {"name": "a", "instance_prompt": "x", "class_prompt": "y", "images": [{"image": "1", "mask": ""}]}
    ]
    request = world.train(concepts=tuple(told), class_images=6)
    assert concepts.missing(concepts.concepts(request), request) == {0: 6}
    for more in ({"prior": False}, {"normals": 0.0}, {"prior_weight": 0.0}, {"class_images": 0}):
        other = dataclasses.replace(request, **more)
        assert concepts.missing(concepts.concepts(other), other) == {}
    given = dataclasses.replace(request, concepts=({**told[0], "normals": ["n"]},))
    assert concepts.missing(concepts.concepts(given), given) == {}


@pytest.mark.parametrize(
    "told",
    [
        (),
        ({"name": "a", "images": []},),
        ({"name": "a", "images": [{"image": "1"}], "weight": 0.0},),
        tuple({"name": str(i), "images": [{"image": "1"}]} for i in range(11)),
    ],
)
def test_data_that_cannot_be_learnt_is_refused(told: tuple[dict[str, Any], ...]) -> None:
    with pytest.raises(Refusal):
        concepts.concepts(world.train(concepts=told))


def test_steps_are_as_asked_or_by_epochs_or_by_the_number_of_pictures() -> None:
    told = tuple({"images": [{"image": "1"}] * 3} for _ in range(2))
    count = lambda **more: Train(save_as="a", concepts=told, **more).total_steps
    assert count(steps=17) == 17
    assert count(epochs=10, batch=2, accumulation=3) == 10
    assert count() == 600
    assert Train(save_as="a", concepts=told[:1] * 1).total_steps == 300


# ------------------------------------------------------------------ the plan


@given(st.integers(1, 60), st.integers(0, 3), st.integers(0, 4), st.integers(0, 20))
@settings(max_examples=100, deadline=None)
def test_the_timeline_learns_each_step_once_in_order(
    steps: int, classes: int, samples: int, every: int
) -> None:
    plan = Timeline(steps, classes * 25, samples, every)
    ticks = [plan.at(i) for i in range(plan.total)]
    assert [t.index for t in ticks if t.kind == "learn"] == list(range(steps))
    assert sum(t.kind == "class" for t in ticks) == classes * 25
    rounds = sorted({t.after for t in ticks if t.kind == "sample"})
    wanted = sorted({0, *range(every, steps, every), steps}) if every else [0, steps]
    assert rounds == (wanted if samples else [])
    for position in range(plan.total + 1):
        assert plan.learnt(position) == sum(t.kind == "learn" for t in ticks[:position])
    for step in range(1, steps + 1):
        assert ticks[plan.after_step(step) - 1].index == step - 1
        assert ticks[plan.after_step(step) - 1].kind == "learn"


# ------------------------------------------------------------------ what is seen


@given(st.integers(0, 2**31), st.integers(12, 90), st.integers(12, 90), st.data())
@settings(max_examples=80, deadline=None)
def test_a_crop_holds_the_defect_and_stays_inside(seed: int, width: int, height: int, data: Any) -> None:
    left = data.draw(st.integers(0, width - 2))
    top = data.draw(st.integers(0, height - 2))
    right, bottom = data.draw(st.integers(left + 1, width)), data.draw(st.integers(top + 1, height))
    mask = np.zeros((height, width), np.bool_)
    mask[top:bottom, left:right] = True
    box = views.defect_box(mask, 2.5, 8, seed, "x")
    assert box[0] >= 0
    assert box[1] >= 0
    assert box[2] <= width
    assert box[3] <= height
    assert box[2] - box[0] == box[3] - box[1]
    short = min(width, height)
    if max(right - left, bottom - top) <= short:
        assert mask[box[1] : box[3], box[0] : box[2]].sum() == mask.sum(), "a part of the defect is cut off"


def test_a_two_pixel_scratch_keeps_its_cells() -> None:
    """It would be lost in three cells of four if every eighth pixel were taken."""
    mask = np.zeros((512, 512), np.bool_)
    mask[250:252, 100:400] = True
    cells = latents.shrunk(latents.hole(mask), 8)
    assert cells.sum() >= 300 / 8
    picture = Image.new("RGB", (512, 512))
    _, small = views.cropped(picture, mask, (0, 0, 512, 512), 64)
    assert small.any(axis=0).sum() >= 300 / 8 - 1


def test_random_masks_differ_and_cover_some_but_not_all() -> None:
    masks = [views.random_mask(64, 1, "m", i) for i in range(40)]
    shares = [m.mean() for m in masks]
    assert min(shares) > 0.01
    assert max(shares) < 1.0
    assert len({m.tobytes() for m in masks}) == 40


# ------------------------------------------------------------------ rows and losses


def test_the_defect_mode_sends_a_defect_an_object_and_a_good_photo() -> None:
    request = world.train(mode="defect", full_masks=0.25, empty_prompts=0.1, concepts=())
    told = [concept(0), concept(1)]
    all = [rows.of(s, request, told) for s in Order(told, request.seed, 1.0).span(0, 2000)]
    assert all[0][0].ask.concept == all[0][1].ask.concept == all[0][2].ask.concept, "one concept a sample"
    assert {tuple(r.part for r in own) for own in all} == {("defect", "object", "prior")}
    full = sum(own[0].ask.hole == "full" for own in all) / len(all)
    silent = sum(row.prompt == "" for own in all for row in own[:2]) / (2 * len(all))
    assert full == pytest.approx(0.25, abs=0.04)
    assert silent == pytest.approx(0.1, abs=0.03)
    assert {own[0].ask.hole for own in all} == {"real", "full"}
    assert {own[1].ask.hole for own in all} == {"random"}
    assert {own[2].prompt for own in all} == {"a 0", "a 1"}, "the class's words for the good photo"
    assert rows.coefficients(request) == {"instance": 1.0, "defect": 0.5, "object": 0.2, "prior": 1.0}


def test_the_other_modes_send_one_row_and_its_prior() -> None:
    told = [concept(0)]
    sample = Order(told, 7, 1.0).span(0, 1)[0]
    normal = rows.of(sample, world.train(mode="normal"), told)
    assert [(r.part, r.ask.hole, r.shaken) for r in normal] == [("instance", "", False), ("prior", "", False)]
    hole = {
        rows.of(s, world.train(mode="normal-inpainting"), told)[0].ask.hole
        for s in Order(told, 7).span(0, 99)
    }
    assert hole == {"random", "full"}, "never the real mask"


def test_the_losses_are_what_the_papers_say() -> None:
    error = chance.noise((2, 4, 6, 6), 1, "error") ** 2
    mask = torch.zeros(2, 1, 6, 6)
    mask[0, 0, 2, 3] = mask[1, 0, :3] = 1
    inside = [error[0, :, 2, 3].mean(), error[1, :, :3].mean()]
    assert torch.allclose(losses.weighted(error, mask), torch.stack(inside)), (
        "sum(m·d²)/sum(m), whatever its size"
    )
    assert torch.allclose(losses.weighted(error, torch.ones_like(mask)), losses.plain(error))
    assert losses.around(mask).unique().tolist() == pytest.approx([0.3, 1.0])


# ------------------------------------------------------------------ small things


def test_two_trainings_of_different_precision_live_side_by_side() -> None:
    """accelerate keeps one state for the whole process, and refuses a second precision."""
    bf16, full = Accelerated("cpu", "bf16"), Accelerated("cpu", "no")
    matrix = torch.ones(2, 2)
    for one, dtype in ((bf16, torch.bfloat16), (full, torch.float32), (bf16, torch.bfloat16)):
        with one.autocast():
            assert (matrix @ matrix).dtype == dtype
    from accelerate.state import AcceleratorState

    assert AcceleratorState._shared_state == {}, "and other users of accelerate see nothing of it"


def test_small_models_learn_faster() -> None:
    assert copies.learning_rate("full", 860_000_000) == 5e-6
    assert copies.learning_rate("lora", 2_000_000_000) == 2e-4
    assert 5e-6 < copies.learning_rate("full", 6_000_000) <= 3e-4
    assert 2e-4 < copies.learning_rate("lora", 6_000_000) <= 2e-3


def test_the_log_goes_on_where_the_checkpoint_was(tmp_path: Path) -> None:
    def steps(log: record.Record, first: int, last: int) -> None:
        for i in range(first, last + 1):
            log.add(i, Step(math.sin(i) / 3, 1e-4, {i % 2: math.cos(i) / 7}))

    (tmp_path / "a").mkdir()
    whole = record.Record(tmp_path / "a", ["x", "with, comma"])
    steps(whole, 1, 9)
    whole.close()
    (tmp_path / "b").mkdir()
    torn = record.Record(tmp_path / "b", ["x", "with, comma"])
    steps(torn, 1, 7)
    torn.close()
    with torn.path.open("a") as file:
        file.write("8,0.1")  # half a row
    again = record.Record(tmp_path / "b", ["x", "with, comma"], step=5)
    steps(again, 6, 9)
    again.close()
    assert again.path.read_bytes() == whole.path.read_bytes()
    assert again.whole.smooth == whole.whole.smooth
    assert [c.smooth for c in again.concepts] == [c.smooth for c in whole.concepts]


def test_a_curve_is_drawn_whatever_the_names_are() -> None:
    from engines.training import drawing

    log = record.Record.__new__(record.Record)
    log.names = ("scratch", "긁힘")
    log.concepts = [record.Curve(), record.Curve()]
    for i in range(1, 50):
        log.concepts[i % 2].add(i, 1 / i)
    assert drawing.losses(log).startswith(b"\x89PNG")
