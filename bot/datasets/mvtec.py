"""The layout of MVTec AD (Bergmann et al. 2019): categories × defects become concepts.

`nut/train/good/000.png`, `nut/test/scratch/000.png`, `nut/ground_truth/scratch/000_mask.png`; one category or
several, with or without a folder around them, and with the category's own folder left out.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import PurePosixPath

from bot.datasets.files import Gathered, Layout, Source, Tree, by_stem, paired
from bot.datasets.words import class_prompt, instance_prompt
from engines.words import Words

GOOD = ("good", "ok", "normal")


def read_mvtec(tree: Tree, title: str) -> Layout | None:
    """The concepts, or None where the files do not lie like that.

    `title` names the category where the archive holds the inside of one.
    """
    categories = sorted({folder for folder in tree.folders if _is_category(tree, folder)})
    if not categories:
        return None
    concepts, notes = [], []
    for category in categories:
        product = PurePosixPath(category).name or title
        normals = _normals(tree, category)
        found = list(_defects(tree, category))
        notes += [] if normals or not found else [_NO_GOOD(category=product)]
        notes += [] if found else [_NO_DEFECTS(category=product)]
        for defect, folder in found:
            masks = by_stem(tree.pictures(_join(category, f"ground_truth/{defect}")))
            concepts.append(
                Gathered(
                    name=f"{product} {defect}" if len(categories) > 1 else defect,
                    instance_prompt=instance_prompt(product, defect),
                    class_prompt=class_prompt(product),
                    photos=paired(tree.pictures(folder), masks),
                    normals=tuple(normals),
                )
            )
    return Layout("mvtec", tuple(concepts), tuple(notes))


def _is_category(tree: Tree, folder: str) -> bool:
    return any(_defects(tree, folder)) or bool(
        tree.pictures(_join(folder, "train/good")) and _join(folder, "test") in tree.folders
    )


def _defects(tree: Tree, category: str) -> Iterator[tuple[str, str]]:
    """(name, folder) of every kind of defect that has pictures."""
    test = _join(category, "test")
    for folder in sorted(tree.folders):
        path = PurePosixPath(folder)
        if str(path.parent) == test and path.name.lower() not in GOOD and tree.pictures(folder):
            yield path.name, folder


def _normals(tree: Tree, category: str) -> list[Source]:
    """Good pictures: those to train on, else the ones to test with."""
    for part in ("train", "test"):
        for name in GOOD:
            if found := tree.pictures(_join(category, f"{part}/{name}")):
                return found
    return []


def _join(folder: str, inside: str) -> str:
    return f"{folder}/{inside}" if folder else inside


_NO_GOOD = Words(
    "`{category}` has no good pictures (`train/good`).",
    "`{category}`에 정상 사진(`train/good`)이 없습니다.",
)
_NO_DEFECTS = Words(
    "`{category}` has no pictures of defects (`test/…`) and was left out.",
    "`{category}`에는 결함 사진(`test/…`)이 없어 제외했습니다.",
)
