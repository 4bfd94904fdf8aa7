"""Procedural products. Each takes a generator and gives a faultless `Canvas`; add one by adding a function."""

from __future__ import annotations

import colorsys
from collections.abc import Callable

import numpy as np

from engines.embedded.canvas import (
    PIXEL,
    Array,
    Canvas,
    Rng,
    X,
    Y,
    everywhere,
    mix,
    noise,
    paint,
    shade,
    step,
    streaks,
    towards_light,
    turn,
)  # fmt: skip


def _hsv(hue: float, saturation: float, value: float) -> tuple[float, float, float]:
    return colorsys.hsv_to_rgb(hue % 1.0, saturation, value)


def _plain(colour: tuple[float, float, float]) -> Array:
    return np.broadcast_to(np.asarray(colour, np.float32), (*X.shape, 3))


def _glow(rng: Rng, light: tuple[float, float], depth: float) -> Array:
    """Uneven light over the whole picture, around 1."""
    return 1.0 + depth * (X * light[0] + Y * light[1]) * rng.uniform(0.3, 1.0) + 0.03 * noise(rng, 2)


def _texture(rgb: Array, light: tuple[float, float]) -> Canvas:
    region, room = everywhere()
    return Canvas(rgb, region, room, light)


def metal_plate(rng: Rng) -> Canvas:
    """A brushed plate: fine parallel streaks and a broad shine."""
    light = towards_light(rng)
    u, v = turn(rng)
    brushed = 0.022 * streaks(rng, u, 40) + 0.03 * streaks(rng, u, 16) + 0.012 * noise(rng, 10)
    shine = np.exp(-(((u - rng.uniform(-0.8, 0.8)) / rng.uniform(0.35, 0.8)) ** 2)) * rng.uniform(0.08, 0.2)
    grey = _hsv(rng.uniform(0.5, 0.68), rng.uniform(0.01, 0.09), rng.uniform(0.5, 0.7))
    return _texture(paint(grey, _glow(rng, light, 0.15) + 1.6 * brushed + shine + 0.03 * v), light)


def wood(rng: Rng) -> Canvas:
    """Planed wood: warped growth rings, dark late wood, fine fibres along the grain."""
    light = towards_light(rng)
    u, v = turn(rng)
    warp = 0.12 * noise(rng, 2) + 0.05 * streaks(rng, v, 5)
    rings = 0.5 + 0.5 * np.sin((u + warp) * rng.uniform(14, 30) + 3.0 * streaks(rng, u + warp, 6))
    fibre = streaks(rng, u + 0.4 * warp, 34)
    hue, value = rng.uniform(0.06, 0.1), rng.uniform(0.55, 0.85)
    pale = paint(_hsv(hue, rng.uniform(0.38, 0.6), value), _glow(rng, light, 0.08) + 0.03 * fibre)
    late = _hsv(hue - 0.015, rng.uniform(0.6, 0.75), value * rng.uniform(0.62, 0.78))
    return _texture(mix(pale, late, (rings**2 * 0.8).astype(np.float32)), light)


def leather(rng: Rng) -> Canvas:
    """Grained leather: rounded cells between creases, lit from one side."""
    light = towards_light(rng)
    cells = int(rng.integers(15, 23))
    height = -np.sqrt(np.abs(noise(rng, cells)) + 0.02) - 0.5 * np.sqrt(np.abs(noise(rng, cells)) + 0.02)
    hue = float(rng.choice([rng.uniform(0.02, 0.08), rng.uniform(0.02, 0.08), rng.uniform(0.98, 1.0), 0.6]))
    colour = _hsv(hue, rng.uniform(0.35, 0.7), rng.uniform(0.3, 0.6))
    relief = 0.16 * (-height - 1.1) + 0.55 * shade(-height, light)
    return _texture(paint(colour, _glow(rng, light, 0.15) + np.clip(relief, -0.4, 0.4)), light)


def tile(rng: Rng) -> Canvas:
    """Glazed tiles in grout: a bevelled edge, a gloss, soft mottling."""
    light = towards_light(rng)
    u, v = turn(rng, 0.12)
    pitch = rng.uniform(0.95, 1.5)
    du, dv = u + rng.uniform(-0.5, 0.5), v + rng.uniform(-0.5, 0.5)
    fu, fv = (du / pitch + 0.5) % 1.0 - 0.5, (dv / pitch + 0.5) % 1.0 - 0.5
    edge = (np.maximum(np.abs(fu), np.abs(fv)) - 0.5) * pitch
    gap = rng.uniform(0.03, 0.05)
    colour = _hsv(
        float(rng.choice([0.03, 0.09, 0.36, 0.5, 0.58])), rng.uniform(0.05, 0.55), rng.uniform(0.65, 0.92)
    )
    bevel = np.clip((edge + gap + 0.09) / 0.09, 0, 1)
    lit = shade(-bevel.astype(np.float32), light) * 0.7
    brightness = _glow(rng, light, 0.1) + lit + 0.025 * noise(rng, 9) + 0.03 * noise(rng, 4)
    grout = _hsv(0.1, 0.06, float(rng.choice([0.35, 0.85])) * rng.uniform(0.85, 1.1))
    return _texture(mix(paint(colour, brightness), grout, step(-(edge + gap).astype(np.float32))), light)


