"""Procedural defects. Each takes a generator and a `Canvas` and gives the damaged rgb; the world finds the mask."""

from __future__ import annotations

import colorsys
from collections.abc import Callable
from itertools import pairwise

import numpy as np

from engines.embedded.canvas import PIXEL, Array, Canvas, Rng, X, Y, beside, mix, noise, segment, step


def _anchor(rng: Rng, canvas: Canvas, need: float) -> tuple[float, float, float]:
    """A spot (x, y) with room for a defect of radius `need`, and the room there is."""
    fits = np.flatnonzero(canvas.room >= min(need, 0.8 * float(canvas.room.max())))
    spot = int(rng.choice(fits))
    return float(X.flat[spot]), float(Y.flat[spot]), float(canvas.room.flat[spot])


def _around(canvas: Canvas, x: float, y: float, r: float) -> float:
    """Mean brightness of the product near a spot."""
    near = (np.hypot(X - x, Y - y) < r) & (canvas.region > 0.5)
    return float(canvas.rgb[near].mean()) if near.any() else 0.5


def _lobed(rng: Rng, x: float, y: float, radius: float, rough: float) -> Array:
    """(128, 128) signed distance to a rounded, uneven blob, in picture units."""
    angle = np.arctan2(Y - y, X - x)
    edge = np.ones_like(X)
    for k in range(2, 6):
        edge += rough / k * rng.standard_normal() * np.cos(k * angle + rng.uniform(0, 2 * np.pi))
    far: Array = np.hypot(X - x, Y - y) - radius * np.clip(edge, 0.55, 1.5)
    return far.astype(np.float32)


def _bent(
    rng: Rng, x: float, y: float, angle: float, length: float, bend: float, pieces: int
) -> list[tuple[float, float]]:
    """Points of a gently bent line through (x, y)."""
    t = np.linspace(-0.5, 0.5, pieces + 1) * length
    off = bend * length * (1 - (2 * t / length) ** 2) * rng.uniform(-1, 1)
    c, s = np.cos(angle), np.sin(angle)
    return [(float(x + a * c - b * s), float(y + a * s + b * c)) for a, b in zip(t, off, strict=True)]


def scratch(rng: Rng, canvas: Canvas) -> Array:
    """One to three nearly straight parallel grooves with a lit lip; they fade towards the ends."""
    x, y, _ = _anchor(rng, canvas, 0.3)
    angle, rgb = rng.uniform(0, np.pi), canvas.rgb
    length, bright = rng.uniform(0.6, 1.3), _around(canvas, x, y, 0.3) < 0.62
    for _ in range(int(rng.choice([1, 1, 2, 3]))):
        points = _bent(rng, x, y, angle + rng.normal(0, 0.05), length, 0.06, 4)
        pairs = list(pairwise(points))
        far = np.min([segment(*a, *b) for a, b in pairs], axis=0)
        width = rng.uniform(0.9, 1.5) * PIXEL
        line = step(far - width, PIXEL * 0.7) * rng.uniform(0.75, 0.95)
        lip = beside(line)
        core, edge = (
            ((0.97, 0.97, 0.95), (0.05, 0.05, 0.05)) if bright else ((0.22, 0.21, 0.2), (1.0, 1.0, 1.0))
        )
        rgb = mix(mix(rgb, edge, 0.45 * lip), core, line)
        gap, length = rng.uniform(0.07, 0.12), length * rng.uniform(0.6, 0.95)
        x, y = x - gap * float(np.sin(angle)), y + gap * float(np.cos(angle))
    return rgb


def _walk(
    rng: Rng, x: float, y: float, angle: float, length: float, pieces: int
) -> list[tuple[float, float]]:
    """A jagged path: every piece turns sharply one way, then the other."""
    points, side = [(x, y)], rng.choice([-1.0, 1.0])
    for _ in range(pieces):
        side = -side
        bend = angle + side * rng.uniform(0.3, 0.85)
        reach = length / pieces * rng.uniform(0.7, 1.3)
        x, y = x + reach * float(np.cos(bend)), y + reach * float(np.sin(bend))
        points.append((x, y))
    return points


