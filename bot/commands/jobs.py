"""/jobs: one's own jobs that wait or run."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from bot.answers.replies import waiting
from bot.commands.command import Command, Tools, listed, say
from bot.locale.markup import code, cut
from bot.locale.numbers import duration
from bot.talk import Invocation, Message
from engines.words import Words
from storage.jobs import OPEN

if TYPE_CHECKING:
    from storage.jobs import Job

SHOWN = 20


@dataclass(frozen=True, kw_only=True)
class Jobs(Command):
    name: ClassVar[str] = "jobs"
    title: ClassVar[Words] = Words("My jobs", "내 작업")
    about: ClassVar[Words] = Words(
        "Your jobs that wait or run", "대기 중이거나 실행 중인 내 작업을 보여 줍니다"
    )

    async def answer(self, tools: Tools, said: Invocation) -> Message:
        jobs = await tools.store.jobs.of(said.person.id, states=OPEN, limit=SHOWN)
        if not jobs:
            return say(said, _NONE)
        lines = [await self._line(tools, job) for job in reversed(jobs)]
        return say(said, listed([*lines, _HOW]))

    async def _line(self, tools: Tools, job: Job) -> Words:
        if job.state == "running":
            where = _RUNNING(time=duration(max(0.0, tools.clock() - (job.started or job.created))))
            if wait := await tools.wait(job.id):
                where = where + _LEFT(time=wait)
        elif job.state == "paused":
            where = _PAUSED
        else:
            where = waiting(await tools.store.jobs.ahead(job.id), await tools.wait(job.id))
        prompt = cut(str(job.request.get("prompt", "")), 60)
        return _LINE(id=job.id, command=job.command, where=where, prompt=code(prompt) if prompt else "")


_NONE = Words("You have no jobs waiting or running.", "대기 중이거나 실행 중인 작업이 없습니다.")
_LINE = Words("#{id} {command} · {where} {prompt}", "#{id} {command} · {where} {prompt}")
_PAUSED = Words("paused", "일시정지")
_RUNNING = Words("running for {time}", "{time}째 실행 중")
_LEFT = Words("· done in {time}", "· 완료까지 {time}")
_HOW = Words("`/cancel 42` stops job #42.", "`/cancel 42` 처럼 쓰면 42번 작업을 취소합니다.")
