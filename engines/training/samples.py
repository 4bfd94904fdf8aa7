"""Pictures that show how far a training is: the same noise, prompts and holes before, during and after.

A round of samples is a run of ticks like all else: one UNet call for all of them a tick.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image

from engines import compose
from engines.compose import Bits
from engines.diffusion import latents, pictures, samplers
from engines.models.memory import Parts
from engines.training import chance, views
from engines.training.concepts import Concept, path_of
from engines.training.learner import Learner
from engines.training.request import SAMPLE_STEPS, Train
from engines.training.rows import Ask
from engines.training.sights import named

SAMPLER, STEPS, GUIDANCE = "DPM++ 2M Karras", SAMPLE_STEPS, 5.0
MOST_ROWS = 8  # of one UNet call


@dataclass(frozen=True, slots=True)
class Item:
    """What one sample shows."""

    concept: int
    prompt: str
    pixels: np.ndarray[Any, Any] | None = None  # (side, side, 3) of the photo, for inpainting
    hole: Bits | None = None  # (side, side)
    seen: bool = False  # the photo is one of those that are learnt
    name: tuple[chance.Name, ...] = ("sample",)  # what its noise is drawn for


def items(request: Train, concepts: Sequence[Concept], files: Mapping[str, Path], side: int) -> list[Item]:
    """One sample a concept: in a good photo that is not learnt, where there is one, with a mask of the concept's own."""
    inpainting = request.mode != "normal"
    return [
        _hole(request, c, files, side) if inpainting else Item(c.index, request.validation_prompt or c.prompt)
        for c in concepts
    ]


def _hole(request: Train, concept: Concept, files: Mapping[str, Path], side: int) -> Item:
    blob = concept.held_out or (concept.prior[0] if concept.prior else concept.shots[0].image)
    photo = views.opened(path_of(files, blob), named(concept, Ask(concept.index, "prior", 0, 0, "")))
    prompt = request.validation_prompt or concept.prompt
    masked = next((s for s in concept.shots if s.mask), None)
    if masked is None:
        box = views.whole_box(photo.size, request.seed, "sample", concept.index)
        pixels, _ = views.cropped(photo, None, box, side)
        hole = views.random_mask(side, request.seed, "sample", concept.index)
        return Item(concept.index, prompt, pixels, hole, not concept.held_out)
    own = views.mask_bits(
        path_of(files, masked.mask), photo.size, named(concept, Ask(concept.index, "shot", 0, 0, ""), True)
    )
    if not own.any():
        own = np.ones_like(own)
    box = views.defect_box(own, request.crop, side, request.seed, "sample", concept.index)
    pixels, hole = views.cropped(photo, own, box, side)
    return Item(concept.index, prompt, pixels, hole, not concept.held_out)


class Round:
    """One round of samples under way. `step` gives the next round; the old one stays as it was."""

    def __init__(self, learner: Learner, shown: Sequence[Item], side: int, steps: int = STEPS) -> None:
        self._learner = learner
        self._items = shown
        parts = learner.parts
        self._scheduler = samplers.build(SAMPLER, parts.scheduler_config, steps)
        self._times = samplers.enter(self._scheduler, steps, 1.0)
        cells = side // parts.scale
        shape = (parts.vae.config.latent_channels, cells, cells)
        seed = learner.request.seed
        noise = torch.stack([chance.noise(shape, seed, *item.name, item.concept, "noise") for item in shown])
        self._latents = (noise * self._scheduler.init_noise_sigma).to(parts.device)
        self._extra = self._holes(parts, seed)

    @torch.no_grad()
    def _holes(self, parts: Parts, seed: int) -> torch.Tensor | None:
        if parts.in_channels != 9:
            return None
        rows = []
        for item in self._items:
            assert item.pixels is not None
            assert item.hole is not None
            hole = latents.hole(item.hole)
            encoded = latents.Encoded(parts, latents.pixels(Image.fromarray(item.pixels)) * (hole < 0.5))
            own = torch.Generator("cpu").manual_seed(chance.number(seed, *item.name, item.concept, "hole"))
            mask = latents.shrunk(hole, parts.scale).to(parts.device)
            rows.append(torch.cat([mask, encoded.draw(own).float()], dim=1))
        return torch.cat(rows)

    @property
    def ticks(self) -> int:
        return len(self._times)

    @torch.no_grad()
    def tick(self, index: int) -> Any:
        """One UNet call's work; returns what `take` wants, with nothing changed yet."""
        fork = samplers.fork(self._scheduler)
        time = self._times[index]
        seen = fork.scale_model_input(self._latents, time)
        said = torch.cat([self._said(seen, time, at) for at in range(0, len(seen), MOST_ROWS // 2)])
        return fork, fork.step(said, time, self._latents, return_dict=False)[0]

    def take(self, moved: Any) -> None:
        self._scheduler, self._latents = moved

    def _said(self, seen: torch.Tensor, time: torch.Tensor, at: int) -> torch.Tensor:
        learner, part = self._learner, slice(at, at + MOST_ROWS // 2)
        rows, shown = seen[part], self._items[part]
        if self._extra is not None:
            rows = torch.cat([rows, self._extra[part]], dim=1)
        words = learner.encoded({"", *(item.prompt for item in shown)})
        text = torch.stack([words[""]] * len(shown) + [words[item.prompt] for item in shown])
        dtype = learner.dtype
        with learner.accelerated.autocast():
            both = learner.unet(
                torch.cat([rows, rows]).to(dtype),
                time.to(rows.device).float().expand(2 * len(shown)),
                encoder_hidden_states=text.to(dtype),
                return_dict=False,
            )[0].float()
        without, with_prompt = both.chunk(2)
        guided: torch.Tensor = without + GUIDANCE * (with_prompt - without)
        return guided

    def decoded(self) -> list[Image.Image]:
        """The samples as pictures; outside of the hole the photo stays."""
        made = []
        for item, one in zip(self._items, self._latents, strict=True):
            picture = pictures.decoded(self._learner.parts, one[None])
            made.append(
                Image.fromarray(_back(item, picture)) if picture is not None else _grey(self._latents)
            )
        return made


def _back(item: Item, made: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    if item.pixels is None or item.hole is None:
        return made
    soft = compose.softened(item.hole, 2)[..., None]
    return np.rint(item.pixels * (1 - soft) + made * soft).astype(np.uint8)


def _grey(latent: torch.Tensor) -> Image.Image:
    """In place of a sample that came out as no numbers."""
    side = int(latent.shape[-1]) * 8
    return Image.new("RGB", (side, side), (128, 128, 128))
