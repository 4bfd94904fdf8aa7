"""Text of strangers inside our own: nothing in it may ping a room or break out of a code block."""

from __future__ import annotations

import re

_GAP = "\u200b"  # zero width: looks the same, means nothing to the platform
_PINGS = re.compile(r"@(?=everyone|here|channel|group)|<(?=[@!#])", re.IGNORECASE)
_GRAVE = "\u02cb"  # looks like a backtick and is none


def harmless(text: str) -> str:
    """`text` without anything that a chat could read as a mention of many or of someone."""
    return _PINGS.sub(lambda found: found.group() + _GAP, text)


def code(text: str) -> str:
    """One line as inline code, whatever it holds."""
    return f"`{_inert(' '.join(text.split())) or ' '}`"


def block(text: str) -> str:
    """Several lines as a code block, whatever they hold."""
    return f"```\n{_inert(text).strip()}\n```"


def cut(text: str, limit: int) -> str:
    """At most `limit` characters, with an ellipsis where something is missing."""
    return text if len(text) <= limit else text[: max(limit - 1, 0)].rstrip() + "…"[:limit]


def _inert(text: str) -> str:
    return harmless("".join(c for c in text if c.isprintable() or c in "\n\t").replace("`", _GRAVE))
