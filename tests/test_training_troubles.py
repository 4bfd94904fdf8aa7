"""A training in trouble, and what it tells: no number, no memory, no disk; its line, preview and rate."""

from __future__ import annotations

import dataclasses
import io
import math
import re
from pathlib import Path
from typing import Any

import pytest
import torch
import training_world as world
from PIL import Image

from engines.engine import REPORT
from engines.training.finer import SCHEDULES
from engines.words import Refusal

pytestmark = pytest.mark.usefixtures("one_thread")


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
