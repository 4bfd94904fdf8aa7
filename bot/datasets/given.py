"""What a person gave to learn from → files on disk: a zip, pictures, or for admins a folder of the server."""

from __future__ import annotations

import asyncio
import shutil
import uuid
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from bot.archives.unpacking import ArchiveLimits, unpack
from bot.commands.command import Tools
from bot.datasets.files import Source
from bot.grammar import FOLDER
from bot.locale.markup import cut
from bot.locale.numbers import size
from bot.many.batches import UPLOADS, is_archive
from bot.talk import Attachment, Person
from engines.words import Refusal, Words


@dataclass(frozen=True, slots=True)
class Files:
    """The files of a data set, and what it is called."""

    sources: tuple[Source, ...]
    title: str
    loose: bool = False  # pictures without an archive or folder: nothing has a name that says what it shows


@asynccontextmanager
async def given(
    tools: Tools, person: Person, said: str, attachments: Sequence[Attachment]
) -> AsyncIterator[Files]:
    """The files while they are needed. `said` is what was written in place of a file. Raises `Refusal`."""
    if said.startswith(FOLDER):
        yield await asyncio.to_thread(_folder, tools, person, said.removeprefix(FOLDER).strip())
        return
    place = tools.store.folder / UPLOADS / uuid.uuid4().hex
    await asyncio.to_thread(place.mkdir, parents=True)
    try:
        archives = [one for one in attachments if is_archive(one)]
        if len(archives) > 1 or (archives and len(attachments) > 1):
            raise Refusal(_ONE)
        yield await (_unpacked(tools, archives[0], place) if archives else _saved(tools, attachments, place))
    finally:
        await asyncio.to_thread(shutil.rmtree, place, ignore_errors=True)


async def _unpacked(tools: Tools, archive: Attachment, place: Path) -> Files:
    settings = tools.settings.training
    name = PurePosixPath(archive.name.replace("\\", "/")).name
    limits = ArchiveLimits(
        members=settings.files,
        total_bytes=4 * settings.archive_bytes,
        file_bytes=tools.settings.upload_bytes,
    )
    await archive.save(place / "given.zip", settings.archive_bytes)
    inside = place / "files"
    await asyncio.to_thread(inside.mkdir)
    found = await unpack(place / "given.zip", inside, limits, name)
    await asyncio.to_thread((place / "given.zip").unlink)
    return Files(tuple(Source(member.name, member.path) for member in found.members), Path(name).stem)


async def _saved(tools: Tools, attachments: Sequence[Attachment], place: Path) -> Files:
    """Photos and masks, each under a name of its own; phones give several the same."""
    sources, taken = [], set[str]()
    for number, attachment in enumerate(attachments):
        path = place / f"{number:05d}"
        await attachment.save(path, tools.settings.upload_bytes)
        name = PurePosixPath(attachment.name.replace("\\", "/")).name
        name = name if name not in taken else f"{number}-{name}"
        taken.add(name)
        sources.append(Source(name, path))
    return Files(tuple(sources), "", loose=True)


def _folder(tools: Tools, person: Person, said: str) -> Files:
    """A folder below one that the configuration names; links do not lead out of it."""
    settings = tools.settings.training
    if not person.admin:
        raise Refusal(_ADMINS)
    if not settings.folders:
        raise Refusal(_NO_FOLDERS)
    folder = Path(said).resolve()
    roots = [root.resolve() for root in settings.folders]
    if not any(folder.is_relative_to(root) for root in roots):
        raise Refusal(_OUTSIDE(folder=cut(said, 100), roots=", ".join(f"`{root}`" for root in roots)))
    if not folder.is_dir():
        raise Refusal(_NO_FOLDER(folder=cut(said, 100)))
    sources = []
    for path in sorted(folder.rglob("*")):
        if path.is_file() and path.resolve().is_relative_to(folder):
            sources.append(Source(path.relative_to(folder).as_posix(), path))
        if len(sources) > settings.files:
            raise Refusal(_TOO_MANY(most=settings.files))
    large = [s for s in sources if s.is_picture and s.path.stat().st_size > tools.settings.upload_bytes]
    if large:
        limit = size(tools.settings.upload_bytes)
        raise Refusal(_TOO_LARGE(name=cut(large[0].name, 80), limit=limit))
    return Files(tuple(sources), folder.name)


_ONE = Words(
    "Give either one zip or single pictures, not several zips or both.",
    "zip 하나 또는 사진들 중 하나만 주십시오. zip 여러 개나 둘을 함께 줄 수는 없습니다.",
)
_ADMINS = Words(
    "Only admins may train from a folder of the server. Please send a zip.",
    "서버의 폴더로는 관리자만 학습할 수 있습니다. zip 파일로 보내 주십시오.",
)
_NO_FOLDERS = Words(
    "The configuration names no folders for training (`[training] folders`).",
    "설정에 학습용 폴더(`[training] folders`)가 없습니다.",
)
_OUTSIDE = Words(
    "“{folder}” is not below a folder that the configuration names: {roots}.",
    "“{folder}”은(는) 설정에 적힌 폴더 아래에 있지 않습니다: {roots}.",
)
_NO_FOLDER = Words("There is no folder “{folder}”.", "“{folder}” 폴더가 없습니다.")
_TOO_MANY = Words(
    "The folder holds more than {most} files. Choose a smaller one.",
    "폴더에 파일이 {most}개보다 많습니다. 더 작은 폴더를 골라 주십시오.",
)
_TOO_LARGE = Words(
    "`{name}` is larger than {limit}. Make it smaller.",
    "`{name}` 파일이 {limit}보다 큽니다. 크기를 줄여 주십시오.",
)
