"""The autoencoder: factor 4, four latent channels, fully convolutional, trained on crops that seek defects."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch
from diffusers import AutoencoderKL
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional as F

from engines.embedded.pool import Pool

CROP = 64
FACTOR = 4


def build() -> AutoencoderKL:
    """About one million parameters; 12 numbers in become 1 in the latents."""
    return AutoencoderKL(
        in_channels=3, out_channels=3, latent_channels=4, block_out_channels=(24, 48, 96), layers_per_block=1,
        down_block_types=("DownEncoderBlock2D",) * 3, up_block_types=("UpDecoderBlock2D",) * 3,
        norm_num_groups=8, mid_block_add_attention=False, sample_size=128, scaling_factor=1.0,
    )  # fmt: skip


def to_tensor(pictures: NDArray[np.uint8]) -> Tensor:
    """(n, h, w, 3) uint8 → (n, 3, h, w) float in −1..1, channels last in memory."""
    return (torch.from_numpy(np.array(pictures)).permute(0, 3, 1, 2).float() / 127.5 - 1.0).contiguous(
        memory_format=torch.channels_last
    )


def crops(pool: Pool, rng: np.random.Generator, n: int) -> tuple[Tensor, Tensor]:
    """n crops (n, 3, 64, 64) and masks (n, 1, 64, 64): seven of ten around a defect's pixel, flipped at random."""
    pictures, masks = [], []
    for _ in range(n):
        k = int(rng.integers(len(pool)))
        top, left = rng.integers(0, pool.image.shape[1] - CROP + 1, 2)
        if rng.random() < 0.7:
            spot = rng.choice(np.flatnonzero(pool.mask[k]))
            top, left = (
                np.clip(s - rng.integers(8, CROP - 8), 0, 128 - CROP) for s in divmod(int(spot), 128)
            )
        picture = pool.image[k, top : top + CROP, left : left + CROP]
        mask = pool.mask[k, top : top + CROP, left : left + CROP]
        turns = int(rng.integers(4))
        pictures.append(np.rot90(picture, turns))
        masks.append(np.rot90(mask, turns))
    return to_tensor(np.stack(pictures)), torch.from_numpy(np.stack(masks)).gt(0).float()[:, None]


def loss_on(pool: Pool, batch: int, device: str) -> Callable[..., tuple[Tensor, dict[str, float]]]:
    """Absolute + squared + edge error, defect pixels counting five times, and a trace of KL."""

    def loss_of(
        module: AutoencoderKL, rng: np.random.Generator, step: int
    ) -> tuple[Tensor, dict[str, float]]:
        x, mask = (t.to(device) for t in crops(pool, rng, batch))
        latent = module.encode(x).latent_dist
        back = module.decode(latent.sample()).sample
        weight = 1.0 + 4.0 * F.max_pool2d(mask, 3, 1, 1)
        off = back - x
        near = (weight * (off.abs() + 4.0 * off**2)).mean()
        edge = _slopes(off, weight)
        kl = latent.kl().mean() / latent.mean[0].numel()
        psnr = 10 * torch.log10(4.0 / off.detach().pow(2).mean((1, 2, 3))).mean()
        return near + 0.5 * edge + 1e-4 * kl, {"psnr": psnr.item(), "kl": kl.item(), "edge": edge.item()}

    return loss_of


def _slopes(off: Tensor, weight: Tensor) -> Tensor:
    """Mean absolute error of the horizontal and vertical differences: what blur costs."""
    across = (off[..., 1:] - off[..., :-1]).abs() * weight[..., 1:]
    down = (off[..., 1:, :] - off[..., :-1, :]).abs() * weight[..., 1:, :]
    return across.mean() + down.mean()


@torch.no_grad()
def standardise(vae: AutoencoderKL, pictures: NDArray[np.uint8]) -> None:
    """Folds the latents' mean and deviation, channel by channel, into the two 1×1 convolutions, in place.

    Afterwards latents of (n, 128, 128, 3) pictures have mean 0 and deviation 1 while decode(encode(x)) is unchanged,
    so pipelines that know only a scaling factor are right with 1.
    """
    rows = [vae.encode(to_tensor(pictures[k : k + 50])).latent_dist.mean for k in range(0, len(pictures), 50)]
    found = torch.cat(rows).permute(1, 0, 2, 3).flatten(1)
    mean, spread = found.mean(1), found.std(1)
    inward, outward = vae.quant_conv, vae.post_quant_conv
    outward.bias += (outward.weight[:, :, 0, 0] * mean).sum(1)
    outward.weight *= spread.view(1, -1, 1, 1)
    inward.weight[:4] /= spread.view(-1, 1, 1, 1)
    inward.bias[:4] = (inward.bias[:4] - mean) / spread
    inward.bias[4:] -= 2 * spread.log()


@torch.no_grad()
def round_trip(vae: AutoencoderKL, pictures: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """(n, h, w, 3) uint8 pictures through encoder and decoder."""
    rows = []
    for k in range(0, len(pictures), 20):
        x = to_tensor(pictures[k : k + 20]).to(vae.device)
        back = vae.decode(vae.encode(x).latent_dist.mean).sample
        rows.append(((back + 1) * 127.5).round().clamp(0, 255).byte().permute(0, 2, 3, 1).cpu().numpy())
    return np.concatenate(rows)


def psnr(a: NDArray[np.uint8], b: NDArray[np.uint8]) -> NDArray[np.float64]:
    """(n,) peak signal-to-noise ratio in dB of each pair of pictures."""
    error = (a.astype(np.float64) - b).reshape(len(a), -1)
    return np.asarray(10 * np.log10(255.0**2 / np.maximum((error**2).mean(1), 1e-12)))
