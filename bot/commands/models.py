"""/models: which models there are, what each can do, and under which licence."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from typing import ClassVar

from bot.commands.command import Command, Tools, listed, say
from bot.locale.numbers import size
from bot.talk import Invocation, Message
from engines.catalogue import DEFAULTS, Model
from engines.words import Words


@dataclass(frozen=True, kw_only=True)
class Models(Command):
    name: ClassVar[str] = "models"
    title: ClassVar[Words] = Words("Models", "모델 목록")
    about: ClassVar[Words] = Words(
        "Which models there are, and their licences", "쓸 수 있는 모델과 라이선스를 보여 줍니다"
    )

    async def answer(self, tools: Tools, said: Invocation) -> Message:
        chosen = {**DEFAULTS, **{k: v for k, v in tools.settings.models.items() if v}}
        models = await asyncio.to_thread(tools.models)  # looks at the disk
        if not models:
            return say(said, _NONE)
        lines = [_line(model, [c for c, name in chosen.items() if name == model.name]) for model in models]
        notes = dict.fromkeys(_note(model) for model in models if model.licence_note)
        return say(said, listed([*lines, *notes]))


def _line(model: Model, default_for: list[str]) -> Words:
    return _LINE(
        name=model.name,
        kinds=", ".join(model.kinds),
        licence=_LICENCE(licence=model.licence) if model.licence else "",
        default=_DEFAULT(commands=", ".join(f"/{c}" for c in default_for)) if default_for else "",
        away="" if model.here else _AWAY(size=size(model.size)),
    )


def _note(model: Model) -> Words:
    """One line for each licence, not one for each model."""
    return _NOTE(licence=model.licence, note=model.licence_note or "")


_LINE = Words("`{name}` {kinds}{licence}{default}{away}", "`{name}` {kinds}{licence}{default}{away}")
_LICENCE = Words(" · {licence}", " · {licence}")
_DEFAULT = Words(" · default for {commands}", " · {commands} 기본 모델")
_AWAY = Words(" · downloaded when first used ({size})", " · 처음 쓸 때 내려받습니다 ({size})")
_NOTE = Words("{licence}: {note}", "{licence}: {note}")
_NONE = Words("There is no model yet.", "아직 쓸 수 있는 모델이 없습니다.")
