"""What a trained model's folder says about it: `model.json`, written by the training, kept true by the folder itself.

{"base": "defect-studio/mini-inpaint", "licence": …, "job": 42, "concepts": […], "parameters": {…}, "formerly": […]}
A LoRA from elsewhere needs only its base: as {"base": …} in `model.json` of its folder, or in `<name>.json` beside
its file. Reading this needs no torch.
"""

from __future__ import annotations

import json
import os
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from engines.models import lora_files
from engines.models.files import header

CARD = "model.json"


def card_file(path: Path) -> Path:
    """Where a model's card is, for a folder or a single file."""
    return path / CARD if path.is_dir() else path.with_suffix(".json")


def card(path: Path) -> dict[str, Any]:
    """The card of the model at `path`; empty where there is none. Raises `ValueError` for one that is no card."""
    file = card_file(path)
    if not file.is_file():
        return {}
    told = json.loads(file.read_text("utf-8"))
    if not isinstance(told, dict):
        raise ValueError(f"{file.name} is no card")
    return told


def change_card(path: Path, changes: Mapping[str, Any]) -> None:
    """Change some of the card, all at once: who reads meanwhile reads the old one."""
    whole = json.dumps({**card(path), **changes}, ensure_ascii=False, indent=1)
    file = card_file(path)
    handle, part = tempfile.mkstemp(dir=file.parent, prefix=".card")
    try:
        with os.fdopen(handle, "w", encoding="utf-8") as out:
            out.write(whole)
            out.flush()
            os.fsync(out.fileno())
        os.chmod(part, 0o644)
        os.replace(part, file)
    except BaseException:
        Path(part).unlink(missing_ok=True)
        raise


def said(told: Mapping[str, Any], key: str) -> str:
    """A text of the card; "" where it is none. A base may be told with more about it: then its name."""
    value = told.get(key, "")
    if isinstance(value, Mapping):
        value = value.get("name", "")
    return value if isinstance(value, str) else ""


def prompt_noise(path: Path) -> float:
    """The noise on the prompt's embedding that the model at `path` was trained with, and wants in use: 0..1."""
    try:
        value = card(path).get("prompt_noise", 0.0)
    except (OSError, ValueError):
        return 0.0
    return float(value) if isinstance(value, int | float) and 0 <= value <= 1 else 0.0


def formerly(told: Mapping[str, Any]) -> tuple[str, ...]:
    """Names it had before, which it still answers to."""
    names = told.get("formerly", ())
    return tuple(name for name in names if isinstance(name, str)) if isinstance(names, list) else ()


def lora_at(path: Path) -> Path | None:
    """The weights of the LoRA at `path`, a folder or a file; None where there is none."""
    file = path / lora_files.WEIGHTS if path.is_dir() else path
    if file.suffix != ".safetensors" or not file.is_file():
        return None
    return file if lora_files.is_lora(header(file)) else None
