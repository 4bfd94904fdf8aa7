"""Writes the shipped folders: diffusers' and open_clip's own layouts, float16, whole or not at all."""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path

import torch
from diffusers import AutoencoderKL, UNet2DConditionModel
from safetensors.torch import load_file, save_file
from torch import Tensor

from engines.embedded import text
from engines.embedded.diffusion import Painter, build_scheduler, build_unet

BODY = "diffusion_pytorch_model-00001-of-00002.safetensors"
MOUTH = "diffusion_pytorch_model-00002-of-00002.safetensors"
INDEX = "diffusion_pytorch_model.safetensors.index.json"
SHARED = ("vae", "text_encoder", "tokenizer", "scheduler")


def replace_folder(new: Path, place: Path) -> None:
    """Puts `new` where `place` is by renames; a reader finds the old folder or the new one."""
    old = place.with_name(f".{place.name}.old")
    shutil.rmtree(old, ignore_errors=True)
    if place.exists():
        place.rename(old)
    new.rename(place)
    shutil.rmtree(old, ignore_errors=True)


def copy_folder(source: Path, place: Path) -> None:
    """A copy that keeps links as links."""
    shutil.copytree(source, place, symlinks=True)


def save_pipelines(painter: Painter, vae: AutoencoderKL, folder: Path) -> None:
    """folder/txt2img and folder/inpaint; they share everything but the first convolution, by relative links."""
    plain, masked = folder / "txt2img", folder / "inpaint"
    tokenizer = text.open_tokenizer()
    _save_half(vae, plain / "vae")
    _save_half(painter.text, plain / "text_encoder")
    text.save_tokenizer(tokenizer, plain / "tokenizer")
    build_scheduler().save_pretrained(plain / "scheduler")
    state = painter.unet.state_dict()
    mouth = {k: state.pop(k) for k in list(state) if k.startswith("conv_in.")}
    _save_unet(build_unet(4), state, mouth, plain / "unet", None)
    nine = {f"conv_in.{k}": v for k, v in painter.conv_in_9.state_dict().items()}
    _save_unet(build_unet(9), state, nine, masked / "unet", Path("../../txt2img/unet") / BODY)
    for part in SHARED:
        os.symlink(Path("../txt2img") / part, masked / part)
    for place, name in ((plain, "StableDiffusionPipeline"), (masked, "StableDiffusionInpaintPipeline")):
        (place / "model_index.json").write_text(json.dumps(_index_of(name), indent=2) + "\n")


def _save_half(module: AutoencoderKL | torch.nn.Module, folder: Path) -> None:
    """Weights in float16, but a config that says float32: whoever names no dtype computes in float32."""
    module.half().save_pretrained(folder)  # type: ignore[operator]
    module.float()
    config = json.loads((folder / "config.json").read_text())
    config.pop("torch_dtype", None)
    if "dtype" in config:
        config["dtype"] = "float32"
    (folder / "config.json").write_text(json.dumps(config, indent=2) + "\n")


def _save_unet(
    shape: UNet2DConditionModel,
    body: dict[str, Tensor],
    mouth: dict[str, Tensor],
    folder: Path,
    link: Path | None,
) -> None:
    """Two shards, body and mouth, with diffusers' index; the body may be a link to another folder's."""
    folder.mkdir(parents=True)
    shape.save_config(folder)
    halves = [{k: v.detach().half().contiguous() for k, v in part.items()} for part in (body, mouth)]
    if link is None:
        save_file(halves[0], folder / BODY, {"format": "pt"})
    else:
        os.symlink(link, folder / BODY)
    save_file(halves[1], folder / MOUTH, {"format": "pt"})
    where = {k: BODY for k in body} | {k: MOUTH for k in mouth}
    size = sum(v.numel() * 2 for part in halves for v in part.values())
    index = {"metadata": {"total_size": size}, "weight_map": dict(sorted(where.items()))}
    (folder / INDEX).write_text(json.dumps(index, indent=2) + "\n")


def _index_of(name: str) -> dict[str, object]:
    """model_index.json as diffusers 0.42 writes it."""
    return {
        "_class_name": name, "_diffusers_version": "0.42.1",
        "feature_extractor": [None, None], "image_encoder": [None, None], "requires_safety_checker": False,
        "safety_checker": [None, None], "scheduler": ["diffusers", "DDIMScheduler"],
        "text_encoder": ["transformers", "CLIPTextModel"], "tokenizer": ["transformers", "CLIPTokenizer"],
        "unet": ["diffusers", "UNet2DConditionModel"], "vae": ["diffusers", "AutoencoderKL"],
    }  # fmt: skip


def load_shipped(painter: Painter, weights: Path) -> None:
    """The shipped weights into a Painter: where a later training goes on from."""
    plain = weights / "txt2img"
    unet = load_file(plain / "unet" / BODY) | load_file(plain / "unet" / MOUTH)
    painter.unet.load_state_dict({k: v.float() for k, v in unet.items()})
    nine = load_file(weights / "inpaint" / "unet" / MOUTH)
    painter.conv_in_9.load_state_dict({k.removeprefix("conv_in."): v.float() for k, v in nine.items()})
    words = load_file(plain / "text_encoder" / "model.safetensors")
    painter.text.load_state_dict({k: v.float() for k, v in words.items()})