def crack(rng: Rng, canvas: Canvas) -> Array:
    """A dark jagged line that branches and tapers, with a pale broken edge beside it."""
    x, y, _ = _anchor(rng, canvas, 0.3)
    angle, length = rng.uniform(0, 2 * np.pi), rng.uniform(0.7, 1.2)
    x, y = x - 0.45 * length * float(np.cos(angle)) * 0.8, y - 0.45 * length * float(np.sin(angle)) * 0.8
    trunk = _walk(rng, x, y, angle, length, 7)
    far = np.full_like(X, 9.0)
    for k, (a, b) in enumerate(pairwise(trunk)):
        far = np.minimum(far, segment(*a, *b) - PIXEL * (1.7 - 0.13 * k))
    for k in rng.choice([1, 2, 3, 4, 5], size=int(rng.integers(2, 4)), replace=False):
        turned = angle + float(rng.choice([-1.0, 1.0])) * rng.uniform(0.6, 1.1)
        twig = _walk(rng, *trunk[int(k)], turned, length * rng.uniform(0.25, 0.45), 3)
        for a, b in pairwise(twig):
            far = np.minimum(far, segment(*a, *b) - PIXEL * 0.95)
    line = step(far, PIXEL * 0.7)
    dark = _around(canvas, x, y, 0.6) < 0.3
    pale = beside(line)
    return mix(
        mix(canvas.rgb, (0.95, 0.92, 0.88), (0.6 if dark else 0.25) * pale), (0.03, 0.025, 0.02), 0.95 * line
    )


def dent(rng: Rng, canvas: Canvas) -> Array:
    """A smooth hollow: shadow on the side towards the light, highlight on the other."""
    need = rng.uniform(0.2, 0.34)
    x, y, room = _anchor(rng, canvas, need)
    radius = min(need, max(room * 1.15, 0.17))
    far = (_lobed(rng, x, y, radius, 0.12) + radius) / radius
    inside = np.clip(1 - far**2, 0, 1)
    slope = ((X - x) * canvas.light[0] + (Y - y) * canvas.light[1]) / radius
    lit = -slope * inside**0.8 * rng.uniform(1.0, 1.4)
    bright = mix(canvas.rgb, (1.0, 1.0, 1.0), np.clip(lit, 0, 0.75).astype(np.float32))
    shadow: Array = np.clip(-lit * 1.15, 0, 0.8) + 0.12 * inside
    return bright * (1 - shadow)[..., None].astype(np.float32)


def _foreign(rng: Rng, canvas: Canvas, x: float, y: float) -> Array:
    """A strong colour that the product does not have near (x, y): the farthest of three drawn ones."""
    near = (np.hypot(X - x, Y - y) < 0.25) & (canvas.region > 0.5)
    own = canvas.rgb[near].mean(axis=0)
    own = own / (own.sum() + 0.05)
    hues = rng.choice([0.0, 0.07, 0.14, 0.33, 0.6, 0.78], size=3, replace=False) + rng.normal(0, 0.015)
    drawn = [
        np.array(colorsys.hsv_to_rgb(h % 1.0, rng.uniform(0.75, 0.95), rng.uniform(0.35, 0.75)), np.float32)
        for h in hues
    ]
    return max(drawn, key=lambda c: float(np.abs(c / c.sum() - own).sum()))


def stain(rng: Rng, canvas: Canvas) -> Array:
    """A soft-edged blotch of foreign colour that lets the surface show through, darker at its rim."""
    need = rng.uniform(0.2, 0.36)
    x, y, room = _anchor(rng, canvas, min(need, 0.25))
    radius = min(need, max(room * 1.3, 0.2))
    far = _lobed(rng, x, y, radius, 0.3) + 0.02 * noise(rng, 10)
    colour = _foreign(rng, canvas, x, y)
    cover = step(far, PIXEL * 3) * rng.uniform(0.62, 0.8)
    rim = np.exp(-((far / (PIXEL * 3)) ** 2)) * 0.15
    light = canvas.rgb.mean(axis=2, keepdims=True)
    tinted = colour * (0.55 + 0.75 * light)
    return mix(mix(canvas.rgb, tinted, cover), (0.05, 0.03, 0.02), (rim * cover).astype(np.float32))


def hole(rng: Rng, canvas: Canvas) -> Array:
    """A round opening into the dark with a raised, lit rim."""
    need = rng.uniform(0.13, 0.24)
    x, y, room = _anchor(rng, canvas, need)
    radius = min(need, max(room * 0.9, 0.1))
    far = _lobed(rng, x, y, radius, 0.06)
    facing = ((X - x) * canvas.light[0] + (Y - y) * canvas.light[1]) / (np.hypot(X - x, Y - y) + 0.02)
    band = np.exp(-(((far - 0.025) / 0.022) ** 2))
    rgb = mix(canvas.rgb, (1.0, 0.99, 0.96), (band * (0.4 + 0.4 * facing)).clip(0, 1).astype(np.float32))
    depth = np.clip(0.03 + 0.1 * np.clip(-facing, 0, 1) * np.clip(1 + far / radius, 0, 1), 0, 1)
    return mix(rgb, paint_dark(depth.astype(np.float32)), step(far))


def paint_dark(depth: Array) -> Array:
    """(128, 128, 3): the inside of a hole, nearly black, a little lighter where light reaches its wall."""
    return np.repeat(depth[..., None], 3, axis=2)


DEFECTS: dict[str, Callable[[Rng, Canvas], Array]] = {
    "scratch": scratch,
    "crack": crack,
    "dent": dent,
    "stain": stain,
    "hole": hole,
}
