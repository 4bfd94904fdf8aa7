"""Measures the shipped folders on held-out seeds, as a user loads them, and writes the model card."""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import open_clip
import torch
from diffusers import AutoencoderKL, StableDiffusionInpaintPipeline, StableDiffusionPipeline
from numpy.typing import NDArray
from PIL import Image

from engines.embedded import DEFECTS, PRODUCTS, SIZE, oracles, pool, vae
from engines.embedded.captions import simple
from engines.embedded.card import render, steps_of
from engines.embedded.diffusion import covering

STEPS, GUIDANCE = 20, 3.0
FOUND = 12
"""Pixels of the oracle's 64×64 map that must bear the asked defect's name for it to count as found."""


@dataclass(frozen=True, slots=True)
class Figure:
    """One measured figure: value with its 95 % interval, the number of pictures, and the target it should reach."""

    name: str
    value: float
    low: float
    high: float
    pictures: int
    target: float | None
    unit: str = "%"


def share(name: str, right: NDArray[np.bool_], target: float | None) -> Figure:
    """A share in percent with Wilson's interval (1927)."""
    n, z = len(right), 1.96
    p = float(right.mean())
    centre, wide = p + z * z / (2 * n), z * math.sqrt(p * (1 - p) / n + z * z / (4 * n * n))
    low, high = (centre - wide) / (1 + z * z / n), (centre + wide) / (1 + z * z / n)
    return Figure(name, 100 * p, 100 * low, 100 * high, n, target)


def mean(name: str, values: NDArray[np.float64], target: float | None, unit: str) -> Figure:
    """A mean with its normal interval."""
    middle, wide = float(values.mean()), 1.96 * float(values.std(ddof=1)) / math.sqrt(len(values))
    return Figure(name, middle, middle - wide, middle + wide, len(values), target, unit)


def _seen(pictures: NDArray[np.uint8]) -> torch.Tensor:
    return torch.from_numpy(np.array(pictures)).permute(0, 3, 1, 2).float() / 127.5 - 1


def of_vae(weights: Path, judge: oracles.Oracle, count: int, work: Path) -> list[Figure]:
    """Round trip of `count` pictures of every defect type: PSNR, and what the oracle still recognises."""
    codec = AutoencoderKL.from_pretrained(weights / "txt2img" / "vae").eval()
    real = pool.held_out(count * len(DEFECTS))
    back = vae.round_trip(codec, real.image)
    kind = oracles.answers(judge, _seen(back))[1].numpy() == real.defect
    ideal = oracles.answers(judge, _seen(real.image))
    found = [mean("VAE round trip, PSNR", vae.psnr(real.image, back), 28.0, "dB")]
    found += [
        share(f"VAE round trip, {d} recognised", kind[real.defect == k], 95.0) for k, d in enumerate(DEFECTS)
    ]
    found.append(share("(the oracle on real pictures, product)", ideal[0].numpy() == real.product, None))
    found.append(share("(the oracle on real pictures, defect)", ideal[1].numpy() == real.defect, None))
    sheet(
        work / "sheet-vae.png", [p for pair in zip(real.image[:27], back[:27], strict=True) for p in pair], 18
    )
    return found


def of_txt2img(weights: Path, judge: oracles.Oracle, count: int, work: Path) -> list[Figure]:
    """`count` pictures from plain captions, through diffusers' own pipeline."""
    pipe = StableDiffusionPipeline.from_pretrained(weights / "txt2img")
    pipe.set_progress_bar_config(disable=True)
    product, defect = pool.names(count)
    made: list[NDArray[np.uint8]] = []
    for k in range(0, count, 20):
        rows = range(k, min(k + 20, count))
        out = pipe(
            [simple(PRODUCTS[product[r]], DEFECTS[defect[r]]) for r in rows], num_inference_steps=STEPS,
            guidance_scale=GUIDANCE, generator=[torch.Generator().manual_seed(pool.HELD_OUT + r) for r in rows],
        )  # fmt: skip
        made += [np.asarray(image) for image in out.images]
    sheet(work / "sheet-txt2img.png", made, 9)
    which, kind, _ = oracles.answers(judge, _seen(np.stack(made)))
    return [
        share("txt2img, asked product recognised", which.numpy() == product, 90.0),
        share("txt2img, asked defect recognised", kind.numpy() == defect, 70.0),
    ]


def found_inside(pixels: NDArray[np.int64], mask: NDArray[np.bool_], defect: int) -> bool:
    """Whether the oracle's (64, 64) map shows the asked defect, and no other more, inside the (128, 128) mask."""
    inside = pixels[mask[::2, ::2] | mask[1::2, 1::2]]
    counts = np.bincount(inside, minlength=oracles.KINDS)[: oracles.NONE]
    return bool(counts[defect] >= FOUND and counts.argmax() == defect)


