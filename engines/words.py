"""Sentences for people, always in both languages, and the exception that carries one."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, Literal

Language = Literal["en", "ko"]
LANGUAGES: tuple[Language, ...] = ("en", "ko")


@dataclass(frozen=True, slots=True)
class Words:
    """One sentence in English and Korean. Having both is a matter of type, not of discipline.

    `Words("{n} jobs", "작업 {n}개")(n=3)` fills both templates; a value that is itself `Words`
    is put in by language.
    """

    en: str
    ko: str

    def __call__(self, **values: Any) -> Words:
        return Words(*(_fill(getattr(self, lang), lang, values) for lang in LANGUAGES))

    def of(self, language: str) -> str:
        """The sentence in `language`; English for a language we do not speak."""
        return self.ko if language == "ko" else self.en

    def __add__(self, other: Words) -> Words:
        """Two sentences, one after the other."""
        return Words(f"{self.en} {other.en}", f"{self.ko} {other.ko}")


def joined(parts: Iterable[Words], between: str) -> Words:
    """Several in one, `between` each two."""
    parts = list(parts)
    return Words(*(between.join(part.of(language) for part in parts) for language in LANGUAGES))


def alike(text: str) -> Words:
    """What reads the same in every language: a name, a number, a bar."""
    return Words(text, text)


def dotted(parts: Iterable[Words]) -> Words:
    """Facts in one line, a dot between them."""
    return joined(parts, " · ")


def _fill(template: str, language: str, values: dict[str, Any]) -> str:
    return template.format(
        **{key: value.of(language) if isinstance(value, Words) else value for key, value in values.items()}
    )


class Refusal(Exception):
    """A polite no: what is wrong, what is allowed, what to do. Anything else raised is a bug."""

    def __init__(self, words: Words) -> None:
        super().__init__(words.en)
        self.words = words

    def __reduce__(self) -> tuple[type[Refusal], tuple[Words]]:
        """From one process to another: whole, not by its English text."""
        return type(self), (self.words,)
