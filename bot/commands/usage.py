"""/usage: what was made by oneself, a department or all: by day, by command, by model."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

from bot import quotas
from bot.admission import queue_of
from bot.commands.command import Command, Tools, listed
from bot.locale.markup import block, code, cut
from bot.talk import File, Invocation, Message
from bot.usage_picture import draw, range_of
from engines.forms import param
from engines.words import Refusal, Words
from storage.usage import Line, Whose

MODELS = 8  # listed
WHOSE: dict[str, Whose] = {"me": "person", "department": "department", "all": "all"}


@dataclass(frozen=True, kw_only=True)
class Usage(Command):
    name: ClassVar[str] = "usage"
    title: ClassVar[Words] = Words("Usage", "사용량")
    about: ClassVar[Words] = Words(
        "Pictures and computing time by day, command and model",
        "날짜, 명령, 모델별로 그림 수와 연산 시간을 보여 줍니다",
    )

    whose: str = param(
        "choice",
        Words("Yours, your department's, or everybody's (admins)", "내 사용량, 부서, 또는 전체 (관리자)"),
        Words("whose", "대상"),
        "me",
        choices=tuple(WHOSE),
    )
    days: int = param(
        "int", Words("How many days back", "최근 며칠"), Words("days", "일수"), 30, low=1, high=366
    )
    department: str = param(
        "text",
        Words("Another department than yours (admins)", "다른 부서 (관리자)"),
        Words("department", "부서"),
        "",
        high=100,
        advanced=True,
    )

    async def answer(self, tools: Tools, said: Invocation) -> Message:
        whose = "department" if self.department and self.whose == "me" else self.whose
        who = self._who(whose, tools, said)
        days = range_of(self.days, quotas.day(tools.clock()))
        lines = await tools.store.usage.of(WHOSE[whose], who, days[0])
        head = _HEADS[whose](n=self.days, name=code(cut(who, 60)) if whose == "department" else "")
        told = await _standing(tools, said) if whose == "me" else []
        facts = {"jobs": sum(x.jobs for x in lines), "pictures": sum(x.pictures for x in lines),
                 "seconds": sum(x.seconds for x in lines)}  # fmt: skip
        if not lines:
            return Message("said", listed([head, _NOTHING, *told]).of(said.language), facts=facts)
        total = _TOTAL(jobs=facts["jobs"], n=facts["pictures"], minutes=_minutes(facts["seconds"]))
        text = listed([head, total, _table(lines), *told]).of(said.language)
        picture = await asyncio.to_thread(draw, lines, days, said.language)
        path = tools.store.blobs.path(await tools.store.blobs.put(picture))
        file = File(path, "usage.png", total.of(said.language))
        return Message("said", text, files=(file,), facts=facts)

    def _who(self, whose: str, tools: Tools, said: Invocation) -> str:
        """The id the lines are kept under. Raises `Refusal` where that is not theirs to see."""
        person = said.person
        if whose == "all":
            if not person.admin:
                raise Refusal(_ADMINS)
            return ""
        if whose == "me":
            return person.id
        wanted = self.department.strip() or person.department
        if wanted != person.department and not person.admin:
            raise Refusal(_NOT_YOURS)
        if not wanted:
            names = ", ".join(code(d.name) for d in tools.settings.departments)
            raise Refusal(_WHICH(names=names) if person.admin and names else _NO_DEPARTMENT)
        return wanted


async def _standing(tools: Tools, said: Invocation) -> list[Words]:
    """What is used of today's quotas, where there are any."""
    person, settings, now = said.person, tools.settings, tools.clock()
    if person.admin:
        return []
    midnight, day = quotas.midnight(now), quotas.day(now)
    used = await tools.store.usage.today("person", person.id, midnight, day)
    quota = quotas.quota_of(person.roles, settings.roles, settings.everyone)
    told = quotas.standing(quota, quotas.Used(used.jobs, used.seconds), now)
    told.append(_OPEN(open=used.open, limit=queue_of(person, settings)))
    if person.department:
        ours = await tools.store.usage.today("department", person.department, midnight, day)
        quota = settings.department(person.department).quota
        told += quotas.standing(quota, quotas.Used(ours.jobs, ours.seconds), now, person.department)
    return told


def _table(lines: Sequence[Line]) -> Words:
    """By command and by model, in columns."""
    rows = [("command", "jobs", "pictures", "min"), *_rows(lines, "command")]
    models = _rows(lines, "model")[:MODELS]
    korean = {"command": "명령", "model": "모델", "jobs": "작업", "pictures": "그림", "min": "분"}
    texts = []
    for names in ({}, korean):
        all_rows = [*rows, ("model", "", "", ""), *models]
        heads = (0, len(rows))
        said = [
            tuple(names.get(cell, cell) for cell in row) if i in heads else row
            for i, row in enumerate(all_rows)
        ]
        texts.append(block("\n".join(_row(row) for row in said)))
    return Words(*texts)


def _row(cells: Sequence[str]) -> str:
    name, *numbers = cells
    return (f"{cut(name, 30):<30}" + "".join(f"{number:>9}" for number in numbers)).rstrip()


def _rows(lines: Sequence[Line], key: str) -> list[tuple[str, str, str, str]]:
    jobs, pictures, seconds = Counter[str](), Counter[str](), dict[str, float]()
    for line in lines:
        name = str(getattr(line, key)) or "–"
        jobs[name] += line.jobs
        pictures[name] += line.pictures
        seconds[name] = seconds.get(name, 0.0) + line.seconds
    ranked = sorted(jobs, key=lambda name: (-pictures[name], name))
    return [(name, str(jobs[name]), str(pictures[name]), _minutes(seconds[name])) for name in ranked]


def _minutes(seconds: float) -> str:
    return f"{seconds / 60:.1f}"


_HEADS = {
    "me": Words("**Your usage, last {n} days**", "**최근 {n}일 내 사용량**"),
    "department": Words("**Usage of {name}, last {n} days**", "**최근 {n}일 {name} 부서 사용량**"),
    "all": Words("**Everybody's usage, last {n} days**", "**최근 {n}일 전체 사용량**"),
}
_TOTAL = Words(
    "Pictures: {n} · jobs: {jobs} · minutes on a device: {minutes}",
    "그림 {n}장 · 작업 {jobs}개 · 장치 사용 {minutes}분",
)
_NOTHING = Words("Nothing was made.", "만든 것이 없습니다.")
_OPEN = Words(
    "Jobs waiting or running: {open} of at most {limit}.",
    "대기 중이거나 실행 중인 작업: {open}개 (최대 {limit}개).",
)
_ADMINS = Words(
    "Only administrators see everybody's usage. `/usage` shows yours.",
    "전체 사용량은 관리자만 볼 수 있습니다. `/usage` 로 내 사용량을 볼 수 있습니다.",
)
_NOT_YOURS = Words(
    "Only administrators see the usage of other departments.", "다른 부서의 사용량은 관리자만 볼 수 있습니다."
)
_NO_DEPARTMENT = Words(
    "You are in no department; an administrator can name departments in the configuration.",
    "소속된 부서가 없습니다. 부서는 관리자가 설정에서 정할 수 있습니다.",
)
_WHICH = Words("Which department? There are: {names}.", "어느 부서입니까? 있는 부서: {names}.")
