"""The files of a data set → stored pictures and what there is to say about them, one by one, in little memory."""

from __future__ import annotations

import asyncio
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from bot.datasets.files import Gathered, Photo, Source
from bot.locale.markup import cut
from bot.pictures.reading import PictureReader, Sample
from bot.pictures.samples import rows_of
from engines.words import Refusal, Words
from storage.blobs import Blobs

FEW = 5  # fewer photos than this are learnt by heart
LARGE_MASK = 0.4  # of a photo
TINY = 64  # pixels: no model is smaller
NEAR = 24  # bits of 256 in which two copies of a photo may differ; other photos of one pose differ in 40 and more
NAMED = 4  # files that a warning names
SHOWN = 6  # photos of a concept on the contact sheet


@dataclass(frozen=True, slots=True)
class Learnable:
    """A photo as it is stored."""

    name: str
    image: str  # blob
    mask: str  # blob, "" = all of it
    width: int
    height: int
    share: float
    look: str


@dataclass(frozen=True, slots=True)
class Understood:
    """What a training would learn from, and what its owner should know before it runs."""

    concepts: tuple[dict[str, Any], ...]  # see `engines.training.request.Train.concepts`
    notes: tuple[Words, ...]
    sheet: str  # blob of the contact sheet


@dataclass
class Reading:
    """Reads each file once. Mutable."""

    reader: PictureReader
    blobs: Blobs
    told: Callable[[int, int], None] = lambda done, total: None
    _stored: dict[str, asyncio.Task[str | None]] = field(default_factory=dict)
    _room: asyncio.Semaphore = field(init=False)
    _broken: list[str] = field(default_factory=list)
    _done: int = 0
    _total: int = 0

    def __post_init__(self) -> None:
        self._room = asyncio.Semaphore(self.reader.limits.workers)

    async def read(self, concepts: Sequence[Gathered]) -> Understood:
        """All pictures stored. Raises `Refusal` for a concept without a photo that can be used."""
        self._total = sum(len(c.photos) + len(c.normals) + len(c.class_images) for c in concepts)
        notes: list[Words] = []
        found, read = [], []
        for concept in concepts:
            photos = await self._photos(concept, notes)
            found.append(await self._described(concept, photos))
            read.append(photos)
            notes += warnings(concept.name, photos)
        notes += twins([(c.name, photos) for c, photos in zip(concepts, read, strict=True)])
        if self._broken:
            notes.append(_BROKEN(n=len(self._broken), names=_names(self._broken)))
        return Understood(tuple(found), tuple(notes), await self._sheet(concepts, read))

    async def _photos(self, concept: Gathered, notes: list[Words]) -> list[Learnable]:
        """The concept's photos; what cannot be used is left out and said."""
        answers = await _all(self._sample(photo) for photo in concept.photos)
        kept: list[Learnable] = []
        empty: list[str] = []
        for photo, made in zip(concept.photos, answers, strict=True):
            if isinstance(made, Learnable):
                kept.append(made)
            elif made is not None:
                empty.append(photo.image.parts[-1])
                notes.append(_MASK_WRONG(name=cut(photo.image.name, 80), why=made))
        if len(empty) > NAMED:
            notes[:] = [note for note in notes if not any(name in note.en for name in empty[NAMED:])]
            notes.append(_MORE_WRONG(concept=concept.name, n=len(empty) - NAMED))
        if not kept:
            raise Refusal(_NO_PHOTO(concept=concept.name, n=len(concept.photos)))
        return kept

    async def _sample(self, photo: Photo) -> Learnable | Words | None:
        """The stored photo; why its mask will not do; or None where the photo itself cannot be read."""
        async with self._room:
            try:
                image = await asyncio.to_thread(photo.image.path.read_bytes)
                mask = await asyncio.to_thread(photo.mask.path.read_bytes) if photo.mask else None
                mask_name = photo.mask.name if photo.mask else ""
                made = await self.reader.sample(image, photo.image.name, mask, mask_name)
            except Refusal:
                self._broken.append(photo.image.name)
                return None
            finally:
                self._count()
            return made.wrong or await self._kept(photo, made)

    async def _kept(self, photo: Photo, made: Sample) -> Learnable:
        image = await self.blobs.put(made.png)
        mask = await self.blobs.put(made.mask) if made.mask else ""
        return Learnable(photo.image.name, image, mask, made.width, made.height, made.share, made.look)

    async def _described(self, concept: Gathered, photos: Iterable[Learnable]) -> dict[str, Any]:
        return {
            "name": concept.name,
            "instance_prompt": concept.instance_prompt,
            "class_prompt": concept.class_prompt,
            "weight": concept.weight,
            "images": [{"image": photo.image, "mask": photo.mask} for photo in photos],
            "normals": await self._plain(concept.normals),
            "class_images": await self._plain(concept.class_images),
        }

    async def _plain(self, files: Sequence[Source]) -> list[str]:
        """Stored pictures without masks; concepts of one product share theirs, which are read once."""
        for file in files:
            if file.name not in self._stored:
                self._stored[file.name] = asyncio.ensure_future(self._picture(file))
        names = await _all(self._stored[file.name] for file in files)
        return list(dict.fromkeys(name for name in names if name))

    async def _picture(self, file: Source) -> str | None:
        async with self._room:
            try:
                made = await self.reader.sample(await asyncio.to_thread(file.path.read_bytes), file.name)
            except Refusal:
                self._broken.append(file.name)
                return None
            finally:
                self._count()
            return await self.blobs.put(made.png)

    async def _sheet(self, concepts: Sequence[Gathered], read: Sequence[Sequence[Learnable]]) -> str:
        def path(blob: str) -> str:
            return str(self.blobs.path(blob)) if blob else ""

        cells = [[(path(one.image), path(one.mask)) for one in spread(photos, SHOWN)] for photos in read]
        drawn = await self.reader.sheet(rows_of([concept.name for concept in concepts], cells))
        return await self.blobs.put(drawn)

    def _count(self) -> None:
        self._done += 1
        self.told(self._done, self._total)


