"""Words, quoted texts, and either of them behind a name: the small pieces of the text grammar."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass

from engines.words import Refusal, Words

_KEY = re.compile(r"([^\W\d][\w-]*)[:=：＝]")
_WORD = re.compile(r"\S+")
_OPENERS = {'"': '"', "“": "”“„‟＂", "”": "”“„‟＂", "„": "”“„‟＂", "‟": "”“„‟＂", "＂": "＂"}
_ESCAPES = {"n": "\n", "\\": "\\", **{quote: quote for quote in _OPENERS}}


@dataclass(frozen=True, slots=True)
class Token:
    raw: str  # as it was typed
    text: str  # the value, without quotes
    name: str = ""  # what stood before the colon
    quoted: bool = False


def tokens(text: str) -> Iterator[Token]:
    """The words of a line. Raises `Refusal` where a quote is opened and not closed."""
    at = 0
    while at < len(text):
        if text[at].isspace():
            at += 1
            continue
        key = _KEY.match(text, at)
        start, at = at, key.end() if key else at
        value, at, quoted = _value(text, at)
        yield Token(text[start:at], value, key.group(1) if key else "", quoted)


def _value(text: str, at: int) -> tuple[str, int, bool]:
    """The value at `at`, where it ends, and whether it was quoted; an `@` may stand before the quote."""
    prefix = "@" if text[at : at + 1] == "@" and text[at + 1 : at + 2] in _OPENERS else ""
    opener = text[at + len(prefix) : at + len(prefix) + 1]
    if opener in _OPENERS and opener:
        value, end = _quoted(text, at + len(prefix) + 1, _OPENERS[opener])
        return prefix + value, end, True
    if opener == "'" and at > 0 and not text[at - 1].isspace():  # seed:'7'; an apostrophe elsewhere is none
        closed = re.compile(r"'([^']*)'(?!\S)").match(text, at)
        if closed:
            return closed.group(1), closed.end(), True
    word = _WORD.match(text, at)
    return (word.group(), word.end(), False) if word else ("", at, False)


def _quoted(text: str, at: int, closers: str) -> tuple[str, int]:
    found: list[str] = []
    start = at
    while at < len(text):
        c = text[at]
        if c == "\\" and text[at + 1 : at + 2] in _ESCAPES:
            found.append(_ESCAPES[text[at + 1]])
            at += 2
        elif c in closers:
            return "".join(found), at + 1
        else:
            found.append(c)
            at += 1
    raise Refusal(_UNCLOSED(text=text[start : start + 30]))


_UNCLOSED = Words(
    'A quote is opened before “{text}” and not closed. Close it with ".',
    '“{text}” 앞에서 따옴표가 열리고 닫히지 않았습니다. " 로 닫아 주십시오.',
)
