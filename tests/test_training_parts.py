"""The training's own rules: which picture when, what is cropped and hidden, what each row counts, what goes wrong."""

from __future__ import annotations

import dataclasses
import io
import math
import re
from collections import Counter
from collections.abc import Iterator
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
from engines.engine import REPORT
from engines.training import chance, concepts, copies, losses, record, rows, views
from engines.training.accelerated import Accelerated
from engines.training.concepts import Concept, Order, Shot
from engines.training.finer import SCHEDULES
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


# ------------------------------------------------------------------ what goes wrong


@pytest.fixture(scope="module")
def bases(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return world.bases(tmp_path_factory.mktemp("bases"))


@pytest.fixture(autouse=True)
def one_thread() -> Iterator[None]:
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.fixture
def trained(bases: Path, tmp_path: Path) -> Any:
    """Begin a training of two concepts; the engine, the run."""
    told, files = world.data(tmp_path / "data", shots=2)
    own = world.engine(world.house(tmp_path / "models", bases))

    def begin(**more: Any) -> Any:
        request = world.train(**({"concepts": tuple(told)} | more))
        return own, own.begin(world.work(tmp_path / "work", request, files)), files

    return begin


def learn(own: Any, run: Any, until: int) -> None:
    while run.learnt < until:
        own.advance([run])


def test_a_loss_that_is_no_number_stops_with_the_last_checkpoint_kept(trained: Any, tmp_path: Path) -> None:
    own, run, _ = trained(steps=6, save_every=2, method="lora")
    learn(own, run, 3)
    before = {name: p.detach().clone() for name, p in run.learner.trained.items()}
    with torch.no_grad():
        next(iter(run.learner.trained.values())).fill_(math.nan)
        broken = {n: p.detach().clone() for n, p in run.learner.trained.items()}
    with pytest.raises(Refusal, match="learning rate"):
        own.advance([run])
    assert run.learnt == 3
    assert all(torch.equal(p.nan_to_num(), broken[n].nan_to_num()) for n, p in run.learner.trained.items())
    assert not all(torch.equal(p.detach(), before[n]) for n, p in run.learner.trained.items())
    own.suspend(run)
    left = {path.name for path in (tmp_path / "work" / REPORT).iterdir()}
    assert left == {"samples.png", "loss.png"}, "how far it came is shown with the failure"
    from engines.training import checkpoints

    kept = checkpoints.newest(tmp_path / "work")
    assert kept is not None
    assert kept.step == 2
    assert all(t.isfinite().all() for t in kept.weights.values())


def test_too_little_memory_halves_the_batch_once_and_says_so(
    trained: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    own, run, _ = trained(steps=2, batch=4, method="full", schedule="linear")
    whole, most = run.learner.row_losses, [8]

    def scarce(batch: Any, sights: Any) -> Any:
        if len(batch) > most[0]:
            raise torch.OutOfMemoryError("CUDA out of memory.")
        return whole(batch, sights)

    monkeypatch.setattr(run.learner, "row_losses", scarce)
    learn(own, run, 1)
    assert (run.batch, run.halved) == (2, True)
    assert any("memory" in note.en for note in run.notes)
    halved = {name: p.detach().clone() for name, p in run.learner.trained.items()}
    most[0] = 1
    with pytest.raises(torch.OutOfMemoryError):
        own.advance([run])
    own.suspend(run)
    other = dataclasses.replace(run.work, folder=run.work.folder.parent / "other")
    other.folder.mkdir()
    plenty = own.begin(other)
    learn(own, plenty, 1)
    for name, p in plenty.learner.trained.items():
        assert torch.allclose(p, halved[name], atol=3e-5), "the same samples, the same step"
    own.suspend(plenty)


def test_a_full_disk_ends_in_a_sentence(trained: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    from engines import failures
    from engines.training import checkpoints

    own, run, _ = trained(steps=4, save_every=1)
    monkeypatch.setattr(checkpoints, "_free", lambda folder: 10)
    with pytest.raises(Refusal) as told:
        learn(own, run, 1)
    assert failures.failed(told.value).code == "disk"
    own.suspend(run)
    with pytest.raises(Refusal, match="disk"):
        trained(steps=4)


@pytest.mark.parametrize("broken", ["c0-shot1", "c1-shot0.mask", "c0-good2"])
def test_a_picture_that_cannot_be_read_is_named(trained: Any, broken: str) -> None:
    own, run, files = trained(steps=8)
    path = files[broken]
    path.write_bytes(path.read_bytes()[:60])
    with pytest.raises(Refusal, match=r"thing-.*#"):
        own.prepare(run.work)
    own.suspend(run)


def test_a_cancelled_training_writes_nothing_and_a_stopped_one_its_last_step(
    trained: Any, tmp_path: Path
) -> None:
    own, run, _ = trained(steps=6, save_every=5)
    learn(own, run, 2)
    run.cancelled = True
    own.suspend(run)
    assert not list((tmp_path / "work").glob("checkpoint-*"))
    assert not (tmp_path / "work" / REPORT).exists()
    own, run, _ = trained(steps=6, save_every=5)
    learn(own, run, 2)
    own.suspend(run)
    assert [p.name for p in (tmp_path / "work").glob("checkpoint-*")] == ["checkpoint-000002"]
    own, run, _ = trained(steps=6, save_every=5)
    assert run.learnt == 2
    own.suspend(run)


# ------------------------------------------------------------------ what is seen and asked of it


def test_the_line_under_the_bar_and_the_preview_tell_how_it_goes(trained: Any) -> None:
    own, run, _ = trained(steps=12)
    while run.timeline.at(run.done).kind == "sample":
        own.advance([run])
    assert own.preview(run) is None, "nothing learnt, nothing to draw"
    learn(own, run, 10)
    number = r"\d\.\d{4}"
    each = rf"\(thing-0 {number}, thing-1 {number}\)"
    assert re.fullmatch(rf"Step 10/12 · loss {number} {each} · rate 1\.0e-03 · \d+\.\d GiB", run.note.en), (
        run.note.en
    )
    assert re.fullmatch(rf"스텝 10/12 · 손실 {number} {each} · 학습률 1\.0e-03 · \d+\.\d GiB", run.note.ko), (
        run.note.ko
    )
    shown = own.preview(run)
    with Image.open(io.BytesIO(shown)) as picture:
        assert picture.format == "JPEG"
        assert picture.height > 260 + 2 * 32, "the curves, and under them a sample of each concept"
    assert own.preview(run) is None, "only where there is something new"
    own.suspend(run)


def test_gradient_checkpointing_changes_no_number(trained: Any) -> None:
    found = []
    for saving in (False, True):
        own, run, _ = trained(steps=2, gradient_checkpointing=saving, method="full", batch=2)
        learn(own, run, 1)
        found.append({name: p.detach().clone() for name, p in run.learner.trained.items()})
        run.cancelled = True
        own.suspend(run)
    for name, weight in found[0].items():
        assert torch.allclose(weight, found[1][name], atol=1e-6), name


@pytest.mark.parametrize("schedule", SCHEDULES)
def test_the_rate_follows_its_schedule(trained: Any, schedule: str) -> None:
    own, run, _ = trained(steps=8, schedule=schedule, warmup=2, learning_rate=1e-3)
    rates = [run.learner.rate]
    for _ in range(7):
        run.learner.optimizer.step()
        run.learner.schedule.step()
        rates.append(run.learner.rate)
    run.cancelled = True
    own.suspend(run)
    assert max(rates) == pytest.approx(1e-3)
    assert (rates[0] == 0) == (schedule != "constant"), "it warms up, but a constant one"
    assert (rates[-1] < 1e-3) == (not schedule.startswith("constant"))


def test_eight_bits_without_a_gpu_are_refused_with_what_to_do(trained: Any) -> None:
    with pytest.raises(Refusal, match="bitsandbytes"):
        trained(adam8bit=True)
