"""A task the embedded models never saw: a new product, three new defects, a few references, and a judge of it.

The judge learns on unlimited pictures of the task; the trainings get `REFERENCES` a concept. A change is not a
defect: what counts is the right kind inside the mask. The judge knows the defects of pre-training too, as one more kind,
so that a base's crack is not taken for anything new.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from safetensors.torch import load_file, save_file
from torch.nn import functional

from engines import picking
from engines.embedded import SIZE, products, world
from engines.embedded.canvas import PIXEL, Array, Canvas, Rng, X, Y, mix, noise, paint, step, towards_light
from engines.embedded.defects import DEFECTS
from engines.embedded.oracles import NONE, Oracle
from engines.embedded.world import Scene

PRODUCT = "rubber seal"
REFERENCES = 8
TESTS = 900_000  # scenes from here on are never learnt from, by anyone
FOUND = 6  # cells of the judge's map that must show the kind


def seal(rng: Rng) -> Canvas:
    """A matt dark ring with a raised lip, on a plain table."""
    light = towards_light(rng)
    radius, width = rng.uniform(0.68, 0.85), rng.uniform(0.3, 0.4)
    x, y = (rng.uniform(-0.1, 0.1) for _ in "xy")
    r = np.hypot(X - x, Y - y)
    away = (np.abs(r - (radius - width / 2)) - width / 2).astype(np.float32)
    table, _ = products._ground(rng, light, 0.0)
    lip = np.exp(-(((r - radius + width * 0.5) / 0.05) ** 2)) * 0.25
    grey = rng.uniform(0.3, 0.45)
    tone = (grey, grey * rng.uniform(0.9, 1.0), grey * rng.uniform(0.85, 1.0))
    body = paint(tone, (0.9 + lip + 0.05 * noise(rng, 16)).astype(np.float32))
    return Canvas(mix(table, body, step(away)), step(away), -away, light)


def _spot(rng: Rng, canvas: Canvas, need: float) -> tuple[float, float]:
    at = int(rng.choice(np.flatnonzero(canvas.room >= min(need, 0.8 * float(canvas.room.max())))))
    return float(X.flat[at]), float(Y.flat[at])


def burn(rng: Rng, canvas: Canvas) -> Array:
    """A pale ring with a charred middle."""
    x, y = _spot(rng, canvas, 0.12)
    radius = rng.uniform(0.12, 0.18)
    far = (np.hypot(X - x, Y - y) - radius).astype(np.float32)
    charred = mix(canvas.rgb, (0.04, 0.03, 0.03), 0.95 * step(far, PIXEL * 2))
    return mix(charred, (0.95, 0.75, 0.45), 0.9 * np.exp(-((far / 0.03) ** 2)).astype(np.float32))


def bloom(rng: Rng, canvas: Canvas) -> Array:
    """A scatter of small white crystals."""
    x, y = _spot(rng, canvas, 0.14)
    far = np.full_like(X, 9.0)
    for _ in range(int(rng.integers(9, 15))):
        dx, dy = rng.normal(0, 0.09, 2)
        far = np.minimum(far, np.hypot(X - x - dx, Y - y - dy) - rng.uniform(1.0, 1.8) * PIXEL)
    return mix(canvas.rgb, (0.97, 0.98, 1.0), 0.95 * step(far.astype(np.float32), PIXEL * 0.7))


def paint_mark(rng: Rng, canvas: Canvas) -> Array:
    """A wavy stroke of green paint."""
    x, y = _spot(rng, canvas, 0.14)
    angle = rng.uniform(0, np.pi)
    u = (X - x) * np.cos(angle) + (Y - y) * np.sin(angle)
    v = -(X - x) * np.sin(angle) + (Y - y) * np.cos(angle)
    wave = v - 0.05 * np.sin(u * rng.uniform(18, 26))
    far = np.maximum(np.abs(wave) - 2.2 * PIXEL, np.abs(u) - rng.uniform(0.2, 0.3)).astype(np.float32)
    return mix(canvas.rgb, (0.1, 0.75, 0.2), 0.95 * step(far, PIXEL))


HARMS: dict[str, Callable[[Rng, Canvas], Array]] = {"burn": burn, "bloom": bloom, "paint mark": paint_mark}
KINDS = tuple(HARMS)
KNOWN = len(KINDS)  # the judge's class of all that the base can draw


def scene(seed: int, kind: str | None) -> Scene:
    return world.compose(seed, PRODUCT, seal, kind, None if kind is None else (HARMS | DEFECTS)[kind])


def on_tray(one: Scene, seed: int) -> Scene:
    """Four parts in one photo of twice the side, as a line camera sees them; `one` is the only one with a defect."""
    good = [scene(seed + 700_000 + i, None).clean for i in range(4)]
    where = seed % 4

    def whole(own: NDArray[np.uint8], others: list[NDArray[np.uint8]]) -> NDArray[np.uint8]:
        a, b, c, d = (own if i == where else other for i, other in enumerate(others))
        return np.concatenate([np.concatenate([a, b], 1), np.concatenate([c, d], 1)])

    dark = [np.zeros_like(one.mask)] * 4
    return replace(
        one, image=whole(one.image, good), clean=whole(one.clean, good), mask=whole(one.mask, dark)
    )


def off_tray(photo: NDArray[np.uint8], seed: int) -> NDArray[np.uint8]:
    """The part that `on_tray` put there."""
    down, right = divmod(seed % 4, 2)
    return photo[down * SIZE : (down + 1) * SIZE, right * SIZE : (right + 1) * SIZE]


def prompt(kind: str | None) -> str:
    return f"a photo of a {PRODUCT}" + (f" with a {kind}" if kind else "")


def references(
    folder: Path, seed: int, *, tray: bool = False
) -> tuple[tuple[dict[str, Any], ...], dict[str, Path]]:
    """Concepts with their photos, masks and good photos, as `Train.concepts` has them, and the files."""
    files: dict[str, Path] = {}
    told = []
    for kind in KINDS:
        shots, normals = [], []
        for i in range(REFERENCES):
            one, clean = scene(1000 * seed + i, kind), scene(1000 * seed + 500 + i, None)
            if tray:
                one, clean = on_tray(one, i), on_tray(clean, i)
            name, good = f"{kind}-{i}", f"{kind}-good-{i}"
            for blob, pixels in (
                (name, one.image),
                (f"{name}-mask", one.mask),
                (good, clean.image),
            ):
                files[blob] = folder / f"{blob.replace(' ', '-')}.png"
                Image.fromarray(pixels).save(files[blob])
            shots.append({"image": name, "mask": f"{name}-mask"})
            normals.append(good)
        told.append({"name": kind, "instance_prompt": prompt(kind), "class_prompt": prompt(None), "weight": 1.0,
                     "images": shots, "normals": normals, "class_images": []})  # fmt: skip
    return tuple(told), files


# ------------------------------------------------------------------ the judge


def judge(steps: int, batch: int = 16, seed: int = 0) -> Oracle:
    """A segmenter of the task's defects and of those known before, learnt from scenes that never repeat."""
    torch.manual_seed(seed)
    made = Oracle()
    optimizer = torch.optim.AdamW(made.parameters(), lr=2e-3)
    rate = torch.optim.lr_scheduler.OneCycleLR(optimizer, 4e-3, total_steps=steps)
    rng = np.random.default_rng(seed)
    weight = torch.full((NONE + 1,), 2.0)
    weight[NONE] = 0.5
    for at in range(steps):
        scenes, kinds = _lesson(rng, 100_000 + at * batch, batch)
        mask = torch.from_numpy(np.stack([s.mask for s in scenes])).float()[:, None] / 255
        marked = functional.avg_pool2d(mask, 2)[:, 0] > 0.25
        target = torch.where(marked, torch.tensor(kinds)[:, None, None], NONE)
        worn = pixels_of([s.image for s in scenes])
        worn = worn + float(rng.uniform(0, 0.05)) * torch.randn_like(worn)
        if rng.random() < 0.5:
            worn = torch.lerp(worn, functional.avg_pool2d(worn, 3, 1, 1), float(rng.uniform(0.2, 1.0)))
        loss = functional.cross_entropy(made(worn)[2], target, weight)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        rate.step()
    return made.eval()


