"""Pictures of the class, made by the base before it learns, where a concept came without good photos.

As DreamBooth does for its prior preservation. They are files beside the checkpoints, so they are made once.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from PIL import Image

from engines import recipe
from engines.training import drawing
from engines.training.concepts import Concept, missing
from engines.training.request import CLASS_STEPS, NORMAL, Train
from engines.training.samples import Item

STEPS = CLASS_STEPS
BATCH = 4


@dataclass(frozen=True, slots=True)
class Wanted:
    """One picture to be made."""

    concept: int
    prompt: str
    path: Path
    number: int


def wanted(request: Train, concepts: Sequence[Concept], folder: Path) -> list[Wanted]:
    """All class pictures of a training, made already or not."""
    return [
        Wanted(at, concepts[at].class_prompt, folder / "class" / f"{at:02}-{i:04}.png", i)
        for at, count in missing(concepts, request).items()
        for i in range(count)
    ]


def with_pictures(concepts: Sequence[Concept], all: Sequence[Wanted]) -> tuple[Concept, ...]:
    """The concepts with the pictures that are going to be made as their prior."""
    return tuple(
        replace(c, prior=(*c.prior, *(w.path.as_posix() for w in all if w.concept == c.index)))
        for c in concepts
    )


def ticks(all: Sequence[Wanted]) -> int:
    return -(-len(all) // BATCH) * STEPS


def batch(all: Sequence[Wanted], tick: int) -> Sequence[Wanted]:
    """The pictures that a tick works on."""
    at = tick // STEPS * BATCH
    return all[at : at + BATCH]


def made_ticks(all: Sequence[Wanted]) -> int:
    """How many ticks an earlier life of the run has saved."""
    for at in range(0, len(all), BATCH):
        if not all_there(all[at : at + BATCH]):
            return at // BATCH * STEPS
    return ticks(all)


def all_there(some: Sequence[Wanted]) -> bool:
    return all(w.path.is_file() for w in some)


def items(request: Train, some: Sequence[Wanted], side: int) -> list[Item]:
    """What the sampler is asked for. An inpainting model fills a grey picture."""
    grey, hole = np.full((side, side, 3), 127, np.uint8), np.ones((side, side), np.bool_)
    bare = request.mode == NORMAL
    return [
        Item(w.concept, w.prompt, None if bare else grey, None if bare else hole, name=("class", w.number))
        for w in some
    ]


def keep(some: Sequence[Wanted], pictures: Sequence[Image.Image]) -> None:
    for w, picture in zip(some, pictures, strict=True):
        w.path.parent.mkdir(exist_ok=True)
        recipe.write(w.path, drawing.png(picture))