def carpet(rng: Rng) -> Canvas:
    """Woven pile: rows of loops in two related colours."""
    light = towards_light(rng)
    u, v = turn(rng)
    pitch = rng.uniform(0.11, 0.15)
    row = np.floor(v / pitch)
    loop = np.cos(2 * np.pi * (u / pitch * 0.75 + 0.5 * (row % 2))) * 0.5 + 0.5
    ridge = np.abs(np.cos(np.pi * v / pitch - np.pi / 2))
    pile = (loop * 0.6 + 0.4) * ridge + 0.1 * noise(rng, 24)
    hue = rng.uniform(0, 1)
    colour = _hsv(hue, rng.uniform(0.25, 0.65), rng.uniform(0.5, 0.75))
    other = _hsv(hue + rng.uniform(-0.06, 0.06), rng.uniform(0.2, 0.6), rng.uniform(0.35, 0.8))
    blend = np.clip(0.5 + 0.5 * noise(rng, 5), 0, 1).astype(np.float32)
    rgb = mix(_plain(colour), other, blend)
    return _texture(
        rgb * (_glow(rng, light, 0.1) * (0.66 + 0.42 * pile))[..., None].astype(np.float32), light
    )


def wire_grid(rng: Rng) -> Canvas:
    """A woven wire mesh before a plain ground: round wires, over and under in turn."""
    light = towards_light(rng)
    u, v = turn(rng, 0.8)
    pitch = rng.uniform(0.27, 0.38)
    half = pitch * rng.uniform(0.19, 0.25)
    fu, fv = (u / pitch) % 1.0 - 0.5, (v / pitch) % 1.0 - 0.5
    over = ((np.floor(u / pitch) + np.floor(v / pitch)) % 2 > 0).astype(np.float32)
    du, dv = np.abs(fu) * pitch, np.abs(fv) * pitch
    round_u, round_v = (np.sqrt(np.clip(1 - (d / half) ** 2, 0, 1)) for d in (du, dv))
    ground = _hsv(
        rng.uniform(0, 1), rng.uniform(0, 0.25), float(rng.choice([0.14, 0.9])) * rng.uniform(0.85, 1.1)
    )
    wire = _hsv(rng.uniform(0.08, 0.62), rng.uniform(0.02, 0.2), rng.uniform(0.6, 0.85))
    rgb = paint(ground, _glow(rng, light, 0.06))
    upper, lower = np.where(over > 0, round_u, round_v), np.where(over > 0, round_v, round_u)
    du, dv = (np.where(over > 0, a, b) for a, b in ((du, dv), (dv, du)))
    glow = _glow(rng, light, 0.1)
    rgb = mix(rgb, paint(wire, glow * (0.35 + 0.5 * lower)), step((dv - half).astype(np.float32)))
    rgb = mix(rgb, paint(wire, glow * (0.45 + 0.6 * upper)), step((du - half).astype(np.float32)))
    return _texture(rgb, light)


def _ground(rng: Rng, light: tuple[float, float], away_from: float) -> tuple[Array, float]:
    """A plain table under an object, unlike the object in brightness; returns (rgb, its brightness)."""
    value = rng.uniform(0.08, 0.25) if away_from > 0.55 and rng.random() < 0.7 else rng.uniform(0.75, 0.95)
    colour = _hsv(rng.uniform(0, 1), rng.uniform(0.0, 0.35), value)
    return paint(colour, _glow(rng, light, 0.12) + 0.015 * noise(rng, 8)), value


def _place(rng: Rng, radius: float) -> tuple[Array, Array]:
    """Turned coordinates around an object's own centre, which wanders as far as its radius allows."""
    u, v = turn(rng)
    shift = max(0.93 - radius, 0.02)
    return u - np.float32(rng.uniform(-shift, shift) * 0.7), v - np.float32(rng.uniform(-shift, shift) * 0.7)


def _shadow(rgb: Array, distance: Array, light: tuple[float, float]) -> Array:
    """A soft shadow on the table, on the side away from the light."""
    dx, dy = (round(-6 * c) for c in light)
    moved = np.roll(distance, (dy, dx), (0, 1))
    return mix(rgb, (0.02, 0.02, 0.03), 0.55 * step(moved - 0.02, 0.08))


