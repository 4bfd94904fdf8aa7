"""From a finished training to a model's folder that plain diffusers loads, there at once and whole.

What was not trained is the base's own files, byte for byte, so that in memory it is shared with the base.
"""

from __future__ import annotations

import errno
import hashlib
import json
import os
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import nn

from engines.models.memory import Blueprint
from engines.training.checkpoints import sync_file, sync_folder
from engines.training.concepts import Concept
from engines.training.request import DEFECT, LORA, Train

CARD, LIST = "model.json", "concepts_list.json"
FROZEN = ("tokenizer", "text_encoder", "vae", "scheduler")


@dataclass(frozen=True, slots=True)
class Origin:
    """What a training started from."""

    plan: Blueprint
    path: Path  # a diffusers folder or a single file
    licence: str


@dataclass(frozen=True, slots=True)
class Made:
    """What was trained, on the CPU and nobody else's: whole modules, or adapters' tensors, by role."""

    modules: Mapping[str, nn.Module]
    adapters: Mapping[str, Mapping[str, torch.Tensor]]


def made(method: str, unet: nn.Module, text_encoder: nn.Module | None) -> Made:
    """Take what was trained off the device. Private modules are moved; of twins only the adapters are taken."""
    own = {"unet": unet} | ({} if text_encoder is None else {"text_encoder": text_encoder})
    if method == LORA:
        return Made({}, {role: _adapters(module) for role, module in own.items()})
    return Made({role: module.to("cpu").eval() for role, module in own.items()}, {})


def _adapters(module: nn.Module) -> dict[str, torch.Tensor]:
    from diffusers.utils import convert_state_dict_to_diffusers
    from peft import get_peft_model_state_dict

    told = convert_state_dict_to_diffusers(get_peft_model_state_dict(module))
    return {name: tensor.detach().cpu().clone() for name, tensor in told.items()}


def write_weights(folder: Path, base: Origin, made: Made) -> None:
    """The weights into `folder`: a LoRA's file, or a whole pipeline."""
    if made.adapters:
        from diffusers import StableDiffusionPipeline

        layers = {f"{role}_lora_layers": dict(tensors) for role, tensors in made.adapters.items()}
        StableDiffusionPipeline.save_lora_weights(folder, **layers)
    else:
        _write_pipeline(folder, base, made)


def _write_pipeline(folder: Path, base: Origin, made: Made) -> None:
    for role, module in made.modules.items():
        saved: Any = module
        saved.save_pretrained(folder / role, safe_serialization=True)
        _forget_origin(folder / role / "config.json")
    for role in FROZEN:
        if role not in made.modules:
            _frozen(folder / role, base, role)
    (folder / "model_index.json").write_text(json.dumps(_index(folder, base.plan.in_channels), indent=1))


def _forget_origin(config: Path) -> None:
    """Where the base lay on this machine is nobody's business."""
    told = json.loads(config.read_text())
    told.pop("_name_or_path", None)
    config.write_text(json.dumps(told, indent=2, sort_keys=True) + "\n")


def _frozen(to: Path, base: Origin, role: str) -> None:
    """A part that was not trained: the base's own files, or what its single file holds."""
    if base.path.is_dir():
        to.mkdir()
        for file in (base.path / role).iterdir():
            if file.suffix in (".json", ".txt", ".safetensors"):
                name = file.name.replace(".fp16.", ".")  # plain diffusers looks for no variant
                if name == file.name or not (base.path / role / name).exists():
                    shutil.copyfile(file, to / name)
    elif role == "scheduler":
        import diffusers

        told = dict(base.plan.scheduler_config)
        getattr(diffusers, told.get("_class_name", "DDIMScheduler")).from_config(told).save_pretrained(to)
    else:
        piece = next(piece for piece in base.plan.pieces if piece.role == role)
        piece.load().save_pretrained(to)


