"""/history: what one asked for before, newest first, with search."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from bot.commands.command import Command, Tools, listed, say
from bot.locale.markup import code, cut
from bot.locale.numbers import duration
from bot.talk import Invocation, Message
from engines.forms import param
from engines.words import Words

if TYPE_CHECKING:
    from storage.jobs import Job

PAGE = 10


@dataclass(frozen=True, kw_only=True)
class History(Command):
    name: ClassVar[str] = "history"
    title: ClassVar[Words] = Words("My history", "내 기록")
    about: ClassVar[Words] = Words("What you asked for before", "지금까지 요청한 작업을 보여 줍니다")

    words: str = param(
        "text",
        Words("Words to look for in the prompt", "프롬프트에서 찾을 단어"),
        Words("words", "검색어"),
        "",
        high=200,
    )
    page: int = param("int", Words("Which page", "쪽 번호"), Words("page", "쪽"), 1, low=1, high=100)

    async def answer(self, tools: Tools, said: Invocation) -> Message:
        upto = self.page * PAGE
        jobs = await tools.store.jobs.of(said.person.id, words=self.words, limit=upto + 1)
        page = jobs[upto - PAGE : upto]
        if not page:
            return say(said, _NO_MORE(page=self.page) if jobs else _NOT_FOUND if self.words else _EMPTY)
        more = [_NEXT(page=self.page + 1)] if len(jobs) > upto else []
        return say(said, listed([*(_line(job) for job in page), *more]))


def _line(job: Job) -> Words:
    prompt = cut(str(job.request.get("prompt", "")), 60)
    took = _TOOK(time=duration(job.seconds)) if job.state == "done" and job.seconds else ""
    return _LINE(
        id=job.id,
        command=job.command,
        state=_STATES.get(job.state, ""),
        took=took,
        prompt=code(prompt) if prompt else "",
    )


_LINE = Words("#{id} {command} · {state}{took} {prompt}", "#{id} {command} · {state}{took} {prompt}")
_TOOK = Words(" in {time}", " ({time})")
_STATES = {
    "queued": Words("waiting", "대기 중"),
    "running": Words("running", "실행 중"),
    "done": Words("done", "완료"),
    "failed": Words("failed", "실패"),
    "cancelled": Words("cancelled", "취소됨"),
}
_EMPTY = Words("You have not asked for anything yet.", "아직 요청하신 작업이 없습니다.")
_NOT_FOUND = Words("None of your jobs has these words.", "그 단어가 들어간 작업이 없습니다.")
_NO_MORE = Words("There is no page {page}.", "{page}쪽은 없습니다.")
_NEXT = Words("More: `page:{page}`", "다음: `page:{page}`")