def bottle(rng: Rng) -> Canvas:
    """A bottle's mouth from above: body, thick rim with a ring of light, dark throat."""
    light = towards_light(rng)
    radius = rng.uniform(0.72, 0.88)
    u, v = _place(rng, radius)
    r = np.hypot(u, v) / radius
    hue = float(rng.choice([rng.uniform(0.06, 0.1), rng.uniform(0.25, 0.4), rng.uniform(0.55, 0.62)]))
    value = rng.uniform(0.4, 0.62)
    rgb, _ = _ground(rng, light, 0.0)
    rgb = _shadow(rgb, ((r - 1) * radius).astype(np.float32), light)
    glass = _hsv(hue, rng.uniform(0.45, 0.75), value)
    throat = rng.uniform(0.4, 0.47)
    angle = (X * light[0] + Y * light[1]) / (np.hypot(X, Y) + 0.1)
    profile = np.sin(np.clip((r - throat) / (1 - throat), 0, 1) * np.pi)
    bright = 0.62 + 0.38 * profile + 0.2 * angle * (r - 0.7) * 3
    ring = np.exp(-(((r - rng.uniform(0.7, 0.76)) / 0.035) ** 2)) * (0.22 + 0.25 * np.clip(angle, 0, 1))
    inner = np.clip(0.12 + 0.25 * (r / throat) ** 3, 0, 0.4)
    body = mix(paint(glass, bright.astype(np.float32)), (1.0, 1.0, 0.97), ring.astype(np.float32))
    body = mix(body, paint(glass, inner.astype(np.float32)), step(((r - throat) * radius).astype(np.float32)))
    outside = ((r - 1) * radius).astype(np.float32)
    room = np.minimum(-outside, (r - throat) * radius).astype(np.float32)
    return Canvas(mix(rgb, body, step(outside)), step(-room), room, light)


def metal_nut(rng: Rng) -> Canvas:
    """A hexagonal nut: flat face, chamfered corners, threaded hole."""
    light = towards_light(rng)
    radius = rng.uniform(0.66, 0.78)
    u, v = _place(rng, radius * 1.12)
    apothem = np.max([np.abs(u * np.cos(a) + v * np.sin(a)) for a in (0.0, np.pi / 3, 2 * np.pi / 3)], axis=0)
    r, bore = np.hypot(u, v), radius * rng.uniform(0.4, 0.47)
    outside = (apothem - radius).astype(np.float32)
    value = rng.uniform(0.6, 0.78)
    metal = _hsv(float(rng.choice([0.6, 0.12])), rng.uniform(0.03, 0.22), value)
    rgb, _ = _ground(rng, light, value)
    rgb = _shadow(rgb, outside, light)
    chamfer = np.clip((np.maximum(apothem - radius * 0.96, r - radius * 0.99)) / 0.05, 0, 1).astype(
        np.float32
    )
    lit = shade(-chamfer, light)
    face = _glow(rng, light, 0.15) + 0.02 * streaks(rng, u, 24) + 0.02 * noise(rng, 6)
    body = paint(metal, face - 0.22 * chamfer + 0.9 * lit)
    body = mix(body, (1.0, 1.0, 1.0), 0.25 * np.exp(-(((r - bore - 0.05) / 0.03) ** 2)))
    thread = 0.25 + 0.2 * np.cos((r - bore) / 0.055 * 2 * np.pi)
    hole = mix(
        paint(metal, thread.astype(np.float32)),
        rgb * np.float32(0.6),
        step((r - bore * 0.74).astype(np.float32)),
    )
    body = mix(body, hole, step((r - bore).astype(np.float32)))
    room = np.minimum(-outside, r - bore).astype(np.float32)
    return Canvas(mix(rgb, body, step(outside)), step(-room), room, light)


def pill(rng: Rng) -> Canvas:
    """A pill: an oval dome of one colour or a two-coloured capsule, on a plain table."""
    light = towards_light(rng)
    long, wide = rng.uniform(0.6, 0.8), rng.uniform(0.36, 0.5)
    u, v = _place(rng, long)
    straight = (long - wide) * rng.uniform(0.6, 1.0)
    outside = (np.hypot(np.maximum(np.abs(u) - straight, 0), v) - wide).astype(np.float32)
    dome = np.sqrt(np.clip(-outside / wide, 0, 1))
    colour = _hsv(
        float(rng.choice([0.0, 0.1, 0.14, 0.33, 0.58, 0.93])), rng.uniform(0.05, 0.6), rng.uniform(0.75, 0.95)
    )
    other = (
        _hsv(rng.uniform(0, 1), rng.uniform(0.1, 0.6), rng.uniform(0.7, 0.95))
        if rng.random() < 0.35
        else colour
    )
    base = mix(_plain(colour), other, step(u, PIXEL * 1.5))
    lit = 0.62 + 0.38 * dome + 2.2 * shade(dome.astype(np.float32), light) + 0.01 * noise(rng, 10)
    rgb, _ = _ground(rng, light, 0.9)
    rgb = _shadow(rgb, outside, light)
    body = base * np.clip(lit, 0, 1.15)[..., None].astype(np.float32)
    return Canvas(mix(rgb, body, step(outside)), step(outside), -outside, light)


PRODUCTS: dict[str, Callable[[Rng], Canvas]] = {
    "metal plate": metal_plate,
    "wood": wood,
    "leather": leather,
    "tile": tile,
    "carpet": carpet,
    "wire grid": wire_grid,
    "bottle": bottle,
    "metal nut": metal_nut,
    "pill": pill,
}
