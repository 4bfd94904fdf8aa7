"""/history: what was asked for before, newest first: searched, shown again, repeated, kept, deleted."""

from __future__ import annotations

import dataclasses
import json
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, ClassVar, get_args

from bot.commands.command import Command, Tools, form_called, listed
from bot.dates import moment
from bot.locale.markup import code, cut, harmless
from bot.locale.numbers import duration
from bot.talk import Action, Button, Invocation, Message, Place, Press
from engines.fields import job_number
from engines.forms import param
from engines.words import Language, Refusal, Words
from storage.history import Entry, Scope, Search, room
from storage.jobs import OPEN

if TYPE_CHECKING:
    from bot.talk import Person

PAGE = 5  # entries; each has a row of buttons
LAST = "history"  # the fact that remembers what a person looked for, for the buttons that turn pages
WHOSE: dict[str, Scope] = {
    **{scope: scope for scope in get_args(Scope)},
    "내것": "mine", "여기": "here", "북마크": "bookmarked", "즐겨찾기": "bookmarked",
}  # fmt: skip
ACTS = ("show", "rerun", "recipe", "bookmark", "delete")


@dataclass(frozen=True, kw_only=True)
class History(Command):
    name: ClassVar[str] = "history"
    title: ClassVar[Words] = Words("My history", "내 기록")
    about: ClassVar[Words] = Words(
        "What you asked for before: search, see, repeat, keep or delete it",
        "지금까지 요청한 작업을 찾아 다시 보거나 다시 실행하고, 북마크하거나 삭제합니다",
    )

    words: str = param(
        "text",
        Words("Words to look for in the prompt", "프롬프트에서 찾을 단어"),
        Words("words", "검색어"),
        "",
        high=200,
    )
    list: str = param(
        "choice",
        Words("Yours, all results posted here, or bookmarked ones", "내 것, 여기에 올라온 결과, 또는 북마크"),
        Words("list", "목록"),
        "mine",
        choices=get_args(Scope),
        aliases=("whose",),
    )
    command: str = param(
        "text", Words("Only this command", "이 명령만"), Words("command", "명령"), "", high=40
    )
    model: str = param(
        "text",
        Words("Only this model, by its full name", "이 모델만 (전체 이름)"),
        Words("model", "모델"),
        "",
        high=200,
    )
    since: str = param(
        "text",
        Words("From this day on: today, 7d, 2026-11-02", "이 날부터: 오늘, 7d, 2026-11-02"),
        Words("from", "부터"),
        "",
        high=40,
        aliases=("from", "after"),
    )
    until: str = param(
        "text",
        Words("Up to this day: yesterday, 7d, 2026-11-02", "이 날까지: 어제, 7d, 2026-11-02"),
        Words("to", "까지"),
        "",
        high=40,
        aliases=("to", "before"),
    )
    page: int = param("int", Words("Which page", "쪽 번호"), Words("page", "쪽"), 1, low=1, high=1000)
    do: str = param(
        "choice",
        Words(
            "What to do with one entry; say its number as job",
            "기록 하나에 할 일 (job에 번호를 적어 주십시오)",
        ),
        Words("do", "할일"),
        "",
        choices=ACTS,
        advanced=True,
    )
    job: int = job_number(
        Words("The number of that entry", "그 기록의 번호"),
        aliases=("id", "number"),
        advanced=True,
    )

    async def answer(self, tools: Tools, said: Invocation) -> Message:
        if self.do or self.job:
            return await self._act(tools, said)
        form = self._tidy()
        if (scope := WHOSE.get(form.words.lower())) is not None:  # `/history bookmarked`
            form = dataclasses.replace(form, list=scope, words="")
        await tools.store.people.put(said.person.id, LAST, json.dumps(form.to_json(), ensure_ascii=False))
        return await found(tools, form, said.person, said.place, said.language)

    def _tidy(self) -> History:
        """`command:inpaint scratch` is a command and a word: what has no spaces ends where one stands."""
        words, changed = [self.words.strip()], {}
        for name in ("command", "model", "since", "until"):
            first, _, rest = getattr(self, name).strip().partition(" ")
            changed[name] = first
            words.append(rest.strip())
        return dataclasses.replace(self, words=" ".join(word for word in words if word), **changed)

    async def _act(self, tools: Tools, said: Invocation) -> Message:
        """What a button under an entry does, said in words."""
        if not self.job or tools.press is None:
            raise Refusal(_WHICH(do=self.do))
        press = Press(said.key, said.person, said.place, said.language, self.do or "show", self.job)
        return await tools.press(press)


def _command(tools: Tools, said: str) -> str:
    """A command by any of its names, as it is stored; what is none is looked for as it was said."""
    try:
        return form_called(said, tools.forms).name if said else ""
    except Refusal:
        return said.strip().lstrip("/").lower()


async def turned(tools: Tools, press: Press) -> Message:
    """Another page of what the person looked for last; the button's index is the page."""
    last = await tools.store.people.get(press.person.id, LAST)
    form = History.from_json(json.loads(last)) if last else History()
    form = dataclasses.replace(form, page=max(press.index, 1))
    return await found(tools, form, press.person, press.place, press.language)


