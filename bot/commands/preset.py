"""/preset: options one says often, kept by a name; one of them may hold for everything one asks."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

from bot import presets
from bot.commands.command import Command, Tools, listed, say
from bot.locale.markup import code
from bot.talk import Invocation, Message
from engines.fields import job_number
from engines.forms import Form, param
from engines.requests import request_named
from engines.words import Refusal, Words


@dataclass(frozen=True, kw_only=True)
class Preset(Command):
    name: ClassVar[str] = "preset"
    title: ClassVar[Words] = Words("Presets", "프리셋")
    about: ClassVar[Words] = Words(
        "Keep options by a name, and use them again", "자주 쓰는 옵션을 이름으로 저장해 두고 다시 씁니다"
    )
    rest: ClassVar[str] = "options"

    do: str = param(
        "choice",
        Words(
            "save, use (for everything), list or delete",
            "저장(save), 계속 쓰기(use), 목록(list), 삭제(delete)",
        ),
        Words("do", "할일"),
        "list",
        choices=("save", "use", "list", "delete"),
        aliases=("action",),
    )
    preset: str = param(
        "text",
        Words(
            "Its name; `use` without one: none any more", "이름. use에 이름이 없으면 프리셋을 쓰지 않습니다"
        ),
        Words("name", "이름"),
        "",
        high=100,
        aliases=("name",),
    )
    options: str = param(
        "text",
        Words('What to save, e.g. steps:40 sampler:"Euler a"', '저장할 옵션. 예: steps:40 sampler:"Euler a"'),
        Words("options", "옵션"),
        "",
        high=3000,
    )
    job: int = job_number(Words("Save the options of this job of yours", "내 작업 중 이 번호의 옵션을 저장"))

    async def answer(self, tools: Tools, said: Invocation) -> Message:
        acts: dict[str, Callable[[Tools, Invocation, presets.Told], Awaitable[Words]]] = {
            "save": self._save, "use": self._use, "list": self._list, "delete": self._delete,
        }  # fmt: skip
        told = presets.read(self.options)
        if told.said and self.do != "save":
            raise Refusal(_ONLY_SAVE(do=self.do))
        return say(said, await acts[self.do](tools, said, told))

    def _name(self, told: presets.Told) -> str:
        """`/preset use fine` is as good as `/preset use name:fine`."""
        return presets.named(self.preset or told.words)

    async def _save(self, tools: Tools, said: Invocation, told: presets.Told) -> Words:
        name, options = self._name(told), told.said
        if self.preset and told.words:
            raise Refusal(_STRAY(words=code(told.words[:60])))
        if self.job:
            options = {**await self._of_job(tools, said), **options}
        if not options:
            raise Refusal(_NOTHING(name=name))
        store = tools.store.presets
        before = await store.get(said.person.id, name)
        if not await store.save(said.person.id, name, options, presets.MOST):
            raise Refusal(_FULL(most=presets.MOST))
        words = _SAVED if before is None else _REPLACED
        return words(name=code(name), options=presets.printed(options)) + _HOW(name=_said(name))

    async def _of_job(self, tools: Tools, said: Invocation) -> presets.Said:
        job = await tools.store.jobs.get(self.job)
        if job is None or (job.person != said.person.id and not said.person.admin):
            raise Refusal(_NO_JOB(id=self.job))
        try:
            return presets.from_request(request_named(job.command).from_json(job.request))
        except (KeyError, TypeError, ValueError):
            raise Refusal(_NO_JOB(id=self.job)) from None

    async def _use(self, tools: Tools, said: Invocation, told: presets.Told) -> Words:
        asked = (self.preset or told.words).strip().casefold()
        if not asked or asked in presets.NONE:
            await tools.store.people.put(said.person.id, presets.CHOSEN, None)
            return _NO_MORE
        name = self._name(told)
        options = await _found(tools, said.person.id, name)
        await tools.store.people.put(said.person.id, presets.CHOSEN, name)
        return _CHOSEN(name=code(name), options=presets.printed(options))

    async def _list(self, tools: Tools, said: Invocation, told: presets.Told) -> Words:
        mine = await tools.store.presets.of(said.person.id)
        if not mine:
            return _NONE
        chosen = await tools.store.people.get(said.person.id, presets.CHOSEN)
        lines = [
            _LINE(name=name, options=presets.printed(options), used=_IN_USE if name == chosen else "")
            for name, options in mine.items()
        ]
        return listed([*lines, _HOW(name=_said(next(iter(mine))))])

    async def _delete(self, tools: Tools, said: Invocation, told: presets.Told) -> Words:
        name, person = self._name(told), said.person.id
        await _found(tools, person, name)
        await tools.store.presets.delete(person, name)
        if await tools.store.people.get(person, presets.CHOSEN) == name:
            await tools.store.people.put(person, presets.CHOSEN, None)
        return _DELETED(name=code(name))


async def _found(tools: Tools, person: str, name: str) -> presets.Said:
    """The preset's options; `Refusal` with those there are."""
    mine = await tools.store.presets.of(person)
    if name in mine:
        return mine[name]
    there = ", ".join(code(one) for one in mine)
    raise Refusal(_UNKNOWN(name=code(name[:40])) + (_THERE(names=there) if there else _NONE))


