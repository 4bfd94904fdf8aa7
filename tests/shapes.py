"""Stable Diffusion 1.5 and 2 in their exact architecture classes and configuration keys, narrow, with random weights.

A proof of shapes: names, classes, keys, head counts, projections, channels. What they paint is noise.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import diffusers
import torch
from diffusers import AutoencoderKL, PNDMScheduler, UNet2DConditionModel
from transformers import CLIPTextConfig, CLIPTextModel, CLIPTokenizer

from engines.models import architectures
from engines.models.architectures import Config
from engines.models.single_file import clip_words

BPE = "bpe_simple_vocab_16e6.txt.gz"


def narrow(base: str, channels: int = 4, *, v_prediction: bool = False, width: int = 32) -> dict[str, Config]:
    """The real configurations with fewer channels and layers and a smaller picture; no key is added or left out."""
    parts = architectures.configs(base, channels, v_prediction=v_prediction)
    heads = 8 if base == "sd1" else [2, 4, 4, 4]
    unet = {"block_out_channels": [32, 64, 64, 64], "attention_head_dim": heads, "cross_attention_dim": width}
    text = {
        "hidden_size": width,
        "intermediate_size": 2 * width,
        "num_attention_heads": 2,
        "num_hidden_layers": 2,
        "projection_dim": width // 2,
    }
    small = {
        "unet": {**unet, "sample_size": 8},
        "vae": {"block_out_channels": [32, 32, 64, 64], "sample_size": 64},
        "text_encoder": text,
        "scheduler": {},
    }
    assert all(set(small[role]) <= set(parts[role]) for role in parts)
    return {role: {**config, **small[role]} for role, config in parts.items()}


def modules(parts: dict[str, Config], seed: int = 0) -> dict[str, Any]:
    """Component → a module with random weights."""
    torch.manual_seed(seed)
    return {
        "unet": UNet2DConditionModel.from_config(parts["unet"]),
        "vae": AutoencoderKL.from_config(parts["vae"]),
        "text_encoder": CLIPTextModel(CLIPTextConfig(**parts["text_encoder"])),
    }


def save(folder: Path, base: str, channels: int = 4, *, v_prediction: bool = False, seed: int = 0) -> Path:
    """A diffusers folder as the hub has it."""
    parts = narrow(base, channels, v_prediction=v_prediction)
    architectures.write(folder, {}, channels)
    told = {**architectures.index(channels), "_diffusers_version": diffusers.__version__}  # the hub's say it
    (folder / "model_index.json").write_text(json.dumps(told))
    for role, module in modules(parts, seed).items():
        module.save_pretrained(folder / role)
    PNDMScheduler.from_config(parts["scheduler"]).save_pretrained(folder / "scheduler")
    pad = "<|endoftext|>" if base == "sd1" else "!"
    vocab, merges = clip_words(_bpe())
    CLIPTokenizer(vocab=vocab, merges=merges, pad_token=pad, model_max_length=77).save_pretrained(
        folder / "tokenizer"
    )
    return folder


def _bpe() -> Path:
    import importlib.util

    spec = importlib.util.find_spec("open_clip")
    assert spec is not None
    assert spec.submodule_search_locations
    return Path(spec.submodule_search_locations[0]) / BPE


def original(made: dict[str, Any], base: str) -> dict[str, torch.Tensor]:
    """The modules' weights under the names of the original repository, as single files have them."""
    text = _clip(made["text_encoder"]) if base == "sd1" else _open_clip(made["text_encoder"])
    unet = {f"model.diffusion_model.{_unet(key)}": value for key, value in made["unet"].state_dict().items()}
    vae = dict(_vae(key, value) for key, value in made["vae"].state_dict().items())
    return {key: value.contiguous() for key, value in {**text, **unet, **vae}.items()}


_RESNET = {
    "norm1": "in_layers.0",
    "conv1": "in_layers.2",
    "time_emb_proj": "emb_layers.1",
    "norm2": "out_layers.0",
    "conv2": "out_layers.3",
    "conv_shortcut": "skip_connection",
}
_ENDS = {
    "conv_in": "input_blocks.0.0",
    "conv_norm_out": "out.0",
    "conv_out": "out.2",
    "time_embedding.linear_1": "time_embed.0",
    "time_embedding.linear_2": "time_embed.2",
    "mid_block.resnets.0": "middle_block.0",
    "mid_block.attentions.0": "middle_block.1",
    "mid_block.resnets.1": "middle_block.2",
}


