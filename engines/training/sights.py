"""Pictures as latents, encoded once: what a picture's variant looks like to the UNet never changes in a training."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image

from engines.compose import Bits, Box
from engines.diffusion import latents
from engines.models.memory import Parts
from engines.training import chance, views
from engines.training.concepts import Concept, path_of
from engines.training.request import DEFECT, Train
from engines.training.rows import Ask
from engines.training.views import View
from engines.words import Words

KEPT = 2**30  # bytes of latents kept in the machine's memory


@dataclass(frozen=True, slots=True)
class Spread:
    """What the VAE says of a picture: a normal distribution over latents, unscaled."""

    mean: torch.Tensor  # (4, h, w), float32, on the CPU
    std: torch.Tensor | None  # None for autoencoders that answer with latents

    def draw(self, seed: int, *what: chance.Name) -> torch.Tensor:
        if self.std is None:
            return self.mean
        return self.mean + self.std * chance.noise(tuple(self.mean.shape), seed, *what)


@dataclass(frozen=True, slots=True)
class Sight:
    """A view as latents."""

    picture: Spread
    defect: torch.Tensor  # (1, h, w), 1 = defect
    hole: torch.Tensor | None = None  # (1, h, w), 1 = to be filled
    holed: Spread | None = None  # the picture with grey in the hole

    @property
    def size(self) -> int:
        """Bytes."""
        tensors = [self.picture.mean, self.picture.std, self.defect, self.hole]
        tensors += [self.holed.mean, self.holed.std] if self.holed else []
        return sum(t.nbytes for t in tensors if t is not None)


class Sights:
    """The sights of one training, least recently used ones forgotten beyond `kept` bytes.

    Args:
        parts: the base; its VAE encodes, one picture a time so that neighbours change nothing.
        side: pixels of a crop.
    """

    def __init__(
        self,
        parts: Parts,
        request: Train,
        concepts: Sequence[Concept],
        files: Mapping[str, Path],
        side: int,
        kept: int = KEPT,
    ) -> None:
        self._parts = parts
        self._request = request
        self._concepts = concepts
        self._files = files
        self._side = side
        self._most = kept
        self._kept: OrderedDict[Ask, Sight] = OrderedDict()
        self._size = 0

    def see(self, ask: Ask) -> Sight:
        """Raises `Refusal` where the picture cannot be read."""
        if ask in self._kept:
            self._kept.move_to_end(ask)
            return self._kept[ask]
        sight = self._kept[ask] = self._encoded(ask)
        self._size += sight.size
        while self._size > self._most and len(self._kept) > 1:
            self._size -= self._kept.popitem(last=False)[1].size
        return sight

    def view(self, ask: Ask) -> View:
        """The crop, the defect in it and the hole, in pixels."""
        concept = self._concepts[ask.concept]
        pixels, defect = self._shot(concept, ask) if ask.source == "shot" else self._prior(concept, ask)
        full = np.ones_like(defect)
        if ask.hole == "random":
            hole = views.random_mask(self._side, self._request.seed, "mask", *_named(ask))
        else:
            hole = defect if ask.hole == "real" else full
        return View(pixels, defect, hole)

    # ------------------------------------------------------------------ pixels

    def _shot(self, concept: Concept, ask: Ask) -> tuple[Any, Bits]:
        shot, seed = concept.shots[ask.index], self._request.seed
        picture = self._open(shot.image, concept, ask)
        mask = self._mask(concept, ask.index, picture.size)
        if self._request.mode != DEFECT or mask is None:
            box = views.whole_box(picture.size, seed, "crop", *_named(ask))
            return views.cropped(picture, mask if self._request.mode == DEFECT else None, box, self._side)
        crop = self._request.crop
        box = views.defect_box(mask, crop, self._side, seed, "crop", *_named(ask))
        return views.cropped(picture, mask, box, self._side)

    def _prior(self, concept: Concept, ask: Ask) -> tuple[Any, Bits]:
        picture, seed = self._open(concept.prior[ask.index], concept, ask), self._request.seed
        box = views.whole_box(picture.size, seed, "crop", *_named(ask))
        if self._request.mode == DEFECT:
            side = round(min(picture.size) * self._share(concept, ask))
            box = views.square_box(picture.size, side, seed, "crop", *_named(ask))
        pixels, all = views.cropped(picture, None, box, self._side)
        return pixels, np.zeros_like(all)

    def _share(self, concept: Concept, ask: Ask) -> float:
        """The side of a good photo's crop in its shorter sides: that of one of the concept's defects."""
        which = chance.below(len(concept.shots), self._request.seed, "like", *_named(ask))
        picture = self._open(concept.shots[which].image, concept, Ask(ask.concept, "shot", which, 0, ""))
        mask = self._mask(concept, which, picture.size)
        if mask is None:
            return 1.0
        box: Box = views.defect_box(
            mask, self._request.crop, self._side, self._request.seed, "like", *_named(ask)
        )
        return (box[2] - box[0]) / min(picture.size)

    def _open(self, blob: str, concept: Concept, ask: Ask) -> Image.Image:
        return views.opened(path_of(self._files, blob), named(concept, ask))

    def _mask(self, concept: Concept, index: int, size: tuple[int, int]) -> Bits | None:
        """The defect in a picture, or None where there is no mask: then all of it is."""
        mask = concept.shots[index].mask
        if not mask:
            return None
        ask = Ask(concept.index, "shot", index, 0, "real")
        white = views.mask_bits(path_of(self._files, mask), size, named(concept, ask, mask=True))
        return white if white.any() else None

    # ------------------------------------------------------------------ latents

    @torch.no_grad()
    def _encoded(self, ask: Ask) -> Sight:
        view = self.view(ask)
        pixels, scale = latents.pixels(Image.fromarray(view.pixels)), self._parts.scale
        defect = latents.shrunk(latents.hole(view.defect), scale)[0]
        if not ask.hole:
            return Sight(self._spread(pixels), defect)
        hole = latents.hole(view.hole)
        holed = self._spread(pixels * (hole < 0.5))
        return Sight(self._spread(pixels), defect, latents.shrunk(hole, scale)[0], holed)

    def _spread(self, pixels: torch.Tensor) -> Spread:
        answer = self._parts.vae.encode(pixels.to(self._parts.device, self._parts.vae.dtype))
        spread = getattr(answer, "latent_dist", None)
        if spread is None:
            return Spread(_kept(answer.latents), None)
        return Spread(_kept(spread.mean), _kept(spread.std))


def named(concept: Concept, ask: Ask, mask: bool = False) -> Words:
    """A picture as a person finds it again."""
    kind = views.MASK if mask else views.PHOTO if ask.source == "shot" else views.GOOD
    return kind(concept=concept.name, n=ask.index + 1)


def _named(ask: Ask) -> tuple[chance.Name, ...]:
    """The picture and variant; not the hole, so that all passes see one crop."""
    return tuple(getattr(ask, f.name) for f in fields(ask) if f.name != "hole")


def _kept(tensor: torch.Tensor) -> torch.Tensor:
    return tensor[0].float().cpu().clone()