def _index(folder: Path, channels: int) -> dict[str, Any]:
    import diffusers

    scheduler = json.loads((folder / "scheduler" / "scheduler_config.json").read_text())
    kind = "StableDiffusionInpaintPipeline" if channels == 9 else "StableDiffusionPipeline"
    return {
        "_class_name": kind,
        "_diffusers_version": diffusers.__version__,
        "feature_extractor": [None, None],
        "image_encoder": [None, None],
        "requires_safety_checker": False,
        "safety_checker": [None, None],
        "scheduler": ["diffusers", scheduler.get("_class_name", "DDIMScheduler")],
        "text_encoder": ["transformers", "CLIPTextModel"],
        "tokenizer": ["transformers", "CLIPTokenizer"],
        "unet": ["diffusers", "UNet2DConditionModel"],
        "vae": ["diffusers", "AutoencoderKL"],
    }


# ------------------------------------------------------------------ beside the weights


def concepts_list(request: Train) -> list[dict[str, Any]]:
    """The concepts as DreamBooth scripts read them; the folders' names are the concepts'."""
    return [
        {
            "instance_prompt": told.get("instance_prompt", ""),
            "class_prompt": told.get("class_prompt", ""),
            "instance_data_dir": f"{told.get('name', '')}/images",
            "class_data_dir": f"{told.get('name', '')}/class_images",
            "instance_mask_dir": f"{told.get('name', '')}/masks",
            "normal_data_dir": f"{told.get('name', '')}/normals",
            "weight": told.get("weight", 1.0),
        }
        for told in request.concepts
    ]


def card(
    request: Train, base: Origin, concepts: Sequence[Concept], facts: Mapping[str, Any]
) -> dict[str, Any]:
    """What model.json says, but for the files' hashes."""
    parameters = {k: v for k, v in request.to_json().items() if k != "concepts"}
    return {
        "name": request.save_as,
        "kind": "lora" if request.method == LORA else "pipeline",
        "mode": request.mode,
        "prompt_noise": request.prompt_noise if request.mode == DEFECT else 0.0,
        "text_encoder": request.learns_words,
        "base": base.plan.name,
        "base_hash": base.plan.hash,
        "licence": base.licence,
        "concepts": [
            {
                "name": concept.name,
                "instance_prompt": concept.prompt,
                "class_prompt": concept.class_prompt,
                "weight": concept.weight,
                "images": len(concept.shots),
                "masks": sum(bool(shot.mask) for shot in concept.shots),
                "normals": len(concept.prior) + bool(concept.held_out),
            }
            for concept in concepts
        ],
        "parameters": parameters,
        **facts,
    }


def hashes(folder: Path) -> dict[str, str]:
    """SHA-256 of every file in the folder."""
    files = sorted(p for p in folder.rglob("*") if p.is_file())
    return {p.relative_to(folder).as_posix(): _hash(p) for p in files}


def _hash(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


# ------------------------------------------------------------------ into place


def place(folder: Path, models: Path, name: str, training: str) -> Path:
    """Move the finished `folder` to `models/<name>`, all at once; the path it got.

    A name that was taken meanwhile gets a number: hours of training are not thrown away for it. What an earlier life
    of the same training has put there already is left, and its path returned.
    """
    for path in sorted(folder.rglob("*"), reverse=True):
        sync_folder(path) if path.is_dir() else sync_file(path)
    sync_folder(folder)
    models.mkdir(parents=True, exist_ok=True)
    part = models / f".training-{training[:16]}"
    shutil.rmtree(part, ignore_errors=True)
    _move(folder, part)
    for number in range(1, 1000):
        to = models / (name if number == 1 else f"{name}-{number}")
        if is_of(to, training):
            shutil.rmtree(part)
            return to
        if not to.exists():
            os.rename(part, to)
            sync_folder(models)
            return to
    raise RuntimeError(f"no free name for {name}")


def _move(folder: Path, to: Path) -> None:
    try:
        os.rename(folder, to)
    except OSError as error:
        if error.errno != errno.EXDEV:
            raise
        shutil.copytree(folder, to)  # another disk
        for path in to.rglob("*"):
            if path.is_file():
                sync_file(path)


def is_of(path: Path, training: str) -> bool:
    """Whether the model at `path` is what this training made (its fingerprint is in the card)."""
    try:
        return bool(json.loads((path / CARD).read_text())["training"] == training)
    except (OSError, ValueError, KeyError, TypeError):
        return False
