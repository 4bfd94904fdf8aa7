"""The references' defects as small patches, for `engines.models.references`. numpy and PIL only."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from engines import picking
from engines.picking import Patch
from engines.training import views
from engines.training.concepts import Concept
from engines.words import Refusal, alike


def patches(concepts: Sequence[Concept], files: Mapping[str, Path]) -> list[Patch]:
    """One of each reference with a mask: without one nobody knows where the defect is.

    A reference that cannot be read any more is left out: a finished training does not fail for it.
    """
    shots = [(shot.image, shot.mask) for concept in concepts for shot in concept.shots if shot.mask]
    found = [_patch(files.get(image), files.get(mask)) for image, mask in shots]
    return [one for one in found if one is not None]


def _patch(image: Path | None, mask: Path | None) -> Patch | None:
    try:
        photo = views.opened(image, alike("photo"))
        white = views.mask_bits(mask, photo.size, alike("mask"))
    except Refusal:
        return None
    return picking.patch(np.asarray(photo), white) if white.any() else None
