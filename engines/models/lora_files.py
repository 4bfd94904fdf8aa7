"""LoRA files as people have them: diffusers' own (PEFT), diffusers' older one, and kohya's. Safetensors only.

`header` facts need no torch; `read` does.
"""

from __future__ import annotations

import json
import re
from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from engines.words import Refusal, Words

if TYPE_CHECKING:
    import torch

WEIGHTS = "pytorch_lora_weights.safetensors"  # as diffusers' save_lora_weights names it
UNET, TEXT = "unet", "text_encoder"

_PREFIX = re.compile(r"(?:(unet|text_encoder)\.|lora_(unet|te1?)_)(.+)")
_ENDS = (  # how a layer's name ends in each format: what is meant, and the end
    ("down", re.compile(r"\.lora_A\.weight$|\.lora_down\.weight$|\.lora(?:_linear_layer)?\.down\.weight$")),
    ("up", re.compile(r"\.lora_B\.weight$|\.lora_up\.weight$|\.lora(?:_linear_layer)?\.up\.weight$")),
    ("down", re.compile(r"(?<=to_[qkv])_lora\.down\.weight$|(?<=to_out)_lora\.down\.weight$")),
    ("up", re.compile(r"(?<=to_[qkv])_lora\.up\.weight$|(?<=to_out)_lora\.up\.weight$")),
    ("alpha", re.compile(r"\.alpha$")),
)
_OLD_TEXT = {"to_q": "q_proj", "to_k": "k_proj", "to_v": "v_proj", "to_out": "out_proj"}


@dataclass(frozen=True, slots=True)
class Pair:
    """What one layer gets: `up(down(x)) · alpha / rank`; without alpha the rank is meant."""

    down: torch.Tensor
    up: torch.Tensor
    alpha: float | None


def is_lora(tensors: Iterable[str]) -> bool:
    """Whether tensors of these names make a LoRA."""
    names = list(tensors)
    return bool(names) and all(_placed(name) is not None for name in names)


def roles(tensors: Iterable[str]) -> tuple[str, ...]:
    """Which of a pipeline's modules it changes."""
    found = {place[0] for name in tensors if (place := _placed(name))}
    return tuple(role for role in (UNET, TEXT) if role in found)


def read(path: Path, name: str) -> dict[str, dict[str, Pair]]:
    """Role → the layer's name → its pair.

    Raises:
        Refusal: it holds what we cannot do (DoRA, LoKr, biases), or half a pair.
    """
    from safetensors import safe_open

    parts: dict[tuple[str, str], dict[str, Any]] = defaultdict(dict)
    with safe_open(path, framework="pt") as file:
        told = _told(file.metadata() or {})
        for key in file.keys():  # noqa: SIM118 (no mapping)
            place = _placed(key)
            if place is None:
                raise Refusal(_FOREIGN(name=name, key=re.sub(r"[^\w.]", "", key)[:80]))
            role, layer, part = place
            parts[role, layer][part] = file.get_tensor(key)
    made: dict[str, dict[str, Pair]] = {}
    for (role, layer), found in parts.items():
        if not {"down", "up"} <= set(found):
            raise Refusal(_FOREIGN(name=name, key=re.sub(r"[^\w.]", "", layer)[:80]))
        alpha = float(found["alpha"]) if "alpha" in found else _alpha(told.get(role), layer, found["down"])
        made.setdefault(role, {})[layer] = Pair(found["down"], found["up"], alpha)
    return made


def _placed(key: str) -> tuple[str, str, str] | None:
    """A tensor's name → role, the layer's name, and "down", "up" or "alpha"."""
    prefix = _PREFIX.fullmatch(key)
    if prefix is None:
        return None
    role = UNET if UNET in (prefix[1], prefix[2]) else TEXT
    for part, end in _ENDS:
        layer, count = end.subn("", prefix[3])
        if count:
            return role, _layer(role, layer), part
    return None


def _layer(role: str, layer: str) -> str:
    """The layer's name today: without `processor`, and without CLIP's `text_model`, which is gone."""
    if role == TEXT:
        layer = re.sub(r"^text_model[._]", "", layer)
        head, _, last = layer.rpartition(".")
        return f"{head}.{_OLD_TEXT.get(last, last)}" if head else layer
    layer = layer.replace(".processor.", ".")
    return f"{layer}.0" if layer.endswith(".to_out") else layer


def _told(metadata: Mapping[str, str]) -> dict[str, dict[str, Any]]:
    """PEFT's own configuration by role, where diffusers put it into the file."""
    try:
        flat = json.loads(metadata["lora_adapter_metadata"])
    except (KeyError, ValueError):
        return {}
    found: dict[str, dict[str, Any]] = defaultdict(dict)
    for key, value in flat.items() if isinstance(flat, dict) else ():
        role, _, name = key.partition(".")
        found[role][name] = value
    return found


def _alpha(told: Mapping[str, Any] | None, layer: str, down: torch.Tensor) -> float | None:
    """Alpha as PEFT's configuration has it for this layer; a scaling by the root of the rank is put into it."""
    if not told:
        return None
    alpha = float(told.get("lora_alpha") or down.shape[0])
    for pattern, own in (told.get("alpha_pattern") or {}).items():
        if re.match(rf"(.*\.)?({pattern})$", layer):
            alpha = float(own)
            break
    return alpha * float(down.shape[0]) ** 0.5 if told.get("use_rslora") else alpha


_FOREIGN = Words(
    "The LoRA `{name}` has a part that is not understood: {key}. Plain LoRA of the UNet and the text encoder works, "
    "as diffusers or kohya's scripts save it; DoRA, LoKr and the like do not.",
    "LoRA `{name}`에 이해할 수 없는 부분이 있습니다: {key}. diffusers나 kohya 스크립트로 저장한 UNet·텍스트 인코더용 "
    "일반 LoRA만 쓸 수 있으며, DoRA나 LoKr 등은 지원하지 않습니다.",
)
