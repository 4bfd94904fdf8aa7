"""Fetching a model from the hub: safetensors and their configuration only, from the first place that has it.

What the hub's client has in its cache already (other programs of this machine fill it too) is taken from there.
"""

from __future__ import annotations

import json
import os
import shutil
import threading
from collections.abc import Callable
from fnmatch import fnmatch
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
    files = interrogate_models.wanted(model)
    with _one_at_a_time:
        if complete(goal) or any(_from_cache(place, goal, files) for place in model.places):
            return goal
        tried = []
        for place in model.places:
            progress(place)
            try:
                return _from_place(place, goal, files)
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


def _ways(files: tuple[str, ...]) -> list[list[str]]:
    """Patterns of the files to fetch, the better way first; by default those of a diffusion model."""
    return [list(files)] if files else [_FULL, _HALF]


def _from_cache(place: str, goal: Path, files: tuple[str, ...]) -> bool:
    """Take the files over from the client's own cache, without a network; False where they are not all there."""
    from huggingface_hub import snapshot_download

    repo, _, revision = place.partition("@")
    part = goal.with_name(f".{goal.name}.cached")
    try:
        there = Path(snapshot_download(repo, revision=revision or None, local_files_only=True))
    except Exception:  # not there, or of no use: there are other places
        return False
    names = [str(path.relative_to(there)) for path in there.rglob("*") if path.is_file()]
    for wanted in _ways(files):
        shutil.rmtree(part, ignore_errors=True)
        for name in names:
            if any(fnmatch(name, pattern) for pattern in wanted):
                (part / name).parent.mkdir(parents=True, exist_ok=True)
                _linked((there / name).resolve(), part / name)
        if complete(part) and not goal.exists():
            os.replace(part, goal)
            return True
    shutil.rmtree(part, ignore_errors=True)
    return False


def _linked(source: Path, target: Path) -> None:
    """The same bytes under another name, where the disk can do that: a model has some gigabytes."""
    try:
        os.link(source, target)
    except OSError:
        shutil.copyfile(source, target)


def _from_place(place: str, goal: Path, files: tuple[str, ...] = ()) -> Path:
    """`files`: the only ones to fetch; by default those of a diffusion model."""
    from huggingface_hub import snapshot_download

    repo, _, revision = place.partition("@")
    part = goal.with_name(f".{goal.name}.part")  # kept after a failure: the client resumes in it
    for wanted in _ways(files):
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
    "(model_index.json 포함)나 .safetensors 파일을 모델 폴더에 `{folder}` 이름으로 넣어 주십시오.",
)
