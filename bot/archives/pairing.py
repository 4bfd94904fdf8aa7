"""Which mask belongs to which photo, by their names alone: `a.png` and `a_mask.png`, or `images/a` and `masks/a`.

Pure. Nothing is ever paired by its place in a list.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import PurePosixPath

MASK = re.compile(
    r"^(?P<stem>.*?)[ _.-]*(mask|masks|마스크)$|^(mask|마스크)[ _.-]+(?P<stem2>.+)$", re.IGNORECASE
)
MASK_FOLDERS = frozenset({"mask", "masks", "ground_truth", "마스크"})
PHOTO_FOLDERS = frozenset({"image", "images", "img", "imgs", "photo", "photos", "test", "사진"})

Key = tuple[str, ...]  # folders and stem, what says photo or mask taken away


@dataclass(frozen=True, slots=True)
class Pairs:
    """`masks[i]` is the place of the mask of photo `photos[i]` in the list, or None."""

    photos: tuple[int, ...]
    masks: tuple[int | None, ...]
    shared: bool = False  # the only mask there is serves all photos
    unused: tuple[int, ...] = ()  # masks without a photo


def looks_like_mask(name: str) -> bool:
    path = PurePosixPath(name)
    return bool(MASK.match(path.stem)) or any(part.casefold() in MASK_FOLDERS for part in path.parts[:-1])


def paired(names: Sequence[str], masks: frozenset[int] = frozenset(), takes_masks: bool = True) -> Pairs:
    """`masks` are places of files that were said to be masks; others are by their names.

    A file that is called like a mask and is no photo's is one all the same, unless nothing else is there.
    """
    every = range(len(names))
    if not takes_masks:
        return Pairs(tuple(every), (None,) * len(names))
    seen = masks | {i for i in every if looks_like_mask(names[i])}
    photos = tuple(i for i in every if i not in seen)
    if not photos:  # photos of masks: `face_mask.png`
        photos = tuple(i for i in every if i not in masks)
        seen = masks
    found = _found(names, photos, sorted(seen))
    if len(seen) == 1 and len(photos) > 1:
        return Pairs(photos, (next(iter(seen)),) * len(photos), shared=True)
    if len(seen) == len(photos) == 1:
        return Pairs(photos, tuple(seen))
    unused = tuple(i for i in sorted(seen) if i not in found)
    return Pairs(photos, found, unused=unused)


def _found(names: Sequence[str], photos: Sequence[int], masks: Sequence[int]) -> tuple[int | None, ...]:
    """By folder and stem; where that finds none, by the stem, if it is the only one so called."""
    whole, stems = _by_key(names, masks), _by_key(names, masks, stem=True)
    same_stem = _by_key(names, photos, stem=True)
    found: list[int | None] = []
    for photo in photos:
        near = whole[_key(names[photo])]
        far = stems[_key(names[photo])[-1:]]
        alone = len(far) == 1 and len(same_stem[_key(names[photo])[-1:]]) == 1
        found.append(near[0] if near else far[0] if alone else None)
    return tuple(found)


def _by_key(names: Sequence[str], places: Sequence[int], stem: bool = False) -> defaultdict[Key, list[int]]:
    by: defaultdict[Key, list[int]] = defaultdict(list)
    for i in places:
        key = _key(names[i])
        by[key[-1:] if stem else key].append(i)
    return by


def _key(name: str) -> Key:
    path = PurePosixPath(name.casefold())
    match = MASK.match(path.stem)
    stem = (match["stem"] or match["stem2"] or "") if match else path.stem
    folders = [part for part in path.parts[:-1] if part not in MASK_FOLDERS | PHOTO_FOLDERS]
    return (*folders, stem)
