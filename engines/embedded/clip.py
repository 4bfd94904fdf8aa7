"""The small CLIP: open_clip's own model class, our tokenizer, a contrastive loss that knows synonyms."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import open_clip
import torch
from safetensors.torch import save_file
from torch import Tensor, nn
from torch.nn import functional as F
from transformers import CLIPTokenizer

from engines.embedded import DEFECTS, PRODUCTS, SIZE, text
from engines.embedded.captions import caption
from engines.embedded.pool import Pool

HALF = (0.5, 0.5, 0.5)


def settings(tokenizer: CLIPTokenizer) -> dict[str, Any]:
    """The open_clip model_cfg: a narrow ModifiedResNet at 128×128 and a two-layer text tower."""
    return {
        "embed_dim": 128,
        "vision_cfg": {"image_size": SIZE, "layers": [1, 1, 1, 1], "width": 16, "head_width": 64, "patch_size": None},
        "text_cfg": {
            "context_length": text.LENGTH, "vocab_size": len(tokenizer), "width": 128, "heads": 4, "layers": 2,
            "hf_tokenizer_name": "local",
        },
    }  # fmt: skip


def build(tokenizer: CLIPTokenizer) -> nn.Module:
    """The same class that open_clip makes from the saved folder."""
    cfg = settings(tokenizer)
    model: nn.Module = open_clip.CLIP(
        embed_dim=cfg["embed_dim"], vision_cfg=cfg["vision_cfg"], text_cfg=cfg["text_cfg"]
    )
    return model


def save(state: dict[str, Tensor], tokenizer: CLIPTokenizer, folder: Path) -> None:
    """A folder for open_clip's "local-dir:" names: config, float16 weights, tokenizer."""
    folder.mkdir(parents=True, exist_ok=True)
    text.save_tokenizer(tokenizer, folder)
    weights = {
        k: (v.half() if v.is_floating_point() else v).contiguous()
        for k, v in state.items()
        if k != "attn_mask"
    }
    save_file(weights, folder / "open_clip_model.safetensors", {"format": "pt"})
    look = {"mean": HALF, "std": HALF, "interpolation": "bicubic", "resize_mode": "shortest"}
    config = {"model_cfg": settings(tokenizer), "preprocess_cfg": look}
    (folder / "open_clip_config.json").write_text(json.dumps(config, indent=2) + "\n")


def vary(pictures: Tensor, rng: np.random.Generator) -> Tensor:
    """Flips, quarter turns and small changes of exposure of (n, 3, h, w) pictures in −1..1."""
    turned = torch.stack([torch.rot90(p, int(rng.integers(4)), (1, 2)) for p in pictures])
    if rng.random() < 0.5:
        turned = turned.flip(3)
    gain = torch.from_numpy(rng.uniform(0.85, 1.15, (len(turned), 3, 1, 1))).float()
    return ((turned + 1) * gain - 1).clamp(-1, 1)


def loss_on(pool: Pool, tokenizer: CLIPTokenizer, batch: int, device: str) -> Callable[..., Any]:
    """Contrastive both ways; every caption of the same product and defect counts as right (SupCon-like)."""

    def loss_of(module: nn.Module, rng: np.random.Generator, step: int) -> tuple[Tensor, dict[str, float]]:
        picks, good = rng.integers(len(pool), size=batch), rng.random(batch) < 0.17
        pictures = np.stack([(pool.clean if g else pool.image)[k] for k, g in zip(picks, good, strict=True)])
        x = vary(torch.from_numpy(pictures).permute(0, 3, 1, 2).float() / 127.5 - 1, rng)
        kind = np.where(good, len(DEFECTS), pool.defect[picks])
        words = [
            caption(rng, PRODUCTS[pool.product[k]], None if d == len(DEFECTS) else DEFECTS[d])
            for k, d in zip(picks, kind, strict=True)
        ]
        label = torch.from_numpy(pool.product[picks] * 10 + kind).to(device)
        return _contrast(module, x.to(device), text.ids(tokenizer, words).to(device), label)

    return loss_of


def _contrast(module: nn.Module, x: Tensor, tokens: Tensor, label: Tensor) -> tuple[Tensor, dict[str, float]]:
    seen, said, scale = module(x, tokens)[:3]
    score = scale.clamp(max=50) * seen @ said.T
    same = (label[:, None] == label[None]).float()
    same = same / same.sum(1, keepdim=True)
    loss = -(same * F.log_softmax(score, 1)).sum(1).mean() - (same * F.log_softmax(score.T, 1)).sum(1).mean()
    floor = -2 * (same * same.clamp_min(1e-9).log()).sum(1).mean()
    right = (label[score.argmax(1)] == label).float().mean()
    return loss, {"over_floor": (loss - floor).item(), "right": right.item()}
