"""A pool of scenes on disk, drawn once: training reads it as memory maps. Seeds below `HELD_OUT` train."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from engines.embedded import DEFECTS, PRODUCTS, SIZE
from engines.embedded.world import draw

HELD_OUT = 1_000_000
"""Training never draws a seed from here on; measurements draw no other."""


@dataclass(frozen=True, slots=True)
class Pool:
    """image, clean: (n, 128, 128, 3) uint8; mask: (n, 128, 128) uint8; product, defect: (n,) indices into the names."""

    image: NDArray[np.uint8]
    clean: NDArray[np.uint8]
    mask: NDArray[np.uint8]
    product: NDArray[np.int64]
    defect: NDArray[np.int64]

    def __len__(self) -> int:
        return len(self.product)


def names(n: int) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Product and defect index of each of n scenes: every pair equally often."""
    k = np.arange(n)
    return k % len(PRODUCTS), (k // len(PRODUCTS)) % len(DEFECTS)


def open_pool(folder: Path, n: int) -> Pool:
    """The pool of n defective scenes (and their clean twins) in `folder`; drawn first if it is not there yet."""
    product, defect = names(n)
    paths = [folder / f"pool-{n}-{part}.npy" for part in ("image", "clean", "mask")]
    if not all(p.exists() for p in paths):
        folder.mkdir(parents=True, exist_ok=True)
        shapes = [(n, SIZE, SIZE, 3), (n, SIZE, SIZE, 3), (n, SIZE, SIZE)]
        parts = [
            np.lib.format.open_memmap(p.with_suffix(".part"), "w+", np.uint8, s)
            for p, s in zip(paths, shapes, strict=True)
        ]
        for k in range(n):
            scene = draw(k, PRODUCTS[product[k]], DEFECTS[defect[k]])
            for part, value in zip(parts, (scene.image, scene.clean, scene.mask), strict=True):
                part[k] = value
        for part, path in zip(parts, paths, strict=True):
            part.flush()
            path.with_suffix(".part").replace(path)
    image, clean, mask = (np.load(p, mmap_mode="r") for p in paths)
    return Pool(image, clean, mask, product, defect)


def held_out(n: int) -> Pool:
    """n scenes whose seeds no training sees, in memory."""
    product, defect = names(n)
    scenes = [draw(HELD_OUT + k, PRODUCTS[product[k]], DEFECTS[defect[k]]) for k in range(n)]
    image, clean, mask = (np.stack([getattr(s, part) for s in scenes]) for part in ("image", "clean", "mask"))
    return Pool(image, clean, mask, product, defect)
