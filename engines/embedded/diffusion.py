"""The denoiser: one UNet body with two mouths, 4 channels for text-to-image and 9 for inpainting, trained jointly."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from diffusers import AutoencoderKL, DDIMScheduler, UNet2DConditionModel
from diffusers.models.attention_processor import AttnProcessor
from diffusers.models.resnet import ResnetBlock2D
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional as F
from transformers import CLIPTokenizer

from engines.embedded import DEFECTS, PRODUCTS, text
from engines.embedded.captions import caption
from engines.embedded.pool import Pool
from engines.embedded.vae import to_tensor

Mask = NDArray[np.bool_]
CELLS = 32
STEPS = 1000
DEAD = 0.25  # deviation of a residual branch's activations
FAULTLESS = (
    0.15,
    0.35,
)  # share of rows, of text-to-image and of inpainting: how what is hidden goes on is learnt there


def build_unet(channels: int = 4) -> UNet2DConditionModel:
    """About eleven million parameters; words reach it at the 16×16 and 8×8 levels."""
    return UNet2DConditionModel(
        sample_size=CELLS, in_channels=channels, out_channels=4, block_out_channels=(64, 128, 192),
        layers_per_block=1, norm_num_groups=16, cross_attention_dim=128, attention_head_dim=8,
        down_block_types=("DownBlock2D", "CrossAttnDownBlock2D", "CrossAttnDownBlock2D"),
        mid_block_type="UNetMidBlock2DCrossAttn",
        up_block_types=("CrossAttnUpBlock2D", "CrossAttnUpBlock2D", "UpBlock2D"),
    )  # fmt: skip


def build_scheduler() -> DDIMScheduler:
    """v-prediction; the betas end high enough that the last step is almost pure noise (ᾱ = 2e-4)."""
    return DDIMScheduler(
        num_train_timesteps=STEPS, beta_start=0.00085, beta_end=0.02, beta_schedule="scaled_linear",
        prediction_type="v_prediction", clip_sample=False, set_alpha_to_one=True, steps_offset=1,
        timestep_spacing="trailing",
    )  # fmt: skip


def halved(device: str) -> torch.autocast:
    """bfloat16 for what gains by it; plain float32 on a processor without it. On one core with AVX-512 BF16 a step
    takes 0.38 s where float32 took 0.73."""
    kind = torch.device(device).type
    able = kind != "cpu" or bool(torch.ops.mkldnn._is_mkldnn_bf16_supported())
    return torch.autocast(kind, torch.bfloat16, enabled=able)


class Painter(nn.Module):
    """Text encoder, UNet body with its 4-channel mouth, and the 9-channel mouth; mutable while it trains."""

    def __init__(self, tokenizer: CLIPTokenizer) -> None:
        super().__init__()
        self.text = text.build(tokenizer)
        self.unet = build_unet()
        # torch's fused attention is slow backwards on a CPU in bfloat16
        self.unet.set_attn_processor(AttnProcessor())
        self.conv_in_9 = nn.Conv2d(9, self.unet.conv_in.out_channels, 3, padding=1)
        with torch.no_grad():
            self.conv_in_9.weight[:, :4] = self.unet.conv_in.weight
            self.conv_in_9.weight[:, 4:] *= 0.5

    def forward(self, z: Tensor, extra: Tensor, t: Tensor, tokens: Tensor) -> Tensor:
        """z: (a+b, 4, 32, 32) noisy latents, the first a for text-to-image; extra: (b, 5, 32, 32) mask and
        masked-image latents of the other b. Returns v, (a+b, 4, 32, 32)."""
        words = self.text(tokens).last_hidden_state
        plain = len(z) - len(extra)
        four, nine = self.unet.conv_in, self.conv_in_9
        mouths = [four(z[:plain]), nine(torch.cat([z[plain:], extra], 1))]
        self.unet.conv_in = nn.Identity()
        try:
            v: Tensor = self.unet(torch.cat(mouths), t, words).sample
            return v
        finally:
            self.unet.conv_in = four


@torch.no_grad()
def revive(module: Painter, teacher: Teacher) -> list[str]:
    """Begins residual branches anew that have gone dead, in place; their names.

    Where the rate is high for the batch, a branch's weights wander, and the network learns to silence it: the
    norm before its last convolution pushes nearly all channels below zero, where SiLU passes nothing back. A live
    branch's activations deviate by about 0.5; below `DEAD` the branch gets fresh weights, its last convolution zeros,
    so that it begins as nothing and grows where it helps.
    """
    seen: dict[str, Tensor] = {}
    blocks = {n: m for n, m in module.unet.named_modules() if isinstance(m, ResnetBlock2D)}
    hooks = [
        m.conv2.register_forward_pre_hook(lambda _, x, name=n: seen.update({name: x[0].float().std()}))
        for n, m in blocks.items()
    ]
    z, extra, tokens = teacher.batch(np.random.default_rng(0))
    t = _steps(len(z), 1.0)
    kept = build_scheduler().alphas_cumprod[t].view(-1, 1, 1, 1)
    noisy = kept.sqrt() * z + (1 - kept).sqrt() * torch.randn(z.shape)
    module(*(x.to(teacher.device) for x in (noisy, extra, t, tokens)))
    for hook in hooks:
        hook.remove()
    dead = [name for name, spread in seen.items() if spread < DEAD]
    for name in dead:
        block = blocks[name]
        for part in (block.conv1, block.norm2, block.time_emb_proj, block.conv2):
            part.reset_parameters()
        nn.init.zeros_(block.conv2.weight)
        nn.init.zeros_(block.conv2.bias)
    return dead


class Latents:
    """A pool's latents, encoded when first asked for and kept in float16 (mutable: it fills as training goes).

    `shrink` 2 halves the pictures first: the words are learnt four times as fast there, before the details.
    """

    def __init__(self, vae: AutoencoderKL, pool: Pool, device: str, shrink: int = 1) -> None:
        self.vae, self.pool, self.device, self.shrink = vae, pool, device, shrink
        self.kept: dict[tuple[int, bool], Tensor] = {}

    @torch.no_grad()
    def of(self, picks: list[tuple[int, bool]]) -> Tensor:
        """(n, 4, 32/shrink, 32/shrink) latents of (scene, clean or not) pairs."""
        new = [pick for pick in dict.fromkeys(picks) if pick not in self.kept]
        if new:
            pictures = np.stack([(self.pool.clean if good else self.pool.image)[k] for k, good in new])
            x = F.avg_pool2d(to_tensor(pictures), self.shrink).to(self.device)
            with halved(self.device):
                made = self.vae.encode(x).latent_dist.mean.half().cpu()
            self.kept.update(zip(new, made, strict=True))
        return torch.stack([self.kept[pick] for pick in picks]).float()


def covering(rng: np.random.Generator, mask: Mask) -> Mask:
    """A mask (128, 128) bool such as a person draws over a defect: grown, boxed or the whole picture.

    An empty mask gives a random box or ellipse.
    """
    kind = rng.random()
    if kind < 0.15:
        return np.ones_like(mask)
    ys, xs = np.nonzero(mask)
    if len(ys) == 0:
        return _random_shape(rng)
    if kind < 0.55:
        grown = torch.from_numpy(mask.astype(np.float32))[None, None]
        reach = int(rng.integers(2, 10)) * 2 + 1
        return np.asarray(F.max_pool2d(grown, reach, 1, reach // 2)[0, 0] > 0)
    pad = rng.integers(2, 20, 4)
    top, bottom = max(ys.min() - pad[0], 0), min(ys.max() + 1 + pad[1], 128)
    left, right = max(xs.min() - pad[2], 0), min(xs.max() + 1 + pad[3], 128)
    box = np.zeros_like(mask)
    if kind < 0.8:
        box[top:bottom, left:right] = True
        return box
    y, x = np.mgrid[0:128, 0:128]
    cy, cx = (top + bottom) / 2, (left + right) / 2
    round_: Mask = ((y - cy) / (bottom - top)) ** 2 + ((x - cx) / (right - left)) ** 2 < 0.5
    return round_ | mask


def _random_shape(rng: np.random.Generator) -> Mask:
    y, x = np.mgrid[0:128, 0:128]
    cy, cx, ry, rx = rng.uniform(20, 108), rng.uniform(20, 108), rng.uniform(10, 40), rng.uniform(10, 40)
    if rng.random() < 0.5:
        return np.asarray((abs(y - cy) < ry) & (abs(x - cx) < rx))
    return np.asarray(((y - cy) / ry) ** 2 + ((x - cx) / rx) ** 2 < 1)


@dataclass(frozen=True, slots=True)
class Teacher:
    """Everything a step of joint training reads."""

    vae: AutoencoderKL
    tokenizer: CLIPTokenizer
    pool: Pool
    latents: Latents
    plain: int
    masked: int
    device: str

    def batch(self, rng: np.random.Generator) -> tuple[Tensor, Tensor, Tensor]:
        """Latents (n, 4, c, c) for c = 32 / shrink, extra (masked, 5, c, c), tokens (n, 77)."""
        n = self.plain + self.masked
        clean = rng.random(n) < np.repeat(FAULTLESS, (self.plain, self.masked))
        picks = [(int(k), bool(g)) for k, g in zip(rng.integers(len(self.pool), size=n), clean, strict=True)]
        texts, pictures, covers = [], [], []
        for row, (k, good) in enumerate(picks):
            defect, inpaint = None if good else DEFECTS[self.pool.defect[k]], row >= self.plain
            words = caption(rng, PRODUCTS[self.pool.product[k]], defect, local=inpaint)
            texts.append("" if rng.random() < 0.1 else words)
            if inpaint:
                true = np.array(self.pool.mask[k]) > 0
                covers.append(covering(rng, np.zeros_like(true) if good and rng.random() < 0.5 else true))
                pictures.append((self.pool.clean if good else self.pool.image)[k])
        extra = self._extra(np.stack(pictures), np.stack(covers))
        return self.latents.of(picks), extra, text.ids(self.tokenizer, texts)

    @torch.no_grad()
    def _extra(self, pictures: NDArray[np.uint8], masks: Mask) -> Tensor:
        """The five inpainting channels as StableDiffusionInpaintPipeline makes them: hidden pixels are 0."""
        cover = torch.from_numpy(masks).float()[:, None]
        cover = F.max_pool2d(cover, self.latents.shrink)
        x = F.avg_pool2d(to_tensor(pictures), self.latents.shrink) * (cover < 0.5)
        with halved(self.device):
            hidden = self.vae.encode(x.to(self.device)).latent_dist.mean.float().cpu()
        return torch.cat([F.interpolate(cover, hidden.shape[-2:], mode="nearest"), hidden], 1)


def loss_on(teacher: Teacher) -> Callable[..., tuple[Tensor, dict[str, float]]]:
    """Squared error of v by cell, each cell counted by `importance`.

    Min-SNR weights (Hang et al., 2023) were tried and dropped: over v they count the noisiest steps least, and
    there the words decide what is drawn. So at half size, where the words are learnt, the steps lean towards the
    noise (density ∝ t^1.5; for inpainting, whose surroundings tell the product, ∝ t^0.67); at full size, where the
    details are, less so.
    """
    kept = build_scheduler().alphas_cumprod.to(teacher.device)
    plain, masked = teacher.plain, teacher.masked
    lean = (0.5, 0.7) if teacher.latents.shrink > 1 else (0.7, 0.8)

    def loss_of(module: nn.Module, rng: np.random.Generator, step: int) -> tuple[Tensor, dict[str, float]]:
        z, extra, tokens = (x.to(teacher.device) for x in teacher.batch(rng))
        t = torch.cat([_steps(plain, lean[0]), _steps(masked, lean[1])]).to(teacher.device)
        a, s = kept[t].sqrt().view(-1, 1, 1, 1), (1 - kept[t]).sqrt().view(-1, 1, 1, 1)
        e = torch.randn(z.shape).to(teacher.device)
        with halved(teacher.device):
            v = module(a * z + s * e, extra, t, tokens).float()
        off = (v - (a * e - s * z)).pow(2)
        each = off.detach().mean((1, 2, 3))
        told = {"txt2img": each[:plain].mean().item(), "inpaint": each[plain:].mean().item()}
        return (off * importance(plain, extra)).mean(), told

    return loss_of


def _steps(n: int, power: float) -> Tensor:
    """(n,) timesteps, spread evenly over the unit interval and bent: below 1 leans towards the noise."""
    spread = (torch.randperm(n) + torch.rand(n)) / max(1, n)
    return (spread**power * STEPS).long().clamp(max=STEPS - 1)


def importance(plain: int, extra: Tensor) -> Tensor:
    """(plain + b, 1, c, c) weight of each cell: text-to-image rows count every cell once; the b inpainting rows, told
    by the mask channel of `extra` (b, 5, c, c), count what is hidden, however small, and what is shown a fifth.

    It reads only what the network is shown too. A weight told by the target, such as more for cells that hold a
    defect, moves the best answer from the mean to a mean weighted so: at four times the weight, masks were filled
    with cracks from edge to edge.
    """
    hidden = extra[:, :1]
    weight = 0.2 + hidden * (0.8 / hidden.mean((1, 2, 3), keepdim=True).clamp(min=0.02)).clamp(max=5.0)
    return torch.cat([torch.ones((plain, *weight.shape[1:])).to(weight), weight])
