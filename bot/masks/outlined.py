"""What the background remover takes for the object of a photo, where the words of a mask ask for that."""

from __future__ import annotations

import asyncio
import logging
from pathlib import Path

from bot.commands.command import Tools
from bot.masks.spoken import Auto, parse

log = logging.getLogger(__name__)

_SIDE = 640  # pixels: twice what the network looks at


async def outlined(tools: Tools, photo: bytes | Path, spec: str) -> bytes | None:
    """A grey PNG, white = object; None where no words ask for it or there is no network. The mask does without then.

    `photo` is one of our own files; the picture worker makes it small before the network's thread opens it. Raises
    `Refusal` for words that are not understood.
    """
    if tools.outline is None or not any(isinstance(part, Auto) for part in parse(spec)):
        return None
    small = await tools.reader.thumbnail(photo, _SIDE)
    try:
        return await asyncio.to_thread(tools.outline, small)
    except Exception:  # a library that is broken here is no reason to refuse a photo
        log.exception("no outline by the background remover")
        return None