LESSONS = (*KINDS, *KINDS, *DEFECTS, None, None)  # how often the judge sees each


def _lesson(rng: Rng, first: int, count: int) -> tuple[list[Scene], list[int]]:
    """Scenes of all sorts, and the class of each: of KINDS, KNOWN or NONE."""
    names = [LESSONS[i] for i in rng.integers(len(LESSONS), size=count)]
    classes = [NONE if name is None else KINDS.index(name) if name in KINDS else KNOWN for name in names]
    return [scene(first + i, name) for i, name in enumerate(names)], classes


def judge_kept(folder: Path, steps: int) -> Oracle:
    """The judge from `folder`; trained and kept there the first time."""
    path = folder / f"judge-{len(DEFECTS)}-{steps}.safetensors"
    if path.exists():
        made = Oracle()
        made.load_state_dict(load_file(path))
        return made.eval()
    made = judge(steps)
    folder.mkdir(parents=True, exist_ok=True)
    save_file(made.state_dict(), path.with_suffix(".part"))
    path.with_suffix(".part").replace(path)
    return made


def pixels_of(pictures: list[NDArray[np.uint8]]) -> torch.Tensor:
    """(n, 3, 128, 128) in −1..1."""
    return torch.from_numpy(np.stack(pictures)).permute(0, 3, 1, 2).float() / 127.5 - 1


