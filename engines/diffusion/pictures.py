"""From latents to files: decoded on the device; put into the photo, signed and written on any thread."""

from __future__ import annotations

import dataclasses
import functools
import importlib.metadata
from typing import Any

import diffusers
import numpy as np
import torch
from PIL import Image

from engines import compose, recipe
from engines.diffusion import choosing, portions
from engines.diffusion.begins import Frame
from engines.diffusion.choosing import Kept
from engines.engine import Packing, Work
from engines.events import Artifact
from engines.models.memory import Models, Parts
from engines.picking import Bytes
from engines.requests import Diffusion, Inpaint
from engines.words import Words


@torch.inference_mode()
def decoded(parts: Parts, latents: torch.Tensor, models: Models | None = None) -> Bytes | None:
    """One picture's latents (1, 4, h, w) as (height, width, 3), or None where a number is broken.

    Where there is no memory for it, those of `models` that nobody uses leave, then it is done in tiles.
    """
    scaled = latents.to(parts.vae.dtype) / parts.vae.config.scaling_factor
    picture = portions.decoded(parts.vae, scaled, models)
    if not torch.isfinite(picture).all():
        return None
    values = (picture * 0.5 + 0.5).clamp(0, 1)[0].permute(1, 2, 0).float().cpu().numpy()
    whole: Bytes = np.rint(values * 255).astype(np.uint8)
    return whole


def packing(
    work: Work, request: Diffusion, parts: Parts, frame: Frame, made: list[Bytes], notes: list[Words]
) -> Packing:
    """What is left to do once the device is not needed: holds bytes and facts only, nothing of the model.

    What the choice among candidates has to say is added to `notes`.
    """
    facts = {
        "model": parts.name,
        "hash": parts.hash,
        "dtype": parts.dtype,
        "versions": versions(),
        **({"prompt_noise": parts.prompt_noise} if parts.prompt_noise else {}),
    }
    learnt = parts.references

    def pack() -> tuple[Artifact, ...]:
        chosen, said = choosing.kept(request, frame.patch, made, learnt)
        notes.extend(said)
        return tuple(_written(work, request, frame, facts, i, one) for i, one in enumerate(chosen))

    return pack


def _written(
    work: Work, request: Diffusion, frame: Frame, facts: dict[str, Any], index: int, one: Kept
) -> Artifact:
    picture, seed = Image.fromarray(one.made), one.seed
    if frame.patch is not None:
        picture = compose.put_back(frame.patch, picture)
    alone = dataclasses.replace(request, seed=seed, count=1, model=facts["model"])
    if isinstance(alone, Inpaint):
        alone = dataclasses.replace(alone, tries=1)
    told = {
        "command": request.name,
        "request": alone.to_json(),
        "seed": seed,
        "width": picture.width,
        "height": picture.height,
        **facts,
    }
    name = f"{request.name}-{seed}.png"
    path = recipe.write(work.folder / f"{index:02}-{name}", recipe.png(picture, told))
    return Artifact(path, name, "image/png", told, picture.width, picture.height)


@functools.cache
def versions() -> dict[str, str]:
    """What a recipe needs to be made again exactly."""
    return {
        "defect-studio": importlib.metadata.version("defect-studio"),
        "torch": str(torch.__version__),
        "diffusers": str(diffusers.__version__),
    }
