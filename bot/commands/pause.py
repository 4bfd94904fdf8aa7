"""/pause and /resume: a training that gives way for as long as its owner likes, and goes on where it was.

/resume also goes on with one that failed, as a new job (`bot.training.again`).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

from bot.commands.command import Command, Tools, say
from bot.talk import Invocation, Message, Person, Press
from engines.fields import job_number
from engines.forms import param
from engines.words import Refusal, Words

if TYPE_CHECKING:
    from storage.jobs import Job

PAUSABLE = ("train",)  # what goes on from a checkpoint


@dataclass(frozen=True, kw_only=True)
class Pause(Command):
    name: ClassVar[str] = "pause"
    title: ClassVar[Words] = Words("Pause a training", "학습 일시정지")
    about: ClassVar[Words] = Words(
        "Halt one of your trainings; /resume goes on with it", "내 학습을 멈춥니다. /resume 로 이어서 합니다"
    )

    job: int = job_number(
        Words("The training's number; empty = your newest", "학습 번호 (비우면 가장 최근 학습)"),
        aliases=("id", "number"),
    )

    async def answer(self, tools: Tools, said: Invocation) -> Message:
        number = self.job or await _newest(tools, said.person, ("running", "queued"))
        return say(said, await pause(tools, said.person, number))


@dataclass(frozen=True, kw_only=True)
class Resume(Command):
    name: ClassVar[str] = "resume"
    title: ClassVar[Words] = Words("Resume a training", "학습 계속")
    about: ClassVar[Words] = Words(
        "Go on with a training that was paused or that failed",
        "일시정지했거나 실패한 학습을 이어서 합니다",
    )

    job: int = job_number(
        Words("The training's number; empty = your newest", "학습 번호 (비우면 가장 최근 학습)"),
        aliases=("id", "number"),
    )

    batch: int | None = param(
        "int",
        Words("After a failure: photos at once", "실패한 학습: 한 번에 학습할 사진 수"),
        Words("batch", "배치"),
        None,
        low=1,
        high=32,
    )
    learning_rate: float | None = param(
        "float",
        Words("After a failure: another learning rate", "실패한 학습: 새 학습률"),
        Words("learning rate", "학습률"),
        None,
        low=1e-8,
        high=0.1,
        aliases=("lr",),
    )

    async def answer(self, tools: Tools, said: Invocation) -> Message:
        number = self.job or await _newest(tools, said.person, ("paused", "failed"))
        changes = {"batch": self.batch, "learning_rate": self.learning_rate}
        return await resumed(tools, said, number, changes)


async def pause(tools: Tools, person: Person, number: int) -> Words:
    """Halt training `number` for `person` and say so. Raises `Refusal`.

    The row changes first, so that nobody claims it again; then the device is told, and it writes a checkpoint.
    """
    await _check(tools, person, number)
    if await tools.store.jobs.pause(number) is None:
        raise Refusal(_NOT_RUNNING(id=number))
    tools.dispatcher.pause(number)
    return _PAUSED(id=number)


async def resumed(
    tools: Tools, said: Invocation | Press, number: int, changes: Mapping[str, Any] | None = None
) -> Message:
    """Let training `number` go on, paused or failed. Raises `Refusal`."""
    from bot.training.again import go_on  # which places orders, whose commands these are

    changes = {name: value for name, value in (changes or {}).items() if value is not None}
    job = await _check(tools, said.person, number)
    if job.state == "failed":
        return await go_on(tools, job, said.person, said.place, said.language, changes)
    if changes:
        raise Refusal(_AS_IT_WAS(id=number))
    words = await resume(tools, said.person, number)
    return Message("said", words.of(said.language))


async def resume(tools: Tools, person: Person, number: int) -> Words:
    """Let paused training `number` go on. Raises `Refusal`."""
    await _check(tools, person, number)
    if await tools.store.jobs.resume(number) is None:
        raise Refusal(_NOT_PAUSED(id=number))
    tools.dispatcher.wake()
    tools.dispatcher.news(number)
    return _RESUMED(id=number)


async def _check(tools: Tools, person: Person, number: int) -> Job:
    job = await tools.store.jobs.get(number)
    if job is None:
        raise Refusal(_UNKNOWN(id=number))
    if job.person != person.id and not person.admin:
        raise Refusal(_NOT_YOURS(id=number))
    if job.command not in PAUSABLE:
        raise Refusal(_NO_TRAINING(id=number))
    return job


async def _newest(tools: Tools, person: Person, states: tuple[str, ...]) -> int:
    mine = await tools.store.jobs.of(person.id, states=states, limit=50)
    found = next((job.id for job in mine if job.command in PAUSABLE), 0)
    if not found:
        raise Refusal(_NONE)
    return found


_NONE = Words("You have no such training.", "해당하는 학습이 없습니다.")
_UNKNOWN = Words(
    "There is no job #{id}. `/jobs` lists yours.",
    "#{id} 작업이 없습니다. `/jobs` 로 내 작업을 볼 수 있습니다.",
)
_NOT_YOURS = Words(
    "Job #{id} belongs to someone else; only they or an admin can pause it.",
    "#{id} 작업은 다른 사람의 작업이므로 본인이나 관리자만 멈출 수 있습니다.",
)
_NO_TRAINING = Words(
    "Only trainings can be paused; #{id} is none. `/cancel {id}` stops it.",
    "학습만 일시정지할 수 있습니다. #{id} 작업은 `/cancel {id}` 로 취소할 수 있습니다.",
)
_NOT_RUNNING = Words("#{id} neither runs nor waits.", "#{id} 작업은 실행 중이거나 대기 중이 아닙니다.")
_NOT_PAUSED = Words(
    "#{id} is neither paused nor failed.", "#{id} 작업은 일시정지되었거나 실패한 상태가 아닙니다."
)
_AS_IT_WAS = Words(
    "#{id} did not fail, so it goes on as it was: `/resume {id}` without other options.",
    "#{id} 작업은 실패한 것이 아니므로 설정을 바꿀 수 없습니다. 다른 옵션 없이 `/resume {id}` 를 입력해 주십시오.",
)
_PAUSED = Words(
    "Paused #{id}; `/resume {id}` goes on where it was.",
    "#{id} 작업을 일시정지했습니다. `/resume {id}` 로 이어서 합니다.",
)
_RESUMED = Words("#{id} goes on.", "#{id} 작업을 이어서 합니다.")
