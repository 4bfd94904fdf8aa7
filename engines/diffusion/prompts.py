"""Words into what the UNet understands, each text encoded once per model."""

from __future__ import annotations

import hashlib
from collections import OrderedDict
from collections.abc import Sequence
from typing import Any

import torch

from engines.diffusion import adapters
from engines.models.memory import Parts
from engines.words import Words

KEPT = 256  # encoded texts; 0.2 MB each for Stable Diffusion 1


class Prompts:
    """Encodes texts as diffusers' Stable Diffusion pipelines do, and remembers the last ones."""

    def __init__(self) -> None:
        self._known: OrderedDict[tuple[str, ...], torch.Tensor] = OrderedDict()

    def encode(self, parts: Parts, text: str) -> torch.Tensor:
        """The text as (1, tokens, width) on the model's device, in its dtype."""
        key = (parts.hashes["text_encoder"], parts.hashes["tokenizer"], parts.adapter, text)
        if key not in self._known:
            self._known[key] = _encoded(parts, text)
        self._known.move_to_end(key)
        while len(self._known) > KEPT:
            self._known.popitem(last=False)
        return self._known[key]


def _encoded(parts: Parts, text: str) -> torch.Tensor:
    tokenizer, encoder = parts.tokenizer, parts.text_encoder
    tokens = tokenizer(
        text,
        padding="max_length",
        max_length=tokenizer.model_max_length,
        truncation=True,
        return_tensors="pt",
    )
    asked = getattr(encoder.config, "use_attention_mask", None)
    mask = tokens.attention_mask.to(parts.device) if asked else None
    with adapters.rows(encoder, [parts.adapter]):
        states = encoder(tokens.input_ids.to(parts.device), attention_mask=mask)[0]
    result: torch.Tensor = states.to(parts.unet.dtype)
    return result


def shaken(text: torch.Tensor, noise: float, seeds: Sequence[int]) -> torch.Tensor:
    """(n, tokens, width) with each picture's own noise, `noise` standard deviations of its text (MAGIC).

    Drawn from the picture's seed alone, by a generator of its own: its other randomness stays as it was.
    """
    if not noise:
        return text
    drawn = [torch.randn(text.shape[1:], generator=_own(seed)) for seed in seeds]
    strength = noise * text.float().std(dim=(1, 2), keepdim=True)
    return (text + strength * torch.stack(drawn).to(text.device)).to(text.dtype)


def _own(seed: int) -> torch.Generator:
    """A generator apart from the latents', which begins from the bare seed. (torch looks at 32 bits of a seed only.)"""
    told = hashlib.sha256(f"words {seed}".encode()).digest()
    return torch.Generator("cpu").manual_seed(int.from_bytes(told[:4], "little"))


def left_out(tokenizer: Any, text: str) -> str:
    """The end of `text` that does not fit the model, or ''."""
    room = tokenizer.model_max_length - 2  # a token to begin and one to end
    read = tokenizer(
        text, add_special_tokens=False, truncation=False, verbose=False, return_offsets_mapping=True
    )
    return text[read.offset_mapping[room][0] :] if len(read.input_ids) > room else ""


def shortened(tokenizer: Any, name: str, text: str) -> list[Words]:
    """A sentence about what of the field `name` the model will not see."""
    rest = left_out(tokenizer, text).strip()
    shown = rest if len(rest) <= 80 else rest[:79] + "…"
    return [_CUT(field=name, room=tokenizer.model_max_length - 2, rest=shown)] if rest else []


_CUT = Words(
    "The model reads the first {room} tokens of `{field}`; it did not see: “{rest}”",
    "모델은 `{field}`의 앞 {room}토큰까지만 읽습니다. 반영되지 않은 부분: “{rest}”",
)