async def found(tools: Tools, form: History, person: Person, place: Place, language: Language) -> Message:
    """One page, with buttons for every entry and for turning the page. Raises `Refusal` for a date that is none."""
    now = tools.clock()
    search = Search(
        person.id,
        WHOSE[form.list],
        room(place.to_json()),
        words=form.words,
        command=_command(tools, form.command),
        model=form.model,
        since=moment(form.since, now) if form.since else None,
        until=moment(form.until, now, end=True) if form.until else None,
    )
    entries = await tools.store.history.find(search, limit=PAGE + 1, offset=(form.page - 1) * PAGE)
    if not entries:
        return Message("said", _nothing(form).of(language))
    more = len(entries) > PAGE
    lines = [_line(entry, search.scope == "here") for entry in entries[:PAGE]]
    text = listed([*lines, *([_NEXT(page=form.page + 1)] if more else [])])
    buttons = [b for entry in entries[:PAGE] for b in _buttons(entry, person, language)]
    pages = ([form.page - 1] if form.page > 1 else []) + ([form.page + 1] if more else [])
    buttons += [Button("page", 0, _PAGE(page=page).of(language), page) for page in pages]
    facts = {"jobs": [entry.id for entry in entries[:PAGE]], "page": form.page, "more": more}
    return Message("said", text.of(language), buttons=tuple(buttons), facts=facts)


def _nothing(form: History) -> Words:
    if form.page > 1:
        return _NO_MORE(page=form.page)
    if form.words or form.command or form.model or form.since or form.until:
        return _NOT_FOUND
    return _EMPTY[WHOSE[form.list]]


def _line(entry: Entry, named: bool) -> Words:
    prompt = cut(str(entry.request.get("prompt") or ""), 60)
    state = _STATES.get(entry.state, _STATES["done"])
    if entry.state == "done":
        state = _DONE(time=duration(entry.seconds or 0.0)) if entry.results else _LET_GO
    return _LINE(
        id=entry.id,
        command=entry.command,
        star=" ★" if entry.bookmarked else "",
        name=f" · {harmless(cut(entry.name, 40))}" if named else "",
        state=state,
        date=datetime.fromtimestamp(entry.created).strftime("%Y-%m-%d %H:%M"),
        prompt=f" {code(prompt)}" if prompt else "",
    )


def _buttons(entry: Entry, person: Person, language: Language) -> list[Button]:
    """Always five, so that on Discord each entry has a row of its own."""
    mine = entry.person == person.id or person.admin
    last: Action = "use" if not mine else "cancel" if entry.state in OPEN else "delete"
    acts: tuple[Action, ...] = ("show", "rerun", "recipe", "bookmark", last)
    return [
        Button(
            act,
            entry.id,
            (_FORGET if act == "bookmark" and entry.bookmarked else LABELS[act])(id=entry.id).of(language),
            danger=act in ("delete", "cancel"),
        )
        for act in acts
    ]


LABELS: dict[Action, Words] = {
    "show": Words("Show #{id}", "#{id} 보기"),
    "rerun": Words("Re-run #{id}", "#{id} 다시 실행"),
    "recipe": Words("Recipe #{id}", "#{id} 레시피"),
    "bookmark": Words("Bookmark #{id}", "#{id} 북마크"),
    "delete": Words("Delete #{id}", "#{id} 삭제"),
    "cancel": Words("Cancel #{id}", "#{id} 취소"),
    "use": Words("Use #{id} as input", "#{id} 입력으로 쓰기"),
}
_FORGET = Words("Unbookmark #{id}", "#{id} 북마크 해제")
_PAGE = Words("Page {page}", "{page}쪽")
_LINE = Words(
    "#{id} {command}{star}{name} · {state} · {date}{prompt}",
    "#{id} {command}{star}{name} · {state} · {date}{prompt}",
)
_DONE = Words("done in {time}", "완료 ({time})")
_LET_GO = Words("done, results no longer stored", "완료, 결과는 보관 기간이 지남")
_STATES = {
    "queued": Words("waiting", "대기 중"),
    "running": Words("running", "실행 중"),
    "done": Words("done", "완료"),
    "paused": Words("paused", "일시정지"),
    "failed": Words("failed", "실패"),
    "cancelled": Words("cancelled", "취소됨"),
}
_EMPTY = {
    "mine": Words("You have not asked for anything yet.", "아직 요청하신 작업이 없습니다."),
    "here": Words("Nothing was asked for here yet.", "아직 여기에서 요청된 작업이 없습니다."),
    "bookmarked": Words(
        "You have no bookmarks yet. The button “Bookmark” under an entry of `/history` keeps it.",
        "아직 북마크가 없습니다. `/history` 목록에서 “북마크” 버튼으로 남길 수 있습니다.",
    ),
}
_NOT_FOUND = Words("No job fits this search.", "검색에 맞는 작업이 없습니다.")
_NO_MORE = Words("There is no page {page}.", "{page}쪽은 없습니다.")
_NEXT = Words("More: `page:{page}`", "다음: `page:{page}`")
_WHICH = Words(
    "Which one? Say its number, for instance `/history do:{do} job:42`.",
    "어느 작업입니까? `/history do:{do} job:42` 처럼 번호를 적어 주십시오.",
)
