"""Sentences about many: each once, with the names of those it is about, and no more than a person reads."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from bot.locale.markup import cut
from bot.many.part_files import Made
from engines.words import Words, joined

NAMED = 10  # failures told by name; the rest are counted
GROUPS = 5  # further sentences
SHORT = 60  # characters of a name


def by_name(said: Sequence[tuple[str, Words]], most: int = NAMED) -> list[Words]:
    """One line for each name with what is wrong with it, `most` of them, then a count."""
    lines = [_ABOUT(name=cut(name, SHORT), why=why) for name, why in said[:most]]
    return [*lines, *([_MORE(n=len(said) - most)] if len(said) > most else [])]


def grouped(said: Iterable[tuple[str, Words]], all: int) -> tuple[Words, ...]:
    """The sentences, each once: plain where it is true of all, else with the names it is about."""
    about: dict[Words, list[str]] = {}
    for name, words in said:
        about.setdefault(words, []).append(name)
    told = [
        words if len(names) == all else _ABOUT(name=_listed(names), why=words)
        for words, names in about.items()
    ]
    return tuple([*told[:GROUPS], *([_NOTES(n=len(told) - GROUPS)] if len(told) > GROUPS else [])])


def failures_told(failed: Sequence[Made], all: int) -> Words:
    """Which parts failed and why."""
    head = (_ALL if len(failed) == all else _SOME)(n=len(failed), all=all)
    lines = by_name([(one.part.name, one.failure) for one in failed if one.failure])
    return joined([head, *lines], "\n")


def notes_told(made: Sequence[Made]) -> tuple[Words, ...]:
    """What the parts have to say."""
    done = [one for one in made if not one.failure]
    return grouped(((one.part.name, note) for one in done for note in dict.fromkeys(one.notes)), len(done))


def _listed(names: Sequence[str]) -> str:
    shown = ", ".join(cut(name, SHORT) for name in names[:3])
    return f"{shown} (+{len(names) - 3})" if len(names) > 3 else shown


_ABOUT = Words("{name}: {why}", "{name}: {why}")
_MORE = Words("… and {n} more.", "… 그 밖에 {n}개가 더 있습니다.")
_NOTES = Words("… and {n} more remarks.", "… 그 밖의 알림이 {n}개 더 있습니다.")
_SOME = Words("{n} of {all} could not be done:", "{all}개 중 {n}개를 처리하지 못했습니다:")
_ALL = Words("None of the {all} could be done:", "{all}개를 모두 처리하지 못했습니다:")