@dataclass(frozen=True, slots=True)
class Verdict:
    """What the judge says of pictures of one kind, shares 0..1."""

    right: float  # show the asked kind, and no other more, inside the mask
    background: float  # mean change outside of the mask, in levels of 255
    diversity: float  # mean distance of two pictures inside the mask, in levels of 255
    copies: float  # near-copies of a reference


@torch.no_grad()
def verdict(
    own: Oracle, kind: str, made: list[NDArray[np.uint8]], clean: list[NDArray[np.uint8]], masks: list[NDArray[np.bool_]],
    learnt: list[picking.Patch],
) -> Verdict:  # fmt: skip
    maps = own(pixels_of(made))[2].argmax(1).numpy()
    right = [_shows(seen, mask, KINDS.index(kind)) for seen, mask in zip(maps, masks, strict=True)]
    apart = [np.abs(a.astype(float) - b)[~m].mean() for a, b, m in zip(made, clean, masks, strict=True)]
    patches = [picking.patch(picture, mask) for picture, mask in zip(made, masks, strict=True)]
    distances = [np.abs(a.astype(float) - b).mean() for i, a in enumerate(patches) for b in patches[:i]]
    near = [any(picking.alike(patch, other) > picking.ALIKE for other in learnt) for patch in patches]
    return Verdict(*(float(np.mean(v)) if v else 0.0 for v in (right, apart, distances, near)))


@torch.no_grad()
def faultless(own: Oracle, made: list[NDArray[np.uint8]], masks: list[NDArray[np.bool_]]) -> float:
    """The share of pictures that show no defect of any kind inside the mask."""
    maps = own(pixels_of(made))[2].argmax(1).numpy()
    counts = [_counts(seen, mask).sum() for seen, mask in zip(maps, masks, strict=True)]
    return float(np.mean([count < FOUND for count in counts]))


def _shows(seen: NDArray[np.int64], mask: NDArray[np.bool_], kind: int) -> bool:
    counts = _counts(seen, mask)
    return bool(counts[kind] >= FOUND and counts.argmax() == kind)


def _counts(seen: NDArray[np.int64], mask: NDArray[np.bool_]) -> NDArray[np.int64]:
    """Cells inside the mask that show each defect."""
    inside = seen[mask[::2, ::2] | mask[1::2, 1::2]]
    return np.bincount(inside, minlength=NONE + 1)[: KNOWN + 1]


def patches(scenes: list[Scene]) -> list[picking.Patch]:
    return [picking.patch(s.image, s.mask > 0) for s in scenes]
