"""LoRA files with random weights, made by PEFT and diffusers' own `save_lora_weights`."""

from __future__ import annotations

import copy
import json
from pathlib import Path
from typing import Any

import torch
from diffusers import StableDiffusionPipeline, UNet2DConditionModel
from peft import LoraConfig
from peft.utils import get_peft_model_state_dict
from transformers import CLIPTextModel

ATTENTION = ["to_q", "to_k", "to_v", "to_out.0"]
TEXT = ["q_proj", "k_proj", "v_proj", "out_proj"]


def make(
    folder: Path,
    pipeline: Path,
    seed: int,
    *,
    base: str = "",
    text: bool = False,
    size: float = 0.05,
    targets: list[str] | None = None,
    card: dict[str, Any] | None = None,
    **config: Any,
) -> Path:
    """A LoRA for the pipeline in the folder `pipeline`, saved as a training saves one."""
    unet = UNet2DConditionModel.from_pretrained(pipeline / "unet")
    encoder = CLIPTextModel.from_pretrained(pipeline / "text_encoder") if text else None
    told = {"r": 4, "lora_alpha": 4, "init_lora_weights": False, **config}
    torch.manual_seed(seed)
    layers, metadata = _adapted(unet, LoraConfig(**told, target_modules=targets or ATTENTION), size)
    more: dict[str, Any] = {"unet_lora_layers": layers, "unet_lora_adapter_metadata": metadata}
    if encoder is not None:
        layers, metadata = _adapted(encoder, LoraConfig(**told, target_modules=TEXT), size)
        more |= {"text_encoder_lora_layers": layers, "text_encoder_lora_adapter_metadata": metadata}
    StableDiffusionPipeline.save_lora_weights(folder, **more)
    if base:
        (folder / "model.json").write_text(json.dumps({"base": base, **(card or {})}))
    return folder


def _adapted(module: Any, config: LoraConfig, size: float) -> tuple[dict[str, torch.Tensor], dict[str, Any]]:
    module.add_adapter(config)
    layers = {key: torch.randn_like(value) * size for key, value in get_peft_model_state_dict(module).items()}
    told = copy.copy(module.peft_config["default"].to_dict())
    return layers, {key: list(v) if isinstance(v, set) else v for key, v in told.items() if v is not None}
