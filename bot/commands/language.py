"""/language: the language the studio speaks to someone."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from bot.commands.command import Command, Tools, say
from bot.talk import Invocation, Message
from engines.forms import param
from engines.words import LANGUAGES, Words


@dataclass(frozen=True, kw_only=True)
class SetLanguage(Command):
    name: ClassVar[str] = "language"
    title: ClassVar[Words] = Words("Language", "언어")
    about: ClassVar[Words] = Words("The language I speak to you", "저와 대화할 언어를 정합니다")

    language: str = param(
        "choice",
        Words("en, ko, or auto = as your chat program", "en, ko 또는 auto (채팅 프로그램 설정을 따름)"),
        Words("language", "언어"),
        "",
        choices=(*LANGUAGES, "auto"),
    )

    async def answer(self, tools: Tools, said: Invocation) -> Message:
        if not self.language:
            return say(said, _NOW)
        chosen = "" if self.language == "auto" else self.language
        await tools.store.people.set_language(said.person.id, chosen)
        words = _SET if chosen else _AUTO
        return Message("said", words.of(chosen or said.language))


_NOW = Words(
    "I speak English to you. `/language ko` changes that.",
    "지금은 한국어로 답하고 있습니다. `/language en` 으로 바꿀 수 있습니다.",
)
_SET = Words("I will speak English to you.", "앞으로 한국어로 답하겠습니다.")
_AUTO = Words(
    "I will follow the language of your chat program.", "앞으로 채팅 프로그램의 언어 설정을 따르겠습니다."
)
