"""Make an answer's files fit what a platform can carry: smaller pictures, and one archive for the rest."""

from __future__ import annotations

import asyncio
import dataclasses
import logging
import zipfile
from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path

from bot.answers.replies import Shown
from bot.talk import File, Limits, Message
from engines.words import Refusal, Words

log = logging.getLogger(__name__)

Shrink = Callable[
    [Path, int], Awaitable[tuple[bytes, str]]
]  # (picture, most bytes) → (its bytes, a file name)


async def pack(
    message: Message,
    shown: Sequence[Shown],
    limits: Limits,
    folder: Path,
    shrink: Shrink | None,
    language: str,
) -> Message:
    """`message` with files that fit `limits`; new ones are written into `folder`.

    What cannot be made to fit is left out, and a sentence says so.
    """
    files = list(message.files)
    archive: list[File] = []
    if len(shown) > len(message.files) > 0:
        archive = await asyncio.to_thread(_archive, message, shown, limits, folder)
    share = limits.message_bytes // max(len(files) + bool(archive), 1)
    whole = sum(size_of(file.path) for file in (*files, *archive)) <= limits.message_bytes
    cap = limits.file_bytes if whole else min(limits.file_bytes, share)
    fitting = [await fit(file, cap, folder / str(i), shrink) for i, file in enumerate(files)]
    kept = [file for file in (*fitting, *archive) if file and size_of(file.path) <= cap]
    left_out = len(files) + bool(archive) - len(kept) if files else len(shown)
    if not left_out:
        return dataclasses.replace(message, files=tuple(kept))
    text = f"{message.text}\n{LEFT_OUT(n=left_out).of(language)}"
    return dataclasses.replace(message, files=tuple(kept), text=text)


async def fit(file: File, most: int, folder: Path, shrink: Shrink | None) -> File | None:
    if size_of(file.path) <= most:
        return file
    if shrink is None:
        return None
    try:
        data, name = await shrink(file.path, most)
    except Refusal as no:
        log.warning("%s cannot be made smaller: %s", file.name, no)
        return None
    # the worker names by content type; people know the file by its own name
    path = folder.with_suffix(Path(name).suffix)
    await asyncio.to_thread(written, path, data)
    return dataclasses.replace(file, path=path, name=Path(file.name).stem + Path(name).suffix)


def _archive(message: Message, shown: Sequence[Shown], limits: Limits, folder: Path) -> list[File]:
    """One ZIP when there are more results than the message shows: of all, or if that is too large of the rest."""
    for part in (shown, shown[len(message.files) :]):
        if sum(size_of(one.path) for one in part) < limits.file_bytes - 1000 * len(part):
            return [zipped(part, folder / f"{message.job}.zip")]
    return [zipped(shown, folder / f"{message.job}.zip")]  # too large: left out, and said so


def zipped(shown: Sequence[Shown], path: Path) -> File:
    taken: dict[str, int] = {}
    path.parent.mkdir(exist_ok=True)
    with zipfile.ZipFile(path, "w") as archive:  # stored: pictures are packed already
        for one in shown:
            name = one.result.name
            taken[name] = taken.get(name, 0) + 1
            if taken[name] > 1:
                name = f"{Path(name).stem}-{taken[name]}{Path(name).suffix}"
            archive.write(one.path, name)
    return File(path, path.name)


def written(path: Path, data: bytes) -> None:
    """A file in a folder that is made with its first file: most answers need none."""
    path.parent.mkdir(exist_ok=True)
    path.write_bytes(data)


def size_of(path: Path) -> int:
    return path.stat().st_size


LEFT_OUT = Words(
    "({n} file(s) are too large to be sent here; the bot still keeps them.)",
    "(파일 {n}개는 너무 커서 여기로 보낼 수 없습니다. 봇에는 그대로 보관되어 있습니다.)",
)
