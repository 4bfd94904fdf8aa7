"""What a picture will look like, early and almost free: no VAE decoding.

From any sampler's last model call the clean latents can be guessed (the model saw a variance-preserving input).
They are nearly a linear code of colour, fitted once to each VAE; where a tiny decoder is at hand that knows the
model's latents, it shows more.
"""

from __future__ import annotations

import io
import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from PIL import Image

from engines.diffusion import samplers
from engines.failures import out_of_memory
from engines.models import tiny
from engines.models.memory import Models, Parts

SIDE = 256  # a preview's longer side at most, pixels
SHOWN = 4  # pictures of one run in a preview


@dataclass(frozen=True, slots=True)
class Glimpse:
    """What the model saw and said at the last step."""

    seen: torch.Tensor  # (n, 4, h, w), variance-preserving
    said: torch.Tensor  # (n, 4, h, w), after guidance
    timestep: float


class Previews:
    """Small JPEGs of runs in flight. Keeps five numbers per colour and VAE.

    Args:
        models: where the tiny decoder is kept, within the device's budget; it makes nobody leave.
        decoder: finds it; without one all previews are linear.
    """

    def __init__(self, models: Models | None = None, decoder: tiny.Decoder | None = None) -> None:
        self._models = models
        self._decoder = decoder
        self._colours: dict[str, torch.Tensor] = {}  # VAE's hash → (5, 3)

    def prepare(self) -> None:
        """Look for the tiny decoder. For another thread."""
        if self._decoder is not None:
            self._decoder.prepare()

    @torch.inference_mode()
    def draw(self, parts: Parts, glimpse: Glimpse) -> bytes:
        """Up to four pictures side by side, as JPEG."""
        clean = guess(glimpse, parts.prediction_type, parts.scheduler_config)[:SHOWN]
        decoded = self._decoded(parts, clean)
        if decoded is not None:
            return _jpeg(_tiled(_bytes(decoded)), 1)
        colours = self._fitted(parts)
        rgb = torch.einsum("nchw,cd->nhwd", clean.float().cpu(), colours[:-1]) + colours[-1]
        return _jpeg(_tiled(_bytes(rgb)), parts.scale)

    def _decoded(self, parts: Parts, clean: torch.Tensor) -> torch.Tensor | None:
        """(n, h, w, 3), 0..1, by the tiny decoder; None where there is none, no room, or other latents."""
        plan = self._decoder.plan if self._decoder else None
        if plan is None or self._models is None or not tiny.suits(parts):
            return None
        budget, size = self._models.budget, sum(piece.size for piece in plan.pieces)
        if not self._models.warm(plan.pieces[0].hash) and budget and self._models.used + size > budget:
            return None
        try:
            with self._models.take(plan) as lease:
                network = lease.things[tiny.ROLE]
                seen = network.decode(clean.to(parts.device, network.dtype)).sample
                rgb: torch.Tensor = (seen * 0.5 + 0.5).permute(0, 2, 3, 1).float().cpu()
                return rgb
        except Exception as error:
            if not out_of_memory(error):
                raise
            return None

    def _fitted(self, parts: Parts) -> torch.Tensor:
        key = parts.hashes["vae"]
        if key not in self._colours:
            self._colours[key] = fit(parts)
        return self._colours[key]


def guess(glimpse: Glimpse, prediction: str, config: Mapping[str, Any]) -> torch.Tensor:
    """The clean latents that the model has in mind (DDIM's x₀, eq. 12 of arXiv 2010.02502; v of 2202.00512)."""
    kept = samplers.kept(config, glimpse.timestep)
    kept = max(kept, 1e-4)  # with zero terminal SNR the first ε says nothing about x₀
    if prediction == "v_prediction":
        return math.sqrt(kept) * glimpse.seen - math.sqrt(1 - kept) * glimpse.said
    if prediction == "sample":
        return glimpse.said
    return (glimpse.seen - math.sqrt(1 - kept) * glimpse.said) / math.sqrt(kept)


@torch.inference_mode()
def fit(parts: Parts) -> torch.Tensor:
    """Least squares from scaled latents to colour (0..1): (channels + 1, 3), the last row is the constant.

    Fitted on one picture of flat random patches through the encoder, about 10 ms for a small VAE.
    """
    cells, patch = 16, 2  # latent cells across, and cells per patch
    colours = torch.rand(cells // patch, cells // patch, 3, generator=torch.Generator().manual_seed(0))
    flat = colours.repeat_interleave(patch, 0).repeat_interleave(patch, 1)  # (cells, cells, 3)
    big = flat.repeat_interleave(parts.scale, 0).repeat_interleave(parts.scale, 1)
    answer = parts.vae.encode((big.permute(2, 0, 1)[None] * 2 - 1).to(parts.device, parts.vae.dtype))
    spread = getattr(answer, "latent_dist", None)
    latents = (answer.latents if spread is None else spread.mode()) * parts.vae.config.scaling_factor
    codes = latents[0].float().cpu().permute(1, 2, 0).reshape(cells * cells, -1)
    codes = torch.cat([codes, torch.ones(len(codes), 1)], dim=1)
    solved: torch.Tensor = torch.linalg.lstsq(codes, flat.reshape(-1, 3)).solution
    return solved


def _bytes(rgb: torch.Tensor) -> np.ndarray[Any, Any]:
    """0..1 → 0..255, also where a number is broken."""
    whole: np.ndarray[Any, Any] = np.rint(rgb.nan_to_num().clamp(0, 1).numpy() * 255).astype(np.uint8)
    return whole


def _tiled(tiles: np.ndarray[Any, Any]) -> Image.Image:
    """(n, h, w, 3) as one picture: a row of two, then two rows."""
    count = len(tiles)
    across = 1 if count == 1 else 2
    blank = np.zeros_like(tiles[:1])
    full = np.concatenate([tiles] + [blank] * (-count % across))
    rows = [np.concatenate(list(full[i : i + across]), axis=1) for i in range(0, len(full), across)]
    return Image.fromarray(np.concatenate(rows, axis=0))


def _jpeg(picture: Image.Image, scale: int) -> bytes:
    width, height = picture.size
    factor = min(scale, SIDE / max(width, height))
    size = (max(1, round(width * factor)), max(1, round(height * factor)))
    out = io.BytesIO()
    picture.resize(size, Image.Resampling.BICUBIC).save(out, "JPEG", quality=80)
    return out.getvalue()
