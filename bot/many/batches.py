"""Many pictures under one request: archives unpacked, photos and masks paired, each read and stored, one at a time.

What cannot be read is named and does not hold up the rest. Nothing is promised before all of it is stored.
"""

from __future__ import annotations

import asyncio
import dataclasses
import shutil
import time
import uuid
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import Any

from bot.answers.telling import by_name, grouped
from bot.archives import pairing
from bot.archives.pairing import looks_like_mask
from bot.archives.unpacking import ArchiveLimits, unpack
from bot.commands.command import Tools
from bot.masks.outlined import outlined
from bot.pictures.reading import Picture
from bot.talk import Attachment
from engines.request import Item
from engines.requests import Request
from engines.words import Refusal, Words, joined

UPLOADS = "uploads"  # folder beside the database, empty while nobody is sending anything
AGAIN = 300.0  # seconds after which stored files are said to be needed still


@dataclass(frozen=True, slots=True)
class Sent:
    """What was sent for one picture field. `masks` are those said to be masks."""

    photos: tuple[Attachment, ...]
    masks: tuple[Attachment, ...] = ()


@dataclass(frozen=True, slots=True)
class Given:
    """One file: still with the platform, or unpacked."""

    name: str
    source: Attachment | Path
    mask: bool = False


def is_archive(attachment: Attachment) -> bool:
    return attachment.name.lower().endswith(".zip")


@dataclass(slots=True)
class _Taking:
    """A batch while it is read. Mutable."""

    request: Request
    spec: str  # words for the masks
    mask_field: str
    items: list[Item] = field(default_factory=list)
    notes: list[tuple[str, Words]] = field(default_factory=list)
    failures: list[tuple[str, Words]] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class Batches:
    tools: Tools

    async def stored(self, request: Request, sent: Sent, spec: str) -> tuple[Request, tuple[Words, ...]]:
        """The request for all that could be read, and sentences about it. Raises `Refusal` where nothing could."""
        fields: dict[str, str] = {p.kind: name for name, p in reversed(request.params().items())}
        async with self._folder() as folder:
            given = await self._given(sent, folder)
            places = frozenset(i for i, one in enumerate(given) if one.mask)
            pairs = pairing.paired([one.name for one in given], places, "mask" in fields)
            self._count(len(pairs.photos))
            taking = _Taking(request, spec, fields.get("mask", ""))
            await self._take(taking, given, pairs)
        if not taking.items and len(taking.failures) == 1:
            raise Refusal(taking.failures[0][1])
        if not taking.items:
            raise Refusal(joined([_NONE(n=len(pairs.photos)), *by_name(taking.failures, 3)], "\n"))
        told = _told(taking, [given[i].name for i in pairs.unused], _shared(given, pairs))
        return _filled(taking, fields), told

    async def _take(self, taking: _Taking, given: Sequence[Given], pairs: pairing.Pairs) -> None:
        touched = time.monotonic()
        names = _short([given[i].name for i in pairs.photos])
        for name, photo, mask in zip(names, pairs.photos, pairs.masks, strict=True):
            try:
                await self._one(taking, name, given[photo], None if mask is None else given[mask])
            except Refusal as no:
                taking.failures.append((name, no.words))
            if time.monotonic() - touched > AGAIN:  # what no row names yet may be swept
                touched = time.monotonic()
                await self.tools.store.blobs.keep([b for i in taking.items for b in (i.image, i.mask) if b])

    async def _one(self, taking: _Taking, name: str, photo: Given, mask: Given | None) -> None:
        picture: Picture = await self.tools.reader.read(await self._bytes(photo), photo.name)
        image = await self.tools.store.blobs.put(picture.png)
        notes, blob = list(picture.notes), ""
        if taking.mask_field:
            data = await self._bytes(mask) if mask else None
            outline = await outlined(self.tools, picture.png, taking.spec)
            found = await self.tools.reader.mask(
                picture.png, taking.spec, data, mask.name if mask else "mask", outline
            )
            if found.share == 1 and getattr(taking.request, "invert", False):
                raise Refusal(_WHITE)
            blob = await self.tools.store.blobs.put(found.png)
            notes += found.notes
        taking.items.append(Item(name, image, blob))
        taking.notes += [(name, note) for note in notes]

    async def _bytes(self, given: Given) -> bytes:
        if isinstance(given.source, Path):
            return await asyncio.to_thread(given.source.read_bytes)
        return await given.source.read(self.tools.settings.upload_bytes)

    async def _given(self, sent: Sent, folder: Path) -> list[Given]:
        """All files in the order they were sent, archives unpacked."""
        found: list[Given] = []
        zips = sum(map(is_archive, sent.photos))
        both = [(one, zips > 1 and is_archive(one) and looks_like_mask(one.name)) for one in sent.photos]
        both += [(one, True) for one in sent.masks]
        for i, (attachment, mask) in enumerate(both):
            if not is_archive(attachment):
                found.append(Given(PurePosixPath(attachment.name).name, attachment, mask))
                continue
            inside = folder / str(i)
            await asyncio.to_thread(inside.mkdir)
            settings = self.tools.settings
            await attachment.save(folder / f"{i}.zip", settings.archive_bytes)
            limits = ArchiveLimits(
                members=settings.archive_files,
                total_bytes=4 * settings.archive_bytes,
                file_bytes=settings.upload_bytes,
            )
            name = PurePosixPath(attachment.name).name
            unpacked = await unpack(folder / f"{i}.zip", inside, limits, name)
            found += [Given(member.name, member.path, mask) for member in unpacked.members]
        return found

    def _count(self, photos: int) -> None:
        if photos > self.tools.settings.archive_files:
            raise Refusal(_TOO_MANY(n=photos, limit=self.tools.settings.archive_files))
        if not photos:
            raise Refusal(_NO_PHOTO)

    @asynccontextmanager
    async def _folder(self) -> AsyncIterator[Path]:
        folder = self.tools.store.folder / UPLOADS / uuid.uuid4().hex
        await asyncio.to_thread(folder.mkdir, parents=True)
        try:
            yield folder
        finally:
            await asyncio.shield(asyncio.to_thread(shutil.rmtree, folder, ignore_errors=True))


