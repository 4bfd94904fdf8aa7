"""Searching a person's old jobs by words."""

from __future__ import annotations

import unicodedata
from collections.abc import Iterable, Sequence
from typing import Any


def indexed(command: str, request: dict[str, Any], inputs: Sequence[str]) -> str:
    """What a search looks at: all the text of a request except blob names."""
    said = [value for value in request.values() if isinstance(value, str) and value not in inputs]
    return _folded(" ".join([command, *said]))


def where(
    person: str, *, states: Iterable[str] | None, words: str, before: int | None
) -> tuple[str, list[Any]]:
    """An SQL condition and its values: this person's jobs in `states`, with all the words, older than `before`."""
    wanted, values = ["person = ?"], [person]
    terms: list[tuple[str, list[Any]]] = []
    if states is not None:
        listed = list(states)
        terms.append((f"state IN ({', '.join('?' * len(listed))})", listed))
    # LIKE, not full-text search: Korean words carry their particles, so a part of a word must find it.
    terms += [(r"words LIKE ? ESCAPE '\'", [_like(word)]) for word in _folded(words).split()]
    if before is not None:
        terms.append(("id < ?", [before]))
    for term, more in terms:
        wanted.append(term)
        values += more
    return " AND ".join(wanted), values


def _like(word: str) -> str:
    return "%" + word.replace("\\", r"\\").replace("%", r"\%").replace("_", r"\_") + "%"


def _folded(text: str) -> str:
    return unicodedata.normalize("NFC", text).casefold()
