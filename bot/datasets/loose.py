"""Pictures without any order but their names: one concept, or one for each folder.

`a.png` with `a_mask.png`, or `masks/a.png`, is a photo with its mask; a folder called `good` or `normal` holds
good pictures.
"""

from __future__ import annotations

from pathlib import PurePosixPath

from bot.datasets.files import Gathered, Layout, Source, Tree, by_stem, called_mask, paired
from bot.datasets.words import instance_prompt

MASKS = frozenset(("mask", "masks", "ground_truth", "gt", "labels", "마스크"))
NORMALS = frozenset(("good", "normal", "normals", "ok", "정상"))


def read_loose(tree: Tree, title: str) -> Layout | None:
    """The concepts, or None where there is no picture at all. `title` is said where no folder has a name."""
    folders = [folder for folder in sorted(tree.folders) if tree.pictures(folder)]
    normals = [file for folder in folders if _called(folder, NORMALS) for file in tree.pictures(folder)]
    masks = [file for folder in folders if _called(folder, MASKS) for file in tree.pictures(folder)]
    shown = [f for f in folders if not _called(f, MASKS | NORMALS)]
    concepts = [_concept(tree, folder, title, masks, normals) for folder in shown]
    found = tuple(concept for concept in concepts if concept.photos)
    return Layout("photos", found) if found else None


def _concept(tree: Tree, folder: str, title: str, masks: list[Source], normals: list[Source]) -> Gathered:
    pictures = tree.pictures(folder)
    beside = [file for file in pictures if called_mask(file)]
    near = [file for file in masks if _shares(file.folder, folder)]
    name = PurePosixPath(folder).name or title
    return Gathered(
        name=name,
        instance_prompt=instance_prompt("", name),
        class_prompt="",
        photos=paired([f for f in pictures if not called_mask(f)], by_stem((*near, *beside))),
        normals=tuple(normals),
    )


def _shares(masks: str, photos: str) -> bool:
    """`nut/masks` and `masks/nut` both belong to `nut`; plain `masks` belongs to all."""
    kept = [part for part in PurePosixPath(masks).parts if part.lower() not in MASKS]
    own = PurePosixPath(photos).parts
    return not kept or list(own[-len(kept) :]) == kept or kept == list(own)


def _called(folder: str, names: frozenset[str]) -> bool:
    return any(part.lower() in names for part in PurePosixPath(folder).parts)
