"""/models: which models there are, what each can do, and under which licence."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from bot.commands.command import Command, Tools, say
from bot.talk import Invocation, Message
from engines.words import LANGUAGES, Words

if TYPE_CHECKING:
    from engines.catalogue import Model


@dataclass(frozen=True, kw_only=True)
class Models(Command):
    name: ClassVar[str] = "models"
    title: ClassVar[Words] = Words("Models", "모델 목록")
    about: ClassVar[Words] = Words(
        "Which models there are, and their licences", "쓸 수 있는 모델과 라이선스를 보여 줍니다"
    )

    async def answer(self, tools: Tools, said: Invocation) -> Message:
        defaults = tools.settings.models
        lines = [
            _line(model, [c for c, name in defaults.items() if name == model.name])
            for model in tools.models()
        ]
        if not lines:
            return say(said, _NONE)
        return say(said, Words(*("\n".join(line.of(lang) for line in lines) for lang in LANGUAGES)))


def _line(model: Model, default_for: list[str]) -> Words:
    default = _DEFAULT(commands=", ".join(f"/{c}" for c in default_for)) if default_for else ""
    note = model.licence_note if model.licence_note else ""
    return _LINE(
        name=model.name,
        kinds=", ".join(sorted(model.kinds)),
        licence=model.licence,
        default=default,
        note=note,
    )


_LINE = Words("`{name}` {kinds} · {licence}{default} {note}", "`{name}` {kinds} · {licence}{default} {note}")
_DEFAULT = Words(" · default for {commands}", " · {commands} 기본 모델")
_NONE = Words("There is no model yet.", "아직 쓸 수 있는 모델이 없습니다.")