async def _all(works: Iterable[Any]) -> list[Any]:
    """What they give, in order. Where one raises, the others are waited for: they write files."""
    answers = await asyncio.gather(*works, return_exceptions=True)
    for answer in answers:
        if isinstance(answer, BaseException):
            raise answer
    return answers


def spread(things: Sequence[Any], most: int) -> list[Any]:
    """At most so many of them, from all over."""
    step = max(1.0, len(things) / most)
    return [things[int(i * step)] for i in range(min(most, len(things)))]


def warnings(concept: str, photos: Sequence[Learnable]) -> list[Words]:
    """What is doubtful about a concept's photos."""
    found: list[Words] = []
    if len(photos) < FEW:
        found.append(_FEW(concept=concept, n=len(photos)))
    if whole := [photo for photo in photos if not photo.mask]:
        found.append(_WHOLE(concept=concept, n=len(whole), all=len(photos)))
    if large := [photo for photo in photos if photo.mask and photo.share > LARGE_MASK]:
        names = _names([photo.name for photo in large])
        found.append(_LARGE(concept=concept, n=len(large), percent=round(100 * LARGE_MASK), names=names))
    if small := [photo for photo in photos if min(photo.width, photo.height) < TINY]:
        names = _names([photo.name for photo in small])
        found.append(_SMALL(concept=concept, n=len(small), side=TINY, names=names))
    sizes = Counter((photo.width, photo.height) for photo in photos)
    if max(max(size) for size in sizes) > 4 * min(max(size) for size in sizes):
        smallest, largest = min(sizes), max(sizes)
        found.append(_UNEVEN(concept=concept, small=_by(smallest), large=_by(largest)))
    return found