async def with_preset(
    tools: Tools, person: str, form: type[Form], values: Mapping[str, Any], complete: bool = False
) -> tuple[dict[str, Any], tuple[Words, ...]]:
    """What was said to a request, with what its preset has beside, and a sentence about that.

    The preset is the one named, else the one in use. Raises `Refusal` for a name that is not known.
    """
    values = dict(values)
    asked = str(values.pop(presets.FIELD, None) or "").strip()
    if asked.casefold() in presets.NONE:
        return values, ()
    if asked:
        name = presets.named(asked)
        options = await _found(tools, person, name)
        filled, told = presets.applied(form, values, name, options, complete=complete)
        return filled, (told,)
    chosen = await tools.store.people.get(person, presets.CHOSEN)
    kept = await tools.store.presets.get(person, chosen) if chosen else None
    if not chosen or not kept:
        return values, ()
    filled, told = presets.applied(form, values, chosen, kept, complete=complete)
    return filled, (told,) if filled != values else ()


def _said(name: str) -> str:
    return f'"{name}"' if " " in name else name


_SAVED = Words("Saved {name}: {options}.", "{name} 프리셋을 저장했습니다: {options}.")
_REPLACED = Words("Replaced {name}: {options}.", "{name} 프리셋을 바꾸었습니다: {options}.")
_HOW = Words(
    "Use it with `preset:{name}`, or for everything with `/preset use {name}`.",
    "`preset:{name}` 으로 한 번 쓰거나 `/preset use {name}` 으로 계속 쓸 수 있습니다.",
)
_CHOSEN = Words(
    "From now on {name} holds for everything you ask: {options}. What you say yourself wins. "
    "`/preset use none` ends that.",
    "이제 모든 요청에 {name} 프리셋을 씁니다: {options}. 직접 적은 값이 우선합니다. `/preset use none` 으로 그만둘 수 있습니다.",
)
_NO_MORE = Words("No preset is used any more unless you name one.", "이제 이름을 적을 때만 프리셋을 씁니다.")
_LINE = Words("`{name}`{used}: {options}", "`{name}`{used}: {options}")
_IN_USE = Words(" (in use)", " (사용 중)")
_NONE = Words(
    "You have no presets yet. `/preset save name:fine steps:40` makes one.",
    "아직 프리셋이 없습니다. `/preset save name:fine steps:40` 처럼 만들 수 있습니다.",
)
_DELETED = Words("Deleted {name}.", "{name} 프리셋을 삭제했습니다.")
_UNKNOWN = Words("You have no preset {name}.", "{name} 프리셋이 없습니다.")
_THERE = Words("There are: {names}.", "있는 프리셋: {names}.")
_NOTHING = Words(
    "What should {name} keep? Say options, for instance `/preset save name:{name} steps:40`, or `job:42`.",
    "{name} 프리셋에 무엇을 저장할까요? `/preset save name:{name} steps:40` 처럼 옵션을 적거나 `job:42` 를 적어 주십시오.",
)
_FULL = Words(
    "You have {most} presets, and more are not kept. `/preset delete` makes room.",
    "프리셋은 {most}개까지 저장할 수 있습니다. `/preset delete` 로 자리를 만들어 주십시오.",
)
_NO_JOB = Words(
    "You have no job #{id}. `/history` lists yours.",
    "내 작업 중에 #{id} 번이 없습니다. `/history` 로 볼 수 있습니다.",
)
_ONLY_SAVE = Words(
    "Options can only be given to `/preset save`, not to `{do}`.",
    "옵션은 `/preset save` 에만 쓸 수 있고 `{do}` 에는 쓸 수 없습니다.",
)
_STRAY = Words(
    "I do not know what {words} belongs to. Options look like `steps:40`.",
    "{words}이(가) 무엇인지 알 수 없습니다. 옵션은 `steps:40` 처럼 적어 주십시오.",
)
