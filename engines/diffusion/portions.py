"""One call for many rows or one large picture, in parts where the device's memory is not enough for the whole."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import torch

from engines.failures import out_of_memory
from engines.models.memory import Models

LIVE = 32  # times a UNet's widest feature map that a row takes at once: 13 to 18 counted, and as much for convolutions


def row_bytes(unet: Any, cells: int) -> int:
    """Bytes of memory that a row of so many latent cells takes during a step, beside the model; rather too many."""
    width: int = unet.config.block_out_channels[0]
    return LIVE * cells * width * int(unet.dtype.itemsize)


def by_rows(
    models: Models, call: Callable[[slice], torch.Tensor], rows: int, most: int, *, alone: bool
) -> tuple[torch.Tensor, int]:
    """`call`'s answers to all rows, `most` at once, and how many went at once in the end.

    Where that is too much, what idles on the device leaves; then half as many go at once, down to one. `alone`: one
    job's rows; several jobs are for the lane to halve, which learns from it.
    """
    answers: list[torch.Tensor] = []
    at = 0
    while at < rows:
        part = slice(at, min(at + most, rows))
        answer = _or_none(models, partial(call, part), alone and part.stop - at > 1)
        if answer is None:
            most = (part.stop - at) // 2
            continue
        answers.append(answer)
        at = part.stop
    return answers[0] if len(answers) == 1 else torch.cat(answers), most


def _or_none(models: Models | None, call: Callable[[], torch.Tensor], smaller: bool) -> torch.Tensor | None:
    """None where there is no memory for it, and it can be made `smaller`. (Beyond the handler: tracebacks hold tensors.)"""
    try:
        return models.roomily(call) if models else call()
    except Exception as error:
        if not (smaller and out_of_memory(error)):
            raise
    return None


def decoded(vae: Any, latents: torch.Tensor, models: Models | None) -> torch.Tensor:
    """(1, 4, h, w) → (1, 3, height, width); in tiles whose seams are blended where there is no memory for the whole."""
    tiled = getattr(vae, "tiled_decode", None)
    whole = _or_none(models, lambda: vae.decode(latents, return_dict=False)[0], tiled is not None)
    if whole is not None:
        return whole
    assert tiled is not None
    picture: torch.Tensor = tiled(latents, return_dict=False)[0]
    return picture
