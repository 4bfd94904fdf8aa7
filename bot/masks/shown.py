"""The picture that says how a mask was understood: the photo with what will change in red."""

from __future__ import annotations

from bot.commands.command import Tools
from bot.talk import File
from engines.requests import Masked
from engines.words import Language, Words


async def mask_shown(tools: Tools, request: Masked, job: int, language: Language) -> File | None:
    """The overlay of a stored request, grown, feathered and inverted as asked; None where its pictures are gone."""
    blobs = tools.store.blobs
    photo, mask = blobs.path(request.image), blobs.path(request.mask)
    if not (photo.exists() and mask.exists()):
        return None
    seen = await tools.reader.overlay(
        photo, mask, grow=request.grow, feather=request.feather, invert=request.invert
    )
    return File(blobs.path(await blobs.put(seen)), f"mask-{job}.png", _MASK_ALT.of(language))


_MASK_ALT = Words("The photo, with what changes in red", "바뀌는 부분을 빨간색으로 표시한 사진")
