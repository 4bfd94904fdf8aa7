"""How words are kept for searching: as their pairs of letters, so that any part of a word finds it.

Korean words carry their particles, so whole words would not do; and most have two letters, so three would be too many.
`a nut` is stored as `a nu ut t`, and a search for `nut` is the phrase `nu ut`.
"""

from __future__ import annotations

import sqlite3
import unicodedata
from itertools import pairwise


def folded(text: str) -> str:
    """The same for capital and small letters, and for Hangul in parts and in one."""
    return unicodedata.normalize("NFC", text).casefold().replace("\0", " ")


def pairs(text: str) -> str:
    """What the index holds of a text. The single last letter of each word keeps it apart from the next."""
    return " ".join(pair for word in text.split() for pair in (*pairs_of(word), word[-1]))


def pairs_of(word: str) -> list[str]:
    """Nothing for a single letter."""
    return [a + b for a, b in pairwise(word)]


def one_token(text: str) -> str:
    """Something that the index takes for one word."""
    return "_".join(text.split()) or "_"


def teach(db: sqlite3.Connection) -> None:
    """Let a connection know the functions that the index is made with."""
    db.create_function("pairs", 1, pairs, deterministic=True)
    db.create_function("one_token", 1, one_token, deterministic=True)
