"""The judges: one small network that names the product, names the defect and marks its pixels. Never shipped."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from engines.embedded import DEFECTS, PRODUCTS
from engines.embedded.world import draw

NONE = len(DEFECTS)
KINDS = len(DEFECTS) + 1
"""Classes of a pixel and of a picture: the defects, then "none"."""


def _layer(a: int, b: int, stride: int = 1) -> nn.Sequential:
    return nn.Sequential(nn.Conv2d(a, b, 3, stride, 1, bias=False), nn.GroupNorm(8, b), nn.SiLU())


class Oracle(nn.Module):
    """A U-shaped network: (n, 3, 128, 128) in −1..1 → product logits (n, 9), defect logits (n, 6), pixel logits
    (n, 6, 64, 64)."""

    def __init__(self) -> None:
        super().__init__()
        self.one = nn.Sequential(_layer(3, 24, 2), _layer(24, 24))
        self.two = nn.Sequential(_layer(24, 48, 2), _layer(48, 48))
        self.four = nn.Sequential(_layer(48, 96, 2), _layer(96, 96))
        self.eight = nn.Sequential(_layer(96, 128, 2), _layer(128, 128))
        self.up_four, self.up_two, self.up_one = (
            _layer(128 + 96, 64),
            _layer(64 + 48, 48),
            _layer(48 + 24, 32),
        )
        self.pixels = nn.Conv2d(32, KINDS, 1)
        self.product, self.defect = nn.Linear(256, len(PRODUCTS)), nn.Linear(256 + KINDS, KINDS)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """See the class."""
        one = self.one(x)
        two = self.two(one)
        four = self.four(two)
        eight = self.eight(four)
        up = self.up_four(torch.cat([F.interpolate(eight, scale_factor=2.0), four], 1))
        up = self.up_two(torch.cat([F.interpolate(up, scale_factor=2.0), two], 1))
        pixels = self.pixels(self.up_one(torch.cat([F.interpolate(up, scale_factor=2.0), one], 1)))
        pooled = torch.cat([eight.mean((2, 3)), eight.amax((2, 3))], 1)
        seen = torch.cat([pooled, pixels.flatten(2).topk(24, dim=2).values.mean(2)], 1)
        return self.product(pooled), self.defect(seen), pixels


def loss_on(batch: int, device: str) -> Callable[..., Any]:
    """Cross-entropy of all three answers on scenes drawn afresh at every step: the data never repeats."""

    def loss_of(module: nn.Module, rng: np.random.Generator, step: int) -> tuple[Tensor, dict[str, float]]:
        seeds = 500_000 + (step * batch + np.arange(batch)) % 400_000
        product = rng.integers(len(PRODUCTS), size=batch)
        defect = rng.integers(KINDS, size=batch)
        names = (*DEFECTS, None)
        scenes = [draw(int(s), PRODUCTS[p], names[d]) for s, p, d in zip(seeds, product, defect, strict=True)]
        x = torch.from_numpy(np.stack([s.image for s in scenes])).permute(0, 3, 1, 2).float() / 127.5 - 1
        mask = torch.from_numpy(np.stack([s.mask for s in scenes])).float()[:, None] / 255
        answers = module(_worn(x, rng).to(device, memory_format=torch.channels_last))
        truth = [torch.from_numpy(v).to(device) for v in (product, defect)]
        return _judge(answers, mask.to(device), truth[0], truth[1])

    return loss_of


def _worn(x: Tensor, rng: np.random.Generator) -> Tensor:
    """Half of the batches a little blurred or noisy, so that the judge looks at defects and not at single pixels."""
    if rng.random() < 0.3:
        x = torch.lerp(x, F.avg_pool2d(x, 3, 1, 1), float(rng.uniform(0.2, 0.9)))
    if rng.random() < 0.3:
        x = x + float(rng.uniform(0.01, 0.06)) * torch.randn_like(x)
    return x


def _judge(
    answers: tuple[Tensor, Tensor, Tensor], mask: Tensor, product: Tensor, defect: Tensor
) -> tuple[Tensor, dict[str, float]]:
    """The three losses; a pixel of the 64×64 map belongs to the defect if a quarter of it does."""
    which, kind, pixels = answers
    marked = F.avg_pool2d(mask, 2)[:, 0] > 0.25
    target = torch.where(marked, defect[:, None, None], NONE)
    weight = torch.full((KINDS,), 2.0, device=mask.device)
    weight[NONE] = 0.5
    loss = F.cross_entropy(which, product) + F.cross_entropy(kind, defect)
    loss = loss + 2.0 * F.cross_entropy(pixels, target, weight)
    right = (kind.argmax(1) == defect).float().mean().item()
    hit = (pixels.argmax(1) == target)[marked].float().mean().item() if marked.any() else 1.0
    return loss, {
        "product": (which.argmax(1) == product).float().mean().item(),
        "defect": right,
        "pixels": hit,
    }


@torch.no_grad()
def answers(judge: Oracle, pictures: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """(n,) product, (n,) defect, (n, 64, 64) defect of each pixel, as indices; NONE means no defect."""
    parts = [judge(pictures[k : k + 25]) for k in range(0, len(pictures), 25)]
    which, kind, pixels = (torch.cat([p[i] for p in parts]) for i in range(3))
    return which.argmax(1), kind.argmax(1), pixels.argmax(1)
