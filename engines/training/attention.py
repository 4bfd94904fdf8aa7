"""Where the defect's words look: the cross-attention term of DefectFill (arXiv 2503.13985), off unless asked for.

The maps are worked out beside the network's own attention, from the same queries and keys, so that whatever computes
that stays as it is. Where the term's weight is 0 nothing is watched.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import nn
from torch.nn import functional

from engines.training.rows import Row

Maps = list[torch.Tensor]  # of one call: (n, cells, tokens) a layer, each row's tokens adding up to 1


@contextmanager
def watched(unet: nn.Module, wanted: bool) -> Iterator[Maps]:
    """Inside, the maps of the decoder's cross-attention are added to what is given here.

    The backward pass belongs inside too: gradient checkpointing calls the layers again then.
    """
    maps: Maps = []

    def look(layer: Any, args: tuple[Any, ...], more: Mapping[str, Any]) -> None:
        maps.append(_map(layer, args[0], more["encoder_hidden_states"]))

    layers = _layers(unet) if wanted else []
    hooks = [layer.register_forward_pre_hook(look, with_kwargs=True) for layer in layers]
    try:
        yield maps
    finally:
        for hook in hooks:
            hook.remove()


def _layers(unet: nn.Module) -> list[nn.Module]:
    """The cross-attention on the way up, as in the paper."""
    return [
        m for name, m in unet.named_modules() if name.startswith("up_blocks.") and name.endswith(".attn2")
    ]


def _map(layer: Any, seen: torch.Tensor, text: torch.Tensor) -> torch.Tensor:
    """softmax(q·kᵀ·scale), the mean over the heads, in float32."""
    query, key = (_by_head(part, layer.heads) for part in (layer.to_q(seen), layer.to_k(text)))
    scores: torch.Tensor = query @ key.transpose(-1, -2) * layer.scale
    return scores.float().softmax(-1).mean(1)


def _by_head(values: torch.Tensor, heads: int) -> torch.Tensor:
    """(n, cells, heads × width) → (n, heads, cells, width)."""
    return values.view(*values.shape[:2], heads, -1).transpose(1, 2)


def losses(maps: Maps, batch: Sequence[Row], defects: torch.Tensor, tokenizer: Any) -> torch.Tensor:
    """mean((A − M)²) for each row whose prompt names a defect, 0 for the others, (n,).

    A: how much the defect's words are looked at from each cell, the mean over layers and words; M: the mask.

    Args:
        defects: (n, 1, h, w), 1 = defect.
    """
    found = []
    for i, (row, mask) in enumerate(zip(batch, defects, strict=True)):
        named = tokens(tokenizer, row.prompt, row.defect)
        look = looked([layer[i] for layer in maps], named, mask) if named else None
        found.append(mask.new_zeros(()) if look is None else ((look - mask) ** 2).mean())
    return torch.stack(found)


def looked(layers: Sequence[torch.Tensor], named: Sequence[int], mask: torch.Tensor) -> torch.Tensor:
    """How much the tokens `named` are looked at from each cell of the mask (1, h, w): the mean over layers and tokens."""
    high, wide = mask.shape[-2:]
    shown = []
    for layer in layers:
        down = round((high * wide / len(layer)) ** 0.5)  # cells of the mask along a side of this layer's
        small = layer[:, list(named)].mean(-1).view(1, 1, -(-high // down), -(-wide // down))
        shown.append(functional.interpolate(small, size=(high, wide), mode="bilinear", align_corners=False))
    return torch.cat(shown).mean(0)


def tokens(tokenizer: Any, prompt: str, defect: str) -> list[int]:
    """The places in the encoded prompt at which the words of `defect` stand, the start's own place counted."""
    words, wanted = prompt.split(), set(defect.split())
    found: list[int] = []
    for i, word in enumerate(words):
        if word in wanted:
            before, upto = (_length(tokenizer, words[:end]) for end in (i, i + 1))
            found += range(before, upto)
    return [place for place in found if place < tokenizer.model_max_length - 1]


def _length(tokenizer: Any, words: Sequence[str]) -> int:
    """Tokens up to the end of the words, with the start and without the end."""
    return len(tokenizer(" ".join(words)).input_ids) - 1
