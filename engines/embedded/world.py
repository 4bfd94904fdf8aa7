"""The procedural world: any product × any defect, with the exact mask and the same picture without the defect."""

from __future__ import annotations

import zlib
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from engines.embedded import SIZE
from engines.embedded.canvas import Array, Canvas, Rng
from engines.embedded.defects import DEFECTS
from engines.embedded.products import PRODUCTS

VISIBLE = 7
"""Levels of 255 by which a pixel must change to belong to the defect."""


@dataclass(frozen=True, slots=True)
class Scene:
    """image, clean: (128, 128, 3) uint8; mask: (128, 128) uint8, 255 exactly where image differs from clean."""

    image: NDArray[np.uint8]
    clean: NDArray[np.uint8]
    mask: NDArray[np.uint8]
    product: str
    defect: str | None


def draw(seed: int, product: str, defect: str | None = None) -> Scene:
    """One scene; the product's look depends on (seed, product) alone, so `clean` is shared by all its defects.

    Raises:
        KeyError: no such product or defect.
    """
    return compose(seed, product, PRODUCTS[product], defect, None if defect is None else DEFECTS[defect])


def compose(
    seed: int,
    product: str,
    make: Callable[[Rng], Canvas],
    defect: str | None,
    harm: Callable[[Rng, Canvas], Array] | None,
) -> Scene:
    """`draw` with the makers given: how a test brings a product or defect that the models never saw."""
    rng = np.random.default_rng([seed, zlib.crc32(product.encode())])
    canvas = make(rng)
    grain = rng.normal(0, rng.uniform(0.003, 0.01), (SIZE, SIZE, 1)).astype(np.float32)
    tint = rng.uniform(0.95, 1.05, 3).astype(np.float32)
    clean = _develop(canvas.rgb, tint, grain)
    if harm is None:
        return Scene(clean, clean, np.zeros((SIZE, SIZE), np.uint8), product, None)
    for attempt in range(20):
        own = np.random.default_rng([seed, zlib.crc32(f"{product}/{defect}".encode()), attempt])
        harmed = harm(own, canvas)
        kept = canvas.rgb + (harmed - canvas.rgb) * canvas.region[..., None]
        image = _develop(kept, tint, grain)
        changed = np.abs(image.astype(np.int16) - clean).max(axis=2) >= VISIBLE
        if changed.sum() >= 60:
            break
    image = np.where(changed[..., None], image, clean)
    return Scene(image, clean, changed.astype(np.uint8) * np.uint8(255), product, defect)


def _develop(rgb: Array, tint: Array, grain: Array) -> NDArray[np.uint8]:
    return (np.clip(rgb * tint + grain, 0, 1) * 255 + 0.5).astype(np.uint8)
