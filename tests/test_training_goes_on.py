"""A training that failed goes on as a new job: exactly, with what broke it changed, asked for in words or by a button."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
import torch
import training_world as world
from desk_world import KIM, LEE, World, opened

from bot.answers import replies
from bot.pictures.reading import PictureReader
from bot.talk import Limits
from bot.training import again
from bot.training.again import Left
from engines import failures
from engines.engine import Work
from engines.training.engine import DreamBooth
from engines.training.request import Train
from engines.words import Refusal

pytestmark = pytest.mark.usefixtures("one_thread")

ROOMY = Limits(file_bytes=10**8, files=10, message_bytes=10**8, edit_every=0.0, text=4000)


# ------------------------------------------------------------------ the weights


@dataclasses.dataclass
class House:
    """An engine and the folders of its jobs."""

    engine: DreamBooth
    folder: Path
    request: Train
    files: dict[str, Path]

    def work(self, number: int, **more: Any) -> Work:
        request = dataclasses.replace(self.request, **more)
        return world.work(self.folder / str(number), request, self.files, number)

    def broken(self, number: int, at: int, spoil: bool = False, **more: Any) -> None:
        """Job `number` learns `at` steps and fails in the next one."""
        run = self.engine.begin(self.work(number, **more))
        while run.learnt < at:
            self.engine.advance([run])
        whole = run.learner.row_losses
        run.learner.row_losses = lambda *told: _failing(whole, spoil, *told)  # type: ignore[method-assign]
        with pytest.raises((Refusal, torch.OutOfMemoryError)) as error:
            self.engine.advance([run])
        self.code = failures.failed(error.value).code
        self.engine.suspend(run)

    def weights(self, number: int, **more: Any) -> tuple[dict[str, torch.Tensor], str, list[str]]:
        """Job `number` to its end: weights, log, and what it told."""
        run = world.driven(self.engine, self.work(number, **more))
        made = {name: p.detach().clone() for name, p in run.learner.trained.items()}
        run.record.sync()
        log, told = run.record.path.read_text(), [note.en for note in run.notes]
        self.engine.suspend(run)
        return made, log, told


def _failing(whole: Any, spoil: bool, *told: Any) -> Any:
    if spoil:
        return whole(*told) * math.nan
    raise torch.OutOfMemoryError("CUDA out of memory.")


@pytest.fixture
def house(bases: Path, tmp_path: Path) -> House:
    told, files = world.data(tmp_path / "photos", shots=2)
    request = world.train(concepts=tuple(told), steps=7, save_every=2, batch=1, schedule="cosine", warmup=2)
    own = world.engine(world.house(tmp_path / "bases", bases))
    return House(own, tmp_path / "jobs", request, files)


@pytest.mark.parametrize("method", ["lora", "full"])
def test_it_ends_with_the_very_weights_of_one_that_never_failed(house: House, method: str) -> None:
    whole, log, _ = house.weights(1, method=method)
    house.broken(2, 3, method=method)
    assert house.code == "memory"
    again, its, told = house.weights(3, method=method, earlier=2, save_as="other")
    assert any("goes on from what #2 had learnt" in one for one in told)
    assert again.keys() == whole.keys()
    assert all(torch.equal(again[name], whole[name]) for name in whole)
    assert its == log
    assert (house.folder / "2" / "checkpoint-000003").is_dir(), "what is gone on from stays as it was"


def test_smaller_batches_learn_the_same_but_for_rounding(house: House) -> None:
    whole, _, _ = house.weights(1, batch=4)
    house.broken(2, 3, batch=4)
    smaller, _, _ = house.weights(3, batch=1, accumulation=4, earlier=2)
    assert all(torch.allclose(smaller[name], whole[name], atol=1e-4) for name in whole)


def test_a_lower_rate_is_taken_at_the_schedules_own_place(house: House) -> None:
    house.broken(2, 3, spoil=True)
    assert house.code == "numbers"
    run = house.engine.begin(house.work(3, earlier=2, learning_rate=5e-4))
    assert run.learnt == 2, "the last checkpoint, not the step that broke"
    whole = house.engine.begin(house.work(4, learning_rate=5e-4))
    while whole.learnt < 2:
        house.engine.advance([whole])
    assert run.learner.rate == whole.learner.rate != 1e-3
    house.engine.suspend(run)
    house.engine.suspend(whole)


def test_another_trainings_checkpoint_is_not_gone_on_from(house: House) -> None:
    house.broken(2, 3)
    run = house.engine.begin(house.work(3, earlier=2, rank=4))
    assert run.learnt == 0
    house.engine.suspend(run)
    run = house.engine.begin(house.work(5, earlier=4))
    assert run.learnt == 0
    assert "began from the start" in run.notes[0].en
    house.engine.suspend(run)


# ------------------------------------------------------------------ what is changed

TRAIN = Train(save_as="nut", batch=4, accumulation=2, seed=3)


@pytest.mark.parametrize(
    ("code", "said", "left", "expected"),
    [
        ("memory", {}, Left(5, 2, 1e-3), (1, 8, None, False)),
        ("memory", {}, Left(5, 4, 1e-3), (2, 4, None, False)),
        ("memory", {}, Left(5, 1, 1e-3), (1, 8, None, True)),
        ("memory", {"batch": 3}, Left(5, 4, 1e-3), (2, 4, None, False)),
        ("numbers", {}, Left(5, 4, 1e-3), (4, 2, 5e-4, False)),
        ("numbers", {"learning_rate": 1e-5}, Left(5, 4, 1e-3), (4, 2, 1e-5, False)),
        ("disk", {}, Left(5, 4, 1e-3), (4, 2, None, False)),
    ],
)
def test_the_cause_is_out_of_the_way(
    code: str, said: dict[str, Any], left: Left, expected: tuple[Any, ...]
) -> None:
    now = again.changed(TRAIN, left, code, said)
    assert (now.batch, now.accumulation, now.learning_rate, now.gradient_checkpointing) == expected
    assert now.batch * now.accumulation == 8


# ------------------------------------------------------------------ in the chat


@pytest.fixture
async def chat(tmp_path: Path, reader: PictureReader) -> AsyncIterator[World]:
    async with opened(tmp_path, reader) as world:
        yield world


async def failed(chat: World, house: House, code: str = "memory") -> int:
    """A training that failed after its third step, with what it left."""
    job, _ = await chat.store.jobs.add(
        key="t", person=KIM.id, name="Kim", platform="console", language="en", command="train", cost=1.0,
        place={"platform": "console", "channel": "general"}, request=house.request.to_json() | {"concepts": []},
        inputs=(), now=1.0,
    )  # fmt: skip
    house.folder = chat.store.folder / "work"
    house.broken(job.id, 3)
    await chat.store.jobs.claim(2.0)
    await chat.store.jobs.fail(job.id, error={"en": "no", "ko": "no", "code": code}, seconds=1.0, now=3.0)
    return job.id


async def test_words_and_the_button_queue_it_once(chat: World, house: House) -> None:
    number = await failed(chat, house)
    said = replies.answer(await chat.job(number), [], limits=ROOMY)
    assert [b.action for b in said.buttons] == ["resume", "reroll", "recipe"]
    answer = await chat.press("resume", number)
    assert (answer.kind, answer.command) == ("accepted", "train")
    assert f"goes on with #{number} from step 3 of 7" in answer.text
    assert "gradient checkpointing" in answer.text, "a batch of one cannot be smaller"
    train = Train.from_json((await chat.job(answer.job)).request)
    assert (train.earlier, train.gradient_checkpointing, train.seed) == (number, True, 7)
    assert (await chat.say(f"/resume {number}")).job == answer.job
    await chat.store.jobs.cancel(answer.job, now=5.0)
    lower = await chat.say(f"/resume job:{number} learning_rate:1e-5")
    assert lower.job not in (answer.job, number)
    assert Train.from_json((await chat.job(lower.job)).request).learning_rate == 1e-5


async def test_what_cannot_go_on_is_said(chat: World, house: House) -> None:
    number = await failed(chat, house, code="input")
    said = replies.answer(await chat.job(number), [], limits=ROOMY)
    assert "resume" not in [b.action for b in said.buttons]
    assert (await chat.say(f"/resume {number}", who=LEE)).kind == "refused"
    for path in (house.folder / str(number)).glob("checkpoint-*"):
        path.rename(path.with_name(f"gone-{path.name}"))
    refused = await chat.say(f"/resume {number}")
    assert refused.kind == "refused"
    assert "no checkpoint" in refused.text