def of_inpaint(weights: Path, judge: oracles.Oracle, count: int, work: Path) -> list[Figure]:
    """`count` faultless pictures, each with a mask a person might draw and a caption with the defect."""
    pipe = StableDiffusionInpaintPipeline.from_pretrained(weights / "inpaint")
    pipe.set_progress_bar_config(disable=True)
    real, rng = pool.held_out(count), np.random.default_rng(5)
    masks = [_drawn(rng, m > 0) for m in real.mask]
    made: list[NDArray[np.uint8]] = []
    for k in range(0, count, 20):
        rows = range(k, min(k + 20, count))
        out = pipe(
            [simple(PRODUCTS[real.product[r]], DEFECTS[real.defect[r]]) for r in rows],
            image=[Image.fromarray(real.clean[r]) for r in rows],
            mask_image=[Image.fromarray(masks[r].astype(np.uint8) * 255) for r in rows],
            height=SIZE, width=SIZE, num_inference_steps=STEPS, guidance_scale=GUIDANCE,
            generator=[torch.Generator().manual_seed(pool.HELD_OUT + r) for r in rows],
        )  # fmt: skip
        made += [
            np.where(masks[r][..., None], np.asarray(i), real.clean[r])
            for r, i in zip(rows, out.images, strict=True)
        ]
    shown = [p for k in range(min(36, count)) for p in (_outlined(real.clean[k], masks[k]), made[k])]
    sheet(work / "sheet-inpaint.png", shown, 12)
    return [_found("inpaint, asked defect found inside the mask", judge, made, masks, real.defect, 80.0),
            _found("(the same rule on real defects)", judge, list(real.image), masks, real.defect, None),
            _found("(the same rule on faultless pictures)", judge, list(real.clean), masks, real.defect, None)]  # fmt: skip


def _found(
    name: str, judge: oracles.Oracle, pictures: list[NDArray[np.uint8]], masks: list[NDArray[np.bool_]],
    defect: NDArray[np.int64], target: float | None,
) -> Figure:  # fmt: skip
    pixels = oracles.answers(judge, _seen(np.stack(pictures)))[2].numpy()
    right = [found_inside(p, m, int(d)) for p, m, d in zip(pixels, masks, defect, strict=True)]
    return share(name, np.array(right), target)


def _drawn(rng: np.random.Generator, true: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """A mask over a place where the world would put the defect; never the whole picture."""
    while True:
        mask = covering(rng, true)
        if not mask.all():
            return mask


def _outlined(picture: NDArray[np.uint8], mask: NDArray[np.bool_]) -> NDArray[np.uint8]:
    return np.where(mask[..., None], (picture * 0.5 + np.array([127, 0, 60])).astype(np.uint8), picture)


@torch.no_grad()
def of_clip(weights: Path, count: int) -> list[Figure]:
    """Zero-shot names for `count` real pictures: nine products; five defects given the product."""
    name = f"local-dir:{weights / 'clip'}"
    model, _, look = open_clip.create_model_and_transforms(name)
    say = open_clip.get_tokenizer(name)
    real = pool.held_out(count)
    model.eval()
    seen = model.encode_image(torch.stack([look(Image.fromarray(i)) for i in real.image]), normalize=True)
    products = model.encode_text(say([simple(p) for p in PRODUCTS]), normalize=True)
    which = (seen @ products.T).argmax(1).numpy()
    words = model.encode_text(say([simple(p, d) for p in PRODUCTS for d in DEFECTS]), normalize=True)
    own = words.view(len(PRODUCTS), len(DEFECTS), -1)[torch.from_numpy(real.product)]
    kind = torch.einsum("nc,ndc->nd", seen, own).argmax(1).numpy()
    return [
        share("CLIP, product top-1", which == real.product, 95.0),
        share("CLIP, defect type", kind == real.defect, 80.0),
    ]


def sheet(path: Path, pictures: list[NDArray[np.uint8]], wide: int) -> None:
    """A contact sheet of equally large pictures, `wide` to a row."""
    pictures = pictures[: len(pictures) // wide * wide]
    rows = [np.concatenate(pictures[k : k + wide], 1) for k in range(0, len(pictures), wide)]
    if rows:
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(np.concatenate(rows, 0)).save(path)


def write_card(
    weights: Path, judge: oracles.Oracle, card: Path, count: int, work: Path, parts: tuple[str, ...]
) -> None:
    """Measures the named parts, keeps the other parts' figures of the last time, writes the card."""
    kept_at = card.with_name("figures.json")
    kept: dict[str, Any] = json.loads(kept_at.read_text()) if kept_at.exists() else {}
    ways: dict[str, Callable[[], list[Figure]]] = {
        "vae": lambda: of_vae(weights, judge, count, work),
        "txt2img": lambda: of_txt2img(weights, judge, count, work),
        "inpaint": lambda: of_inpaint(weights, judge, count, work),
        "clip": lambda: of_clip(weights, count),
    }
    for part in parts:
        kept[part] = [asdict(figure) for figure in ways[part]()]
        for figure in kept[part]:
            print(json.dumps(figure), flush=True)
    kept["steps"] = kept.get("steps", {}) | steps_of(work)
    kept_at.write_text(json.dumps(kept, indent=1) + "\n")
    figures = [Figure(**row) for part in ways for row in kept.get(part, [])]
    card.write_text(render(figures, weights, kept["steps"]))
