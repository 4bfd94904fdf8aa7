"""The shapes of Stable Diffusion 1.x and 2.x as their published configurations tell them.

A single .safetensors file holds weights only; these are the configurations that go with it, so that no hub is
needed. Facts from the model repositories' own config.json files.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

Config = dict[str, Any]

_UNET: Config = {
    "_class_name": "UNet2DConditionModel",
    "act_fn": "silu",
    "attention_head_dim": 8,
    "block_out_channels": [320, 640, 1280, 1280],
    "center_input_sample": False,
    "cross_attention_dim": 768,
    "down_block_types": ["CrossAttnDownBlock2D"] * 3 + ["DownBlock2D"],
    "downsample_padding": 1,
    "flip_sin_to_cos": True,
    "freq_shift": 0,
    "in_channels": 4,
    "layers_per_block": 2,
    "mid_block_scale_factor": 1,
    "norm_eps": 1e-05,
    "norm_num_groups": 32,
    "out_channels": 4,
    "sample_size": 64,
    "up_block_types": ["UpBlock2D"] + ["CrossAttnUpBlock2D"] * 3,
}
_VAE: Config = {
    "_class_name": "AutoencoderKL",
    "act_fn": "silu",
    "block_out_channels": [128, 256, 512, 512],
    "down_block_types": ["DownEncoderBlock2D"] * 4,
    "in_channels": 3,
    "latent_channels": 4,
    "layers_per_block": 2,
    "norm_num_groups": 32,
    "out_channels": 3,
    "sample_size": 512,
    "scaling_factor": 0.18215,
    "up_block_types": ["UpDecoderBlock2D"] * 4,
}
_TEXT: Config = {
    "architectures": ["CLIPTextModel"],
    "model_type": "clip_text_model",
    "attention_dropout": 0.0,
    "bos_token_id": 0,
    "eos_token_id": 2,
    "pad_token_id": 1,
    "hidden_act": "quick_gelu",
    "hidden_size": 768,
    "initializer_factor": 1.0,
    "initializer_range": 0.02,
    "intermediate_size": 3072,
    "layer_norm_eps": 1e-05,
    "max_position_embeddings": 77,
    "num_attention_heads": 12,
    "num_hidden_layers": 12,
    "projection_dim": 768,
    "vocab_size": 49408,
}
_SCHEDULER: Config = {
    "_class_name": "PNDMScheduler",
    "beta_end": 0.012,
    "beta_schedule": "scaled_linear",
    "beta_start": 0.00085,
    "clip_sample": False,
    "num_train_timesteps": 1000,
    "prediction_type": "epsilon",
    "set_alpha_to_one": False,
    "skip_prk_steps": True,
    "steps_offset": 1,
    "trained_betas": None,
}
# OpenCLIP's ViT-H text tower, of which Stable Diffusion 2 uses all layers but the last.
_OPEN_TEXT: Config = {
    **_TEXT,
    "hidden_act": "gelu",
    "hidden_size": 1024,
    "intermediate_size": 4096,
    "num_attention_heads": 16,
    "num_hidden_layers": 23,
    "projection_dim": 512,
}
_OPEN_UNET: Config = {
    **_UNET,
    "attention_head_dim": [5, 10, 20, 20],
    "cross_attention_dim": 1024,
    "dual_cross_attention": False,
    "num_class_embeds": None,
    "only_cross_attention": False,
    "use_linear_projection": True,
}


def configs(base: str, channels: int = 4, *, v_prediction: bool = False) -> dict[str, Config]:
    """Component → its configuration.

    Args:
        base: "sd1" or "sd2".
        channels: the UNet's input channels, 4 or 9.
        v_prediction: trained to predict velocity (arXiv 2202.00512) at 768 pixels: stable-diffusion-2 and 2-1.
    """
    unet, text = (_UNET, _TEXT) if base == "sd1" else (_OPEN_UNET, _OPEN_TEXT)
    side = 96 if v_prediction else 64
    return {
        "unet": {**unet, "in_channels": channels, "sample_size": side},
        "vae": {**_VAE, "sample_size": 8 * side},
        "text_encoder": text,
        "scheduler": {**_SCHEDULER, "prediction_type": "v_prediction" if v_prediction else "epsilon"},
    }


def index(channels: int = 4) -> Config:
    """model_index.json of a pipeline with a UNet of so many input channels."""
    return {
        "_class_name": "StableDiffusionInpaintPipeline" if channels == 9 else "StableDiffusionPipeline",
        "feature_extractor": [None, None],
        "requires_safety_checker": False,
        "safety_checker": [None, None],
        "scheduler": ["diffusers", "PNDMScheduler"],
        "text_encoder": ["transformers", "CLIPTextModel"],
        "tokenizer": ["transformers", "CLIPTokenizer"],
        "unet": ["diffusers", "UNet2DConditionModel"],
        "vae": ["diffusers", "AutoencoderKL"],
    }


def write(folder: Path, parts: dict[str, Config], channels: int = 4) -> None:
    """Write the configurations as diffusers lays them out."""
    folder.mkdir(parents=True, exist_ok=True)
    for role, config in parts.items():
        (folder / role).mkdir(parents=True, exist_ok=True)
        name = "scheduler_config.json" if role == "scheduler" else "config.json"
        (folder / role / name).write_text(json.dumps(config))
    (folder / "model_index.json").write_text(json.dumps(index(channels)))
