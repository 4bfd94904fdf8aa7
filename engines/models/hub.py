"""Fetching a model from the hub: safetensors and their configuration only, from the first place that has it."""

from __future__ import annotations

import json
import os
import shutil
import threading
from collections.abc import Callable
from pathlib import Path

from engines.interrogation import models as interrogate_models
from engines.models.catalogue import Model
from engines.words import Refusal, Words

PIECES = ("unet", "vae", "text_encoder", "tokenizer", "scheduler")
_SETTINGS = ["model_index.json", *(f"{piece}/*.json" for piece in PIECES), "tokenizer/*.txt"]
_WEIGHTS = ["unet/diffusion_pytorch_model", "vae/diffusion_pytorch_model", "text_encoder/model"]
_FULL = [*_SETTINGS, *(f"{name}.safetensors" for name in _WEIGHTS)]
_HALF = [*_SETTINGS, *(f"{name}.fp16.safetensors" for name in _WEIGHTS)]

_one_at_a_time = threading.Lock()  # two people asking for one model must not download it twice


def fetch(model: Model, folder: Path, progress: Callable[[str], None] = lambda _: None) -> Path:
    """Download `model` to `folder/<its name>` and return that folder; it is there whole or not at all.

    Args:
        progress: told each place that is tried.

    Raises:
        Refusal: no place could be reached or had it; names what was tried.
    """
    goal = folder / model.name.rpartition("/")[2]
    with _one_at_a_time:
        if complete(goal):
            return goal
        tried = []
        for place in model.places:
            progress(place)
            try:
                return _from_place(place, goal, interrogate_models.wanted(model))
            except Exception as error:  # whatever a network can do; the next place may do better
                tried.append(f"{place.partition('@')[0]} ({_reason(error)})")
        raise Refusal(_UNREACHABLE(name=model.name, tried="; ".join(tried), folder=goal.name))


def complete(folder: Path) -> bool:
    """Whether every piece that the model's index names is there, with its weights as safetensors."""
    index = folder / "model_index.json"
    if not index.is_file():
        return interrogate_models.complete(folder)
    named = json.loads(index.read_text())
    heavy = [p for p in ("unet", "vae", "text_encoder") if named.get(p, [None])[0]]
    return len(heavy) == 3 and all(any((folder / p).glob("*.safetensors")) for p in heavy)


def _from_place(place: str, goal: Path, files: tuple[str, ...] = ()) -> Path:
    """`files`: the only ones to fetch; by default those of a diffusion model."""
    from huggingface_hub import snapshot_download

    repo, _, revision = place.partition("@")
    part = goal.with_name(f".{goal.name}.part")  # kept after a failure: the client resumes in it
    for wanted in [list(files)] if files else [_FULL, _HALF]:
        snapshot_download(repo, revision=revision or None, allow_patterns=wanted, local_dir=part)
        if complete(part):
            break
    else:
        raise FileNotFoundError("no safetensors there")
    shutil.rmtree(part / ".cache", ignore_errors=True)
    os.replace(part, goal)
    return goal


def _reason(error: Exception) -> str:
    return f"{type(error).__name__}: {str(error).strip().splitlines()[0] if str(error).strip() else ''}"[:100]


_UNREACHABLE = Words(
    "The model `{name}` could not be fetched. Tried: {tried}. Without a network it works too: put the model's "
    "folder (with its model_index.json) or its .safetensors file into the models folder as `{folder}`.",
    "`{name}` 모델을 내려받지 못했습니다. 시도한 곳: {tried}. 네트워크 없이도 쓸 수 있습니다: 모델 폴더"
    "(model_index.json 포함)나 .safetensors 파일을 모델 폴더에 `{folder}` 이름으로 넣어 주세요.",
)
