"""How long a training's row takes on this device, tried out before it is promised."""

from __future__ import annotations

import time

import torch

from engines.models.memory import Parts
from engines.training import run
from engines.training.learner import encode
from engines.training.request import Train


def row(asked: Train, parts: Parts) -> float:
    """Seconds of one row forward: through the UNet, and of its prompt where the text encoder is trained, for then it is
    encoded anew each time."""
    words = _words(parts) if asked.learns_words else 0.0
    return _unet(parts, run.side(asked, parts)) + words


def _unet(parts: Parts, side: int) -> float:
    """Seconds of one row through the UNet."""
    cells, unet = side // parts.scale, parts.unet
    latents = torch.zeros(1, parts.in_channels, cells, cells, device=parts.device, dtype=unet.dtype)
    width = unet.config.cross_attention_dim
    text = torch.zeros(
        1, 77, width if isinstance(width, int) else width[0], device=parts.device, dtype=unet.dtype
    )
    for _ in range(2):  # the first may set things up
        began = time.perf_counter()
        unet(latents, torch.ones(1, device=parts.device), text).sample.float().cpu()
    return time.perf_counter() - began


def _words(parts: Parts) -> float:
    """Seconds of one prompt through the text encoder: kept from step to step unless it is trained."""
    for _ in range(2):
        began = time.perf_counter()
        encode(parts, parts.text_encoder, "").float().cpu()
    return time.perf_counter() - began