def _unet(key: str) -> str:
    for new, old in _blocks().items():
        if key.startswith(new + "."):
            rest = key.removeprefix(new + ".")
            part, _, last = rest.rpartition(".")
            return f"{old}.{_RESNET[part]}.{last}" if "resnets" in new else f"{old}.{rest}"
    raise KeyError(key)


def _blocks() -> dict[str, str]:
    names = dict(_ENDS)
    for level in range(4):
        for layer in range(2):
            at = 3 * level + layer + 1
            names[f"down_blocks.{level}.resnets.{layer}"] = f"input_blocks.{at}.0"
            names[f"down_blocks.{level}.attentions.{layer}"] = f"input_blocks.{at}.1"
        names[f"down_blocks.{level}.downsamplers.0.conv"] = f"input_blocks.{3 * level + 3}.0.op"
        for layer in range(3):
            at = 3 * level + layer
            names[f"up_blocks.{level}.resnets.{layer}"] = f"output_blocks.{at}.0"
            names[f"up_blocks.{level}.attentions.{layer}"] = f"output_blocks.{at}.1"
        names[f"up_blocks.{level}.upsamplers.0"] = f"output_blocks.{3 * level + 2}.{1 if level == 0 else 2}"
    return names


def _vae(key: str, value: torch.Tensor) -> tuple[str, torch.Tensor]:
    for level in range(4):
        key = key.replace(f"decoder.up_blocks.{level}.", f"decoder.up.{3 - level}.")
    for new, old in (
        ("down_blocks", "down"),
        ("mid_block.resnets.0", "mid.block_1"),
        ("mid_block.resnets.1", "mid.block_2"),
        ("mid_block.attentions.0", "mid.attn_1"),
        ("resnets", "block"),
        ("downsamplers.0", "downsample"),
        ("upsamplers.0", "upsample"),
        ("conv_shortcut", "nin_shortcut"),
        ("conv_norm_out", "norm_out"),
    ):
        key = key.replace(new, old)
    if "attn_1" in key:
        for new, old in (
            ("group_norm", "norm"),
            ("to_q", "q"),
            ("to_k", "k"),
            ("to_v", "v"),
            ("to_out.0", "proj_out"),
        ):
            key = key.replace(f".{new}.", f".{old}.")
        if value.ndim == 2:
            value = value[:, :, None, None]
    return f"first_stage_model.{key}", value


def _clip(module: Any) -> dict[str, torch.Tensor]:
    bare = {key.removeprefix("text_model."): value for key, value in module.state_dict().items()}
    return {f"cond_stage_model.transformer.text_model.{key}": value for key, value in bare.items()}


def _open_clip(module: Any) -> dict[str, torch.Tensor]:
    bare = {key.removeprefix("text_model."): value for key, value in module.state_dict().items()}
    names = {
        "embeddings.token_embedding.weight": "token_embedding.weight",
        "embeddings.position_embedding.weight": "positional_embedding",
        "final_layer_norm.weight": "ln_final.weight",
        "final_layer_norm.bias": "ln_final.bias",
    }
    found = {old: bare[new] for new, old in names.items()}
    for layer in range(module.config.num_hidden_layers):
        new, old = f"encoder.layers.{layer}", f"transformer.resblocks.{layer}"
        for kind in ("weight", "bias"):
            qkv = [bare[f"{new}.self_attn.{part}_proj.{kind}"] for part in "qkv"]
            found[f"{old}.attn.in_proj_{kind}"] = torch.cat(qkv)
            found[f"{old}.attn.out_proj.{kind}"] = bare[f"{new}.self_attn.out_proj.{kind}"]
            found[f"{old}.ln_1.{kind}"] = bare[f"{new}.layer_norm1.{kind}"]
            found[f"{old}.ln_2.{kind}"] = bare[f"{new}.layer_norm2.{kind}"]
            found[f"{old}.mlp.c_fc.{kind}"] = bare[f"{new}.mlp.fc1.{kind}"]
            found[f"{old}.mlp.c_proj.{kind}"] = bare[f"{new}.mlp.fc2.{kind}"]
    return {f"cond_stage_model.model.{key}": value for key, value in found.items()}
