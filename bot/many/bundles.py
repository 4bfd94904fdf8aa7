"""The answer to many pictures within what a platform carries: the contact sheet, and archives of everything.

One archive if it fits; else several; else the pictures in them are made smaller. Each step down is told, and what
is left out at last too; the bot keeps the originals in any case.
"""

from __future__ import annotations

import asyncio
import dataclasses
from collections.abc import Sequence
from pathlib import Path

from bot.answers.replies import Shown
from bot.many.assembly import SHEET
from bot.many.parcel import LEFT_OUT, Shrink, fit, size_of, written, zipped
from bot.many.parcel import pack as pack_few
from bot.talk import Limits, Message
from engines.words import Refusal, Words

ENTRY = 700  # bytes of an archive for one file's names and headers
SHEETS_PART = 4  # the sheet takes one so-manieth of a message at most
LEAST = 100_000  # bytes: an answer refused at this size goes without files
SMALLEST = 20_000  # bytes: a picture is not made smaller than this


async def pack(
    message: Message,
    shown: Sequence[Shown],
    limits: Limits,
    folder: Path,
    shrink: Shrink | None,
    language: str,
) -> Message:
    """`message` with files that fit `limits`; new ones are written into `folder`, made when it is needed."""
    rest = [one for one in shown if not one.result.recipe.get(SHEET)]
    if len(rest) == len(shown):
        return await pack_few(message, shown, limits, folder, shrink, language)
    cap = min(limits.file_bytes, limits.message_bytes // SHEETS_PART)
    fitted = [
        await fit(file, cap, folder / f"sheet-{i}", shrink)
        for i, file in enumerate(message.files[: limits.files])
    ]
    sheets = [file for file in fitted if file]
    room = _Room(
        min(limits.file_bytes, limits.message_bytes),
        limits.message_bytes - sum(size_of(file.path) for file in sheets),
        limits.files - len(sheets),
    )
    told: list[Words] = []
    bundles = room.bundles(rest)
    if bundles is None and shrink:
        rest = await _smaller(rest, room, folder, shrink)
        told.append(_SMALLER)
        bundles = room.bundles(rest)
    if bundles is None:
        bundles = room.what_fits(rest)
        told = [*(told if bundles else []), LEFT_OUT(n=len(rest) - sum(map(len, bundles)))]
    if len(bundles) > 1:
        told.append(_PARTS(n=len(bundles)))
    zips = []
    for i, bundle in enumerate(bundles, 1):
        name = f"{message.job}-part{i}.zip" if len(bundles) > 1 else f"{message.job}.zip"
        zips.append(await asyncio.to_thread(zipped, bundle, folder / name))
    text = "\n".join([message.text, *(words.of(language) for words in told)])
    return dataclasses.replace(message, files=(*sheets, *zips), text=text)


@dataclasses.dataclass(frozen=True, slots=True)
class _Room:
    """What is left of a message for archives, in bytes, and how many there may be."""

    each: int
    all: int
    archives: int

    def bundles(self, files: Sequence[Shown]) -> list[list[Shown]] | None:
        """The files in archives that fit, in their order; None where they do not."""
        found = self.what_fits(files)
        return found if sum(map(len, found)) == len(files) else None

    def what_fits(self, files: Sequence[Shown]) -> list[list[Shown]]:
        """As many files as fit, in their order."""
        found: list[list[Shown]] = []
        free, left = 0, self.all
        for file in files:
            need = _need(file)
            if need > free:
                if len(found) == self.archives or need > min(self.each, left):
                    continue
                found.append([])
                free = self.each
            if need <= left:
                found[-1].append(file)
                free, left = free - need, left - need
        return found


async def _smaller(files: Sequence[Shown], room: _Room, folder: Path, shrink: Shrink) -> list[Shown]:
    """The same, each picture within its share of the room. One that cannot be made smaller stays as it is."""
    share = int(min(room.all, room.each * room.archives) * 0.95) // max(len(files), 1) - ENTRY
    made = []
    for i, file in enumerate(files):
        made.append(file)
        if size_of(file.path) <= share or share < SMALLEST or not file.result.media.startswith("image/"):
            continue
        try:
            data, name = await shrink(file.path, share)
        except Refusal:
            continue
        path = folder / f"small-{i}"
        await asyncio.to_thread(written, path, data)
        named = Path(file.result.name).with_suffix(Path(name).suffix).as_posix()
        made[-1] = Shown(dataclasses.replace(file.result, name=named), path)
    return made


def _need(file: Shown) -> int:
    return size_of(file.path) + ENTRY + 4 * len(file.result.name)


def tighter(limits: Limits, message: Message) -> Limits:
    """Half of what was just refused; no files at all when that would be next to nothing."""
    sizes = [file.path.stat().st_size for file in message.files]
    whole, largest = sum(sizes) // 2, max(sizes) // 2
    if whole < LEAST:
        return dataclasses.replace(limits, files=0)
    return dataclasses.replace(limits, message_bytes=whole, file_bytes=min(limits.file_bytes, largest))


_SMALLER = Words(
    "(The pictures in the archive were made smaller to fit here; the bot keeps the originals. "
    "Send fewer at once to get them whole.)",
    "(여기로 보낼 수 있도록 압축 파일 속 그림을 줄였습니다. 원본은 봇에 보관되어 있으며, 한 번에 더 적게 보내시면 "
    "원본 크기로 받을 수 있습니다.)",
)
_PARTS = Words(
    "(The pictures are in {n} archives, for one would be too large here.)",
    "(하나로 묶으면 너무 커서 그림을 압축 파일 {n}개로 나누었습니다.)",
)
