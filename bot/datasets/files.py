"""A data set as files: a tree of names, and what belongs to one concept. Pure: no file is opened here."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath

from engines.words import Words

PICTURES = frozenset(("png", "jpg", "jpeg", "webp", "bmp", "tif", "tiff"))
_MASK_NAME = re.compile(r"(?:^masks?[_ -]|[_ -](?:masks?|gt|label|마스크)$)", re.IGNORECASE)


@dataclass(frozen=True, slots=True, order=True)
class Source:
    """A file of the data set: how people call it, and where it lies."""

    name: str  # a posix path inside the archive or folder
    path: Path = field(compare=False)

    @property
    def parts(self) -> tuple[str, ...]:
        return PurePosixPath(self.name).parts

    @property
    def folder(self) -> str:
        """ "" is the top."""
        return "/".join(self.parts[:-1])

    @property
    def stem(self) -> str:
        return PurePosixPath(self.name).stem

    @property
    def is_picture(self) -> bool:
        return PurePosixPath(self.name).suffix[1:].lower() in PICTURES


@dataclass(frozen=True, slots=True)
class Photo:
    """A picture to learn from; without a mask all of it counts."""

    image: Source
    mask: Source | None = None


@dataclass(frozen=True, slots=True)
class Gathered:
    """One concept and its files."""

    name: str
    instance_prompt: str
    class_prompt: str
    photos: tuple[Photo, ...]
    normals: tuple[Source, ...] = ()
    class_images: tuple[Source, ...] = ()
    weight: float = 1.0


@dataclass(frozen=True, slots=True)
class Layout:
    """What a data set was understood to hold."""

    kind: str  # "mvtec", "json" or "photos"
    concepts: tuple[Gathered, ...]
    notes: tuple[Words, ...] = ()


class Tree:
    """The files by folder, in the order of their names; what systems leave behind is not in it."""

    def __init__(self, files: Iterable[Source]) -> None:
        self.files = sorted(file for file in files if not _is_litter(file))
        self._inside: dict[str, list[Source]] = defaultdict(list)
        for file in self.files:
            self._inside[file.folder].append(file)
        self.folders = {
            "/".join(file.parts[:depth]) for file in self.files for depth in range(len(file.parts))
        }

    def pictures(self, folder: str) -> list[Source]:
        """The pictures directly in `folder`."""
        return [file for file in self._inside.get(folder, ()) if file.is_picture]


def paired(images: Iterable[Source], masks: Mapping[str, Source]) -> tuple[Photo, ...]:
    """Each photo with the mask of its stem."""
    return tuple(Photo(image, masks.get(image.stem.casefold())) for image in images)


def by_stem(masks: Iterable[Source]) -> dict[str, Source]:
    """Masks by the stem of the photo they are for: `000_mask.png` and `000.png` are both for `000`."""
    return {mask_stem(mask): mask for mask in masks}


def mask_stem(file: Source) -> str:
    return _MASK_NAME.sub("", file.stem).casefold()


def called_mask(file: Source) -> bool:
    """Whether its name says that it is a mask."""
    return bool(_MASK_NAME.search(file.stem))


def _is_litter(file: Source) -> bool:
    return any(part.startswith((".", "__MACOSX")) for part in file.parts) or file.stem == "Thumbs"
