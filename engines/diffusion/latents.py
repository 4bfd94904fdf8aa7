"""Where a picture begins: noise, a noised photo, or a photo with a hole, exactly as diffusers' pipelines begin.

Every function works for one picture and its own generator, and draws from it in the order the pipeline does;
so picture i of a job never depends on how many there are.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from diffusers.utils.torch_utils import randn_tensor
from PIL import Image

from engines.compose import Bits
from engines.models.memory import Parts


@dataclass(frozen=True, slots=True)
class Start:
    """One or more pictures' beginning. First dimension of every tensor: pictures."""

    latents: torch.Tensor  # (n, 4, h, w)
    extra: torch.Tensor | None = None  # (n, 5, h, w): mask and masked photo, for 9-channel UNets
    keep: Keep | None = None


@dataclass(frozen=True, slots=True)
class Keep:
    """What a 4-channel UNet's inpainting puts back after each step."""

    mask: torch.Tensor  # (n, 1, h, w), 1 = make anew
    photo: torch.Tensor  # (n, 4, h, w), clean latents
    noise: torch.Tensor  # (n, 4, h, w), the noise that the latents began with


def generator(seed: int) -> torch.Generator:
    """The picture's own randomness; always the CPU's, so that every device makes the same picture."""
    return torch.Generator("cpu").manual_seed(seed)


def from_noise(parts: Parts, scheduler: Any, own: torch.Generator, size: tuple[int, int]) -> Start:
    """txt2img: pure noise. `size` is (width, height) in pixels."""
    return Start(_noise(parts, own, size) * scheduler.init_noise_sigma)


def from_photo(scheduler: Any, own: torch.Generator, photo: Encoded, timestep: torch.Tensor) -> Start:
    """img2img: the photo with noise up to `timestep`."""
    latents = photo.draw(own)
    noise = randn_tensor(latents.shape, generator=own, device=latents.device, dtype=latents.dtype)
    return Start(scheduler.add_noise(latents, noise, timestep))


def from_hole(
    parts: Parts,
    scheduler: Any,
    own: torch.Generator,
    photo: Encoded | None,
    holed: Encoded | None,
    mask: torch.Tensor,
    timestep: torch.Tensor | None,
) -> Start:
    """Inpainting with 9 channels, or with 4 by putting back what is outside of the mask after each step.

    Args:
        photo: the crop; may be None for 9 channels at full strength, which begins from noise alone.
        holed: the crop with grey (0) where the mask is; None for 4 channels.
        mask: (1, 1, h, w) at latent size, 1 = make anew.
        timestep: (1,), where the schedule is entered; None for full strength.
    """
    clean = photo.draw(own) if photo else None
    noise = _noise(parts, own, (mask.shape[-1] * parts.scale, mask.shape[-2] * parts.scale))
    if clean is None or timestep is None:
        latents = noise * scheduler.init_noise_sigma
    else:
        latents = scheduler.add_noise(clean, noise, timestep)
    if holed is not None:
        return Start(latents, extra=torch.cat([mask, holed.draw(own)], dim=1))
    _noise(
        parts, own, (mask.shape[-1] * parts.scale, mask.shape[-2] * parts.scale)
    )  # the pipeline draws here too
    assert clean is not None
    return Start(latents, keep=Keep(mask, clean, noise))


def together(starts: list[Start]) -> Start:
    """Several pictures as one."""
    extras = [s.extra for s in starts if s.extra is not None]
    keeps = [s.keep for s in starts if s.keep is not None]
    return Start(
        torch.cat([s.latents for s in starts]),
        torch.cat(extras) if extras else None,
        Keep(*(torch.cat([getattr(k, f) for k in keeps]) for f in ("mask", "photo", "noise")))
        if keeps
        else None,
    )


def _noise(parts: Parts, own: torch.Generator, size: tuple[int, int]) -> torch.Tensor:
    width, height = size
    shape = (1, parts.vae.config.latent_channels, height // parts.scale, width // parts.scale)
    device = torch.device(parts.device)
    noise: torch.Tensor = randn_tensor(shape, generator=own, device=device, dtype=parts.unet.dtype)
    return noise


class Encoded:
    """A photo through the VAE's encoder once; each picture draws its own latents from the distribution."""

    def __init__(self, parts: Parts, pixels: torch.Tensor) -> None:
        self._answer = parts.vae.encode(pixels.to(parts.device, parts.vae.dtype))
        self._factor = parts.vae.config.scaling_factor
        self._dtype = parts.unet.dtype

    def draw(self, own: torch.Generator) -> torch.Tensor:
        """(1, 4, h, w), scaled as the UNet wants it."""
        spread = getattr(self._answer, "latent_dist", None)  # tiny autoencoders have latents only
        latents: torch.Tensor = self._answer.latents if spread is None else spread.sample(own)
        scaled: torch.Tensor = (self._factor * latents).to(self._dtype)
        return scaled


def pixels(picture: Image.Image) -> torch.Tensor:
    """An RGB picture as (1, 3, h, w), −1..1."""
    values = torch.from_numpy(np.asarray(picture, dtype=np.float32) / 255.0)
    return 2.0 * values.permute(2, 0, 1)[None] - 1.0


def hole(mask: Bits) -> torch.Tensor:
    """A pixel mask as (1, 1, h, w), 1 = make anew."""
    return torch.from_numpy(mask.astype(np.float32))[None, None]


def shrunk(mask: torch.Tensor, scale: int) -> torch.Tensor:
    """The mask at latent size; a cell with any white pixel in it is white.

    diffusers takes the nearest pixel, which loses a 2-pixel scratch in three cells of four; equal where the
    mask is made of whole cells.
    """
    return torch.nn.functional.max_pool2d(mask, scale)
