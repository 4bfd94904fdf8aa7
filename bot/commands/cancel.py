"""/cancel: stop a job that waits or runs; one's own, or anybody's for an admin."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from bot.commands.command import Command, Tools, say
from bot.talk import Invocation, Message, Person
from engines.fields import job_number
from engines.words import Refusal, Words
from storage.jobs import OPEN

if TYPE_CHECKING:
    from storage.jobs import Job


@dataclass(frozen=True, kw_only=True)
class Cancel(Command):
    name: ClassVar[str] = "cancel"
    title: ClassVar[Words] = Words("Cancel a job", "작업 취소")
    about: ClassVar[Words] = Words(
        "Stop one of your jobs; without a number, the newest",
        "내 작업을 취소합니다 (번호가 없으면 가장 최근 작업)",
    )

    job: int = job_number(
        Words("The job's number; empty = your newest", "작업 번호 (비우면 가장 최근 작업)"),
        aliases=("id", "number"),
    )

    async def answer(self, tools: Tools, said: Invocation) -> Message:
        if self.job:
            return say(said, await cancel(tools, said.person, self.job))
        mine = await tools.store.jobs.of(said.person.id, states=OPEN, limit=1)
        if not mine:
            raise Refusal(_NONE)
        return say(said, await cancel(tools, said.person, mine[0].id))


async def cancel(tools: Tools, person: Person, number: int) -> Words:
    """Cancel job `number` for `person` and say so; `Refusal` where that is not theirs to do or too late.

    The row changes first: from then on no result is recorded. Then the device is told to stop.
    """
    job = await tools.store.jobs.get(number)
    if job is None:
        raise Refusal(_UNKNOWN(id=number))
    if job.person != person.id and not person.admin:
        raise Refusal(_NOT_YOURS(id=number))
    cancelled = await tools.store.jobs.cancel(number, now=tools.clock())
    if cancelled is None:
        return await _already(tools, job)
    tools.dispatcher.cancel(number)
    tools.outbox.wake()
    return _CANCELLED(id=number)


async def _already(tools: Tools, before: Job) -> Words:
    job = await tools.store.jobs.get(before.id) or before
    return _OVER[job.state](id=job.id) if job.state in _OVER else _UNKNOWN(id=job.id)


_NONE = Words("You have no job to cancel.", "취소할 작업이 없습니다.")
_UNKNOWN = Words(
    "There is no job #{id}. `/jobs` lists yours.",
    "#{id} 작업이 없습니다. `/jobs` 로 내 작업을 볼 수 있습니다.",
)
_NOT_YOURS = Words(
    "Job #{id} belongs to someone else; only they or an admin can cancel it.",
    "#{id} 작업은 다른 사람의 작업이므로 본인이나 관리자만 취소할 수 있습니다.",
)
_CANCELLED = Words("Cancelled #{id}.", "#{id} 작업을 취소했습니다.")
_OVER = {
    "done": Words("#{id} is already done.", "#{id} 작업은 이미 끝났습니다."),
    "failed": Words("#{id} has already failed.", "#{id} 작업은 이미 실패로 끝났습니다."),
    "cancelled": Words("#{id} is already cancelled.", "#{id} 작업은 이미 취소되었습니다."),
}