def clear(data: Path) -> None:
    """Remove what a killed process was taking in. For the start, before anybody can send anything."""
    shutil.rmtree(data / UPLOADS, ignore_errors=True)


def _filled(taking: _Taking, fields: dict[str, str]) -> Request:
    """The request with its pictures: the first stands for all where only one is shown."""
    first = taking.items[0]
    changed: dict[str, Any] = {fields["picture"]: first.image}
    if taking.mask_field:
        changed[taking.mask_field] = first.mask
    if len(taking.items) > 1:
        changed["items"] = tuple(taking.items)
    return dataclasses.replace(taking.request, **changed)


def _told(taking: _Taking, unused: Sequence[str], shared: str) -> tuple[Words, ...]:
    items, failures = taking.items, taking.failures
    told: list[Words] = []
    if len(items) > 1:
        seeded = "seed" in taking.request.params()
        told.append((_MANY_SEEDED if seeded else _MANY)(n=len(items)))
    if failures:
        told += [_LEFT_OUT(n=len(failures)), *by_name(failures)]
    if shared:
        told.append(_SHARED(name=shared))
    if unused:
        told.append(_UNUSED(names=", ".join(unused[:5]) + (" …" if len(unused) > 5 else "")))
    return (*told, *grouped(taking.notes, len(items)))


def _shared(given: Sequence[Given], pairs: pairing.Pairs) -> str:
    return given[pairs.masks[0]].name if pairs.shared and pairs.masks[0] is not None else ""


def _short(names: Sequence[str]) -> list[str]:
    """Without the folders that all have in common."""
    parts = [PurePosixPath(name).parts for name in names]
    same = 0
    while all(len(p) > same + 1 and p[same] == parts[0][same] for p in parts) and parts:
        same += 1
    return ["/".join(p[same:]) for p in parts]


_MANY = Words("{n} pictures.", "그림 {n}장.")
_MANY_SEEDED = Words("{n} pictures, all with the same seed.", "그림 {n}장에 모두 같은 시드를 씁니다.")
_LEFT_OUT = Words("{n} could not be read and are left out:", "{n}장은 읽을 수 없어 제외했습니다:")
_SHARED = Words("“{name}” is the mask of all photos.", "“{name}” 마스크를 모든 사진에 사용합니다.")
_UNUSED = Words(
    "Masks without a photo of the same name were not used: {names}.",
    "같은 이름의 사진이 없는 마스크는 사용하지 않았습니다: {names}.",
)
_NONE = Words("None of the {n} pictures can be used.", "그림 {n}장 중 쓸 수 있는 것이 없습니다.")
_NO_PHOTO = Words(
    "There are only masks here, no photos. A photo `a.png` goes with a mask `a_mask.png`.",
    "마스크만 있고 사진이 없습니다. 사진 `a.png` 에는 마스크 `a_mask.png` 가 짝이 됩니다.",
)
_TOO_MANY = Words(
    "{n} pictures are more than the {limit} that are taken at once. Please send them in several parts.",
    "그림이 {n}장인데 한 번에 최대 {limit}장까지 받을 수 있습니다. 나누어 보내 주십시오.",
)
_WHITE = Words(
    "The mask is white everywhere, so with `invert:yes` nothing would change.",
    "마스크가 전부 흰색이라서 `invert:yes` 를 쓰면 바뀌는 곳이 없습니다.",
)
