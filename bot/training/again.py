"""A training that failed goes on: a new job that takes over the old one's checkpoint, with what broke it changed."""

from __future__ import annotations

import asyncio
import dataclasses
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bot.commands.command import Tools
from bot.orders import Order, Orders
from bot.talk import Message, Person, Place
from engines.training.request import Train, check_name
from engines.words import Language, Refusal, Words
from storage.jobs import Job

MEMORY, NUMBERS = "memory", "numbers"  # codes of failures that need a change


@dataclass(frozen=True, slots=True)
class Left:
    """What a failed training left behind."""

    step: int
    batch: int  # samples at once, maybe halved already
    rate: float  # the learning rate, before any schedule


async def go_on(
    tools: Tools, job: Job, person: Person, place: Place, language: Language, changes: Mapping[str, Any]
) -> Message:
    """Queue a training that goes on from where the failed `job` was. Asked twice it is one job. Raises `Refusal`."""
    if (
        after := await _after(tools, job.id)
    ) and after.state == "failed":  # the one that goes on failed in its turn
        return await go_on(tools, after, person, place, language, changes)
    left = await asyncio.to_thread(read, tools.store.folder / "work" / str(job.id))
    if left is None:
        raise Refusal(_NOTHING(id=job.id))
    train = Train.from_json(job.request)
    check_name(train.save_as)
    again = dataclasses.replace(
        changed(train, left, (job.error or {}).get("code", ""), changes), earlier=job.id
    )
    key = await _key(tools, job.id)
    notes = (_GOES_ON(id=job.id, step=left.step, all=train.total_steps), *told(train, again))
    return await Orders(tools).place(Order(key, person, place, language, again, notes))


async def _key(tools: Tools, number: int) -> str:
    """Of the job that goes on with job `number`, or is to; one that was cancelled is over."""
    key = f"resume:{number}"
    while (before := await tools.store.jobs.by_key(key)) and before.state == "cancelled":
        key = f"{key}:{before.id}"
    return key


async def _after(tools: Tools, number: int) -> Job | None:
    """The job that goes on with job `number` already."""
    return await tools.store.jobs.by_key(await _key(tools, number))


def read(folder: Path) -> Left | None:
    """The newest checkpoint's own words; None where there is none."""
    for path in sorted(folder.glob("checkpoint-*"), reverse=True):
        try:
            state = json.loads((path / "state.json").read_text())
            return Left(int(state["step"]), int(state["batch"]), float(state["schedule"]["base_lrs"][0]))
        except (OSError, ValueError, KeyError, IndexError, TypeError):
            continue
    return None


def changed(train: Train, left: Left, code: str, said: Mapping[str, Any]) -> Train:
    """The training as it goes on: as said, and where nothing is said, with the cause of its failure out of the way.

    A step learns from as many photos as before, in smaller batches; so the result is the same but for rounding.
    """
    batch, rate, saving = said.get("batch"), said.get("learning_rate"), train.gradient_checkpointing
    if code == MEMORY and batch is None:
        batch = max(1, min(left.batch, train.batch) // 2)
        saving = saving or left.batch == 1
    if code == NUMBERS and rate is None:
        rate = left.rate / 2
    whole = train.batch * train.accumulation
    small = next(n for n in range(min(batch or train.batch, whole), 0, -1) if whole % n == 0)
    return dataclasses.replace(
        train,
        batch=small,
        accumulation=whole // small,
        learning_rate=train.learning_rate if rate is None else rate,
        gradient_checkpointing=saving,
    )


def told(before: Train, now: Train) -> list[Words]:
    """What is not as it was."""
    found = []
    if now.batch != before.batch:
        found.append(_BATCH(batch=now.batch, times=now.accumulation))
    if now.gradient_checkpointing and not before.gradient_checkpointing:
        found.append(_SAVING)
    if now.learning_rate != before.learning_rate:
        found.append(_RATE(rate=f"{now.learning_rate:.2g}"))
    return found


_NOTHING = Words(
    "#{id} left no checkpoint to go on from: it failed before its first one, or more than a week ago. Start it again "
    "with “Re-roll” or `/train`.",
    "#{id} 작업에는 이어서 할 체크포인트가 없습니다. 첫 체크포인트 전에 실패했거나 일주일이 지났습니다. "
    "‘다시 만들기’나 `/train` 으로 다시 시작해 주십시오.",
)
_GOES_ON = Words(
    "It goes on with #{id} from step {step} of {all}.",
    "#{id} 작업을 전체 {all}스텝 중 {step}번째 스텝부터 이어서 합니다.",
)
_BATCH = Words(
    "Because memory was short: {batch} photo(s) at once, {times} times a step.",
    "메모리를 아끼기 위해 사진을 {batch}장씩, 한 스텝에 {times}번 나누어 학습합니다.",
)
_SAVING = Words(
    "Because memory was short: gradient checkpointing is on; steps take about a third longer.",
    "메모리를 아끼기 위해 그래디언트 체크포인트를 켰습니다. 스텝마다 약 1/3 더 걸립니다.",
)
_RATE = Words("The learning rate is {rate} from here on.", "여기부터 학습률은 {rate}입니다.")
