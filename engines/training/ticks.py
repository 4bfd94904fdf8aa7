"""What a tick of a training does. Each function tries first and changes nothing that counts; what it returns takes
the tick for good."""

from __future__ import annotations

import gc
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

import torch
from PIL import Image

from engines import failures, recipe
from engines.training import checkpoints, classes, drawing, rows
from engines.training.learner import BROKEN, Broken, Step
from engines.training.run import Training, checkpoint
from engines.training.samples import Item, Round
from engines.training.timeline import Tick
from engines.words import Words

Take = Callable[[], None]

PREVIEWS = 40  # a training shows its curves about so often


def tried(run: Training) -> Take:
    """The next tick's work, all but the taking of it. Raises what the work raises; the run has not moved then."""
    began = time.monotonic()
    tick = run.timeline.at(run.done)
    take = _learn(run, tick) if tick.kind == "learn" else _sample(run, tick)
    spent = time.monotonic() - began

    def taken() -> None:
        began = time.monotonic()
        take()
        run.seconds += spent + time.monotonic() - began

    return taken


# ------------------------------------------------------------------ learning


def _learn(run: Training, tick: Tick) -> Take:
    while True:
        try:
            return partial(_learnt, run, tick.index + 1, _gradients(run, tick.index))
        except Exception as error:
            if not failures.out_of_memory(error) or run.halved or run.batch == 1:
                raise
        _halve(run)  # outside of the handler, whose traceback holds the batch's tensors


def _gradients(run: Training, step: int) -> Step:
    count = run.whole_batch
    drawn = [rows.of(s, run.request, run.concepts) for s in run.order.span(step * count, count)]
    batches = [
        [row for own in drawn[at : at + run.batch] for row in own] for at in range(0, count, run.batch)
    ]
    return run.learner.gradients(batches, run.sights)


def _halve(run: Training) -> None:
    """The same samples a step, in smaller batches. Once: a second time something else is wrong."""
    run.learner.forget()
    gc.collect()
    if torch.cuda.is_available():
        torch.cuda.empty_cache()
    before, run.batch = run.batch, run.batch // 2 if run.batch % 2 == 0 else 1
    run.halved = True
    run.notes.append(_HALVED(before=before, after=run.batch, times=run.whole_batch // run.batch))


def _learnt(run: Training, number: int, step: Step) -> None:
    run.learner.move(step)
    run.record.add(number, step)
    if number % max(10, run.timeline.steps // PREVIEWS) == 0:
        run.news = True
    if number % run.request.save_every == 0 or number == run.timeline.steps:
        save(run, number)


def save(run: Training, number: int) -> None:
    """A checkpoint of step `number`, after the log that belongs to it.

    Raises `Refusal` where the weights are no numbers any more: the checkpoint before is the last good one.
    """
    if not run.learner.sound:
        raise Broken(BROKEN)
    run.record.sync()
    made = checkpoint(run, number)
    checkpoints.save(run.work.folder, made, run.request.keep)
    run.saved = number


def with_the_mend(run: Training, broken: Broken) -> Broken:
    """That the numbers broke down, and what there is to go on from."""
    rate = f"{run.learner.rate:g}"
    told = _KEPT(step=run.saved, id=run.work.id, rate=rate) if run.saved else _NOT_KEPT(rate=rate)
    return Broken(broken.words + told)


# ------------------------------------------------------------------ samples


def _sample(run: Training, tick: Tick) -> Take:
    if tick.kind == "class":
        some = classes.batch(run.wanted, tick.index)
        at, steps, shown = (
            tick.index % classes.STEPS,
            classes.STEPS,
            classes.items(run.request, some, run.side),
        )
    else:
        at, steps, shown = tick.index, tick.span, list(run.items)
    if at == 0 or run.round is None:
        run.learner.looking()
        run.round = Round(run.learner, shown, run.side, steps)
    moved = run.round.tick(at)
    return partial(_sampled, run, tick, moved, last=at == steps - 1)


def _sampled(run: Training, tick: Tick, moved: object, last: bool) -> None:
    assert run.round is not None
    run.round.take(moved)
    if not last:
        return
    made, run.round = run.round.decoded(), None
    run.learner.learning()
    if tick.kind == "class":
        classes.keep(classes.batch(run.wanted, tick.index), made)
    else:
        keep_samples(run, tick.after, made)


def keep_samples(run: Training, after: int, made: list[Image.Image]) -> None:
    run.pictures[after] = made
    run.news = True
    for item, picture in zip(run.items, made, strict=True):
        path = sample_path(run, after, item)
        path.parent.mkdir(exist_ok=True)
        recipe.write(path, drawing.png(picture))


def sample_path(run: Training, after: int, item: Item) -> Path:
    return run.work.folder / "samples" / f"{after:06}-{item.concept:02}.png"


def earlier_samples(run: Training) -> None:
    """Those that an earlier life of the run has drawn."""
    for after in sorted({int(p.name[:6]) for p in (run.work.folder / "samples").glob("*.png")}):
        paths = [sample_path(run, after, item) for item in run.items]
        if after <= run.learnt and all(path.is_file() for path in paths):
            run.pictures[after] = [_loaded(path) for path in paths]


def _loaded(path: Path) -> Image.Image:
    with Image.open(path) as picture:
        picture.load()
        return picture


_KEPT = Words(
    "What it had learnt by step {step} is kept for a week. Resume (`/resume {id}`) goes on from there with half the "
    "learning rate (it was {rate}); or start again with `precision:no`.",
    "{step}번째 스텝까지 학습한 것은 일주일 동안 보관합니다. ‘계속’(`/resume {id}`)을 쓰면 그 지점부터 학습률({rate})을 "
    "절반으로 낮추어 계속합니다. `precision:no`로 다시 시작할 수도 있습니다.",
)
_NOT_KEPT = Words(
    "No checkpoint was written yet. Start again with a lower `learning_rate` (it was {rate}) or with `precision:no`.",
    "아직 저장된 체크포인트가 없습니다. 학습률({rate})을 낮추거나 `precision:no`로 다시 시작해 주십시오.",
)
_HALVED = Words(
    "The memory was not enough for {before} photos at once, so the training went on with {after}, {times} times a step.",
    "사진 {before}장을 한 번에 학습하기에는 메모리가 부족하여 {after}장씩, 한 스텝에 {times}번 나누어 학습했습니다.",
)