def twins(read: Sequence[tuple[str, Sequence[Learnable]]]) -> list[Words]:
    """Copies of one photo, within a concept and between concepts."""
    every = [(concept, photo) for concept, photos in read for photo in photos]
    same: dict[str, list[str]] = defaultdict(list)
    across: list[tuple[str, str]] = []
    for at, (concept, photo) in enumerate(every):
        for other, earlier in every[:at]:
            if photo.image == earlier.image and other != concept:
                across.append((earlier.name, photo.name))
            elif other == concept and alike(photo, earlier):
                same[concept].append(photo.name)
                break
    notes = [_COPIES(concept=c, n=len(names), names=_names(names)) for c, names in same.items()]
    if across:
        names = _names([f"{a} = {b}" for a, b in across])
        notes.append(_IN_TWO(n=len(across), names=names))
    return notes


def alike(one: Learnable, other: Learnable) -> bool:
    """Whether two photos are copies: the same picture, and the defect in the same place."""
    if one.image == other.image:
        return True
    (photo, mask), (earlier, masked) = _parted(one.look), _parted(other.look)
    return (photo ^ earlier).bit_count() <= NEAR and mask == masked


def _parted(look: str) -> tuple[int, int]:
    """The bits of the photo, and those of its mask."""
    return int(look[:64], 16), int(look[64:], 16)


def _names(names: Sequence[str]) -> str:
    shown = ", ".join(f"`{cut(Path(name).name if '=' not in name else name, 40)}`" for name in names[:NAMED])
    return shown + (" …" if len(names) > NAMED else "")


def _by(size: tuple[int, int]) -> str:
    return f"{size[0]} × {size[1]}"


_BROKEN = Words(
    "{n} file(s) could not be read and were left out: {names}.",
    "파일 {n}개를 읽을 수 없어 제외했습니다: {names}.",
)
_MASK_WRONG = Words(
    "`{name}` was left out, for its mask cannot be used: {why}",
    "`{name}` 사진은 마스크를 쓸 수 없어 제외했습니다: {why}",
)
_MORE_WRONG = Words(
    "{n} more photos of **{concept}** were left out because of their masks.",
    "**{concept}** 사진 {n}장도 마스크 때문에 제외했습니다.",
)
_NO_PHOTO = Words(
    "None of the {n} photos of “{concept}” can be used. Look at the pictures and their masks (white = defect).",
    "“{concept}”의 사진 {n}장을 모두 쓸 수 없습니다. 사진과 마스크(흰색 = 결함)를 확인해 주십시오.",
)
_FEW = Words(
    "**{concept}** has only {n} photo(s); 5 to 20 work best.",
    "**{concept}** 사진이 {n}장뿐입니다. 5~20장이 가장 좋습니다.",
)
_WHOLE = Words(
    "{n} of {all} photos of **{concept}** have no mask: their whole picture counts as the defect.",
    "**{concept}** 사진 {all}장 중 {n}장에 마스크가 없어 사진 전체를 결함으로 봅니다.",
)
_LARGE = Words(
    "{n} mask(s) of **{concept}** cover more than {percent} % of the photo: {names}.",
    "**{concept}** 마스크 {n}개가 사진의 {percent} %보다 넓습니다: {names}.",
)
_SMALL = Words(
    "{n} photo(s) of **{concept}** are smaller than {side} pixels: {names}.",
    "**{concept}** 사진 {n}장이 {side}픽셀보다 작습니다: {names}.",
)
_UNEVEN = Words(
    "The photos of **{concept}** differ much in size ({small} to {large}).",
    "**{concept}** 사진의 크기가 많이 다릅니다 ({small}~{large}).",
)
_COPIES = Words(
    "{n} photo(s) of **{concept}** look like copies of others: {names}.",
    "**{concept}** 사진 {n}장이 다른 사진의 사본으로 보입니다: {names}.",
)
_IN_TWO = Words(
    "{n} photo(s) belong to two concepts at once, which confuses both: {names}.",
    "사진 {n}장이 두 개념에 함께 들어 있어 서로 헷갈리게 됩니다: {names}.",
)
