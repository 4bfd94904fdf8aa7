"""What a trained model remembers of its references: a small patch of each defect, so that a copy of one is noticed.

`references.safetensors` beside the weights: {"patches": (n, 24, 24, 3), uint8}. Reading this needs no torch.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from safetensors import SafetensorError
from safetensors.numpy import load_file, save_file

from engines.picking import SIDE, Patch

FILE, KEY = "references.safetensors", "patches"
MOST = 2000  # patches, 3.5 MB; of more references so many, evenly spread


def write(folder: Path, patches: Sequence[Patch]) -> None:
    """Into `folder`, which nobody reads yet. No file where there are no patches."""
    if not patches:
        return
    places = np.linspace(0, len(patches) - 1, min(len(patches), MOST)).astype(int)
    save_file({KEY: np.stack([patches[i] for i in places])}, folder / FILE)


def read(path: Path) -> tuple[Patch, ...]:
    """The patches of the model at `path`; none where it has no such file, or one that is none of ours."""
    try:
        told = load_file(path / FILE)[KEY]
    except (OSError, KeyError, SafetensorError):
        return ()
    fits = told.dtype == np.uint8 and told.shape[1:] == (SIDE, SIDE, 3)
    return tuple(told) if fits else ()
