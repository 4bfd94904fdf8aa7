"""/help: what can be asked, drawn from the forms themselves."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

from bot.commands.command import Command, Tools, form_called, listed, say
from bot.talk import Invocation, Message
from engines.forms import Form, Param, param
from engines.words import Words, alike, joined


@dataclass(frozen=True, kw_only=True)
class Help(Command):
    name: ClassVar[str] = "help"
    title: ClassVar[Words] = Words("Help", "도움말")
    about: ClassVar[Words] = Words("What can be asked here", "쓸 수 있는 명령을 보여 줍니다")

    command: str = param(
        "text",
        Words("A command, to see all its options", "옵션을 자세히 볼 명령"),
        Words("command", "명령"),
        "",
        high=40,
    )

    async def answer(self, tools: Tools, said: Invocation) -> Message:
        if not self.command:
            return say(said, overview(tools.forms))
        return say(said, page(form_called(self.command, tools.forms)))


def overview(forms: Sequence[type[Form]]) -> Words:
    """All commands, a line each, and an example."""
    lines = [_LINE(name=form.name, about=form.about) for form in forms]
    return listed([_HEAD, *lines, _EXAMPLE, _MORE])


def page(form: type[Form]) -> Words:
    """One command with all its options, a line each."""
    defaults = {f.name: f.default for f in dataclasses.fields(form)}
    lines = [_option(name, p, defaults[name]) for name, p in form.params().items()]
    return listed([_TITLE(name=form.name, about=form.about), *lines])


def _option(name: str, p: Param, default: Any) -> Words:
    facts: list[Words] = []
    if p.required:
        facts.append(_REQUIRED)
    if p.kind in ("int", "float") and p.low is not None and p.high is not None:
        facts.append(alike(f"≥ {p.low:.15g}" if p.endless else f"{p.low:.15g}–{p.high:.15g}"))
    if p.kind == "choice":
        facts.append(alike(", ".join(p.choices)))
    if not p.required and default not in (None, ""):
        shown = (_YES if default else _NO) if isinstance(default, bool) else alike(str(default))
        facts.append(_DEFAULT(value=shown))
    told = _FACTS(facts=joined(facts, ", ")) if facts else alike("")
    return _OPTION(name=name, help=p.help, facts=told)


_HEAD = Words("**What you can ask**", "**쓸 수 있는 명령**")
_LINE = Words("`/{name}` {about}", "`/{name}` {about}")
_EXAMPLE = Words(
    'For example: `/txt2img "a photo of a metal nut with a scratch" seed:7`',
    '예: `/txt2img "a photo of a metal nut with a scratch" seed:7`',
)
_MORE = Words(
    "`/help inpaint` shows all options of a command.",
    "`/help inpaint` 처럼 쓰면 그 명령의 모든 옵션을 볼 수 있습니다. 명령과 옵션 이름은 한국어로 적어도 됩니다: "
    "`/작업취소 3`, `스텝:20`",
)
_TITLE = Words("**/{name}** {about}", "**/{name}** {about}")
_OPTION = Words("`{name}` {help}{facts}", "`{name}` {help}{facts}")
_FACTS = Words(" ({facts})", " ({facts})")
_REQUIRED = Words("needed", "필수")
_DEFAULT = Words("default {value}", "기본값 {value}")
_YES = Words("yes", "예")
_NO = Words("no", "아니요")
