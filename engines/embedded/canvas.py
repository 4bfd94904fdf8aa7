"""What the world is painted with: coordinates, smooth noise, distances, shading. NumPy only, 128×128."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from engines.embedded import SIZE

Array = NDArray[np.floating[Any]]
Rng = np.random.Generator

_AXIS = ((np.arange(SIZE, dtype=np.float32) + 0.5) * (2.0 / SIZE) - 1.0).astype(np.float32)
X: Array = np.tile(_AXIS[None, :], (SIZE, 1))
Y: Array = np.tile(_AXIS[:, None], (1, SIZE))
PIXEL: float = 2.0 / SIZE


@dataclass(frozen=True, slots=True)
class Canvas:
    """A product without defects.

    rgb: (128, 128, 3) in 0..1. region: (128, 128) coverage 0..1, where a defect may show.
    room: (128, 128) distance to the region's edge, in units where the picture is 2 wide; negative outside.
    light: unit vector towards the light, in the picture's plane.
    """

    rgb: Array
    region: Array
    room: Array
    light: tuple[float, float]


@lru_cache(maxsize=256)
def _interpolation(cells: int) -> Array:
    """(128, cells + 3) cubic B-spline weights that spread a row of cells over the picture."""
    position = np.linspace(0.0, cells, SIZE, endpoint=False) + 0.5 * cells / SIZE
    first = position.astype(int)
    t = position - first
    weights = np.zeros((SIZE, cells + 3), dtype=np.float32)
    rows = np.arange(SIZE)
    for k, w in enumerate(((1 - t) ** 3, 3 * t**3 - 6 * t**2 + 4, -3 * t**3 + 3 * t**2 + 3 * t + 1, t**3)):
        weights[rows, first + k] = w / 6.0
    return weights


def noise(rng: Rng, down: int, across: int | None = None) -> Array:
    """(128, 128) smooth noise of about unit deviation with `down` × `across` cells over the picture."""
    wide = down if across is None else across
    grid = rng.standard_normal((down + 3, wide + 3)).astype(np.float32)
    spread: Array = (_interpolation(down) @ grid @ _interpolation(wide).T) * np.float32(2.0)
    return spread


def streaks(rng: Rng, along: Array, cells: int) -> Array:
    """1-D smooth noise of about unit deviation read at coordinate `along` (−1.5..1.5): lines of one direction."""
    knots = rng.standard_normal(cells + 2).astype(np.float32)
    fine = np.interp(np.linspace(0, cells + 1, 8 * cells), np.arange(cells + 2), knots)
    fine = np.convolve(fine, np.hanning(9) / np.hanning(9).sum(), mode="same")
    return np.interp(along, np.linspace(-1.6, 1.6, fine.size), fine).astype(np.float32) * np.float32(1.4)


def step(distance: Array, softness: float = PIXEL) -> Array:
    """1 where distance ≪ 0, 0 where distance ≫ 0, an antialiased edge between."""
    edge: Array = np.clip(0.5 - distance / (2.0 * softness), 0.0, 1.0).astype(np.float32)
    return edge


def mix(a: Array, b: Array | tuple[float, float, float], t: Array) -> Array:
    """a·(1−t) + b·t over colours; t is (128, 128)."""
    return (a + (np.asarray(b, np.float32) - a) * t[..., None]).astype(np.float32)


def paint(colour: Array | tuple[float, float, float], brightness: Array) -> Array:
    """(128, 128, 3): one colour times a brightness map."""
    return (np.asarray(colour, np.float32) * brightness[..., None]).astype(np.float32)


def shade(height: Array, light: tuple[float, float]) -> Array:
    """Slope of a height map towards the light, (128, 128): positive faces are lit."""
    down, across = np.gradient(height)
    slope = np.asarray(-(across * light[0] + down * light[1]))
    return slope.astype(np.float32)


def turn(rng: Rng, spread: float = np.pi) -> tuple[Array, Array]:
    """The picture's coordinates turned by a random angle within ±spread radians."""
    angle = rng.uniform(-spread, spread)
    c, s = np.float32(np.cos(angle)), np.float32(np.sin(angle))
    return X * c + Y * s, Y * c - X * s


def towards_light(rng: Rng) -> tuple[float, float]:
    """Light from somewhere above: a unit vector (x, y), y negative being up."""
    angle = rng.uniform(-2.4, -0.74)
    return float(np.cos(angle)), float(np.sin(angle))


def segment(ax: float, ay: float, bx: float, by: float) -> Array:
    """(128, 128) distance to the segment from a to b."""
    dx, dy = bx - ax, by - ay
    t = np.clip(((X - ax) * dx + (Y - ay) * dy) / max(dx * dx + dy * dy, 1e-9), 0.0, 1.0)
    return np.hypot(X - ax - t * dx, Y - ay - t * dy).astype(np.float32)


def everywhere() -> tuple[Array, Array]:
    """Region and room of a texture that fills the picture."""
    room = (0.96 - np.maximum(np.abs(X), np.abs(Y))).astype(np.float32)
    return np.ones((SIZE, SIZE), np.float32), room


def beside(line: Array) -> Array:
    """(128, 128) the map moved one pixel down and right, where the map itself is not: a lip or a broken edge."""
    moved = np.pad(line[:-1, :-1], ((1, 0), (1, 0)))
    return (moved * (1 - line)).astype(np.float32)
