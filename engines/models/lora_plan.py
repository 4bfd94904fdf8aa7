"""A LoRA's plan for `engines.models.memory`: the pieces of its base, which stay where they are, and one small one on them."""

from __future__ import annotations

import dataclasses
from pathlib import Path

from engines.diffusion.adapters import Adapter
from engines.models import loading, lora_files
from engines.models.files import header
from engines.models.memory import Blueprint, Piece


def lora_file(path: Path) -> Path:
    """The weights of a LoRA that is a folder or a file."""
    return path / lora_files.WEIGHTS if path.is_dir() else path


def lora_blueprint(name: str, path: Path, base: Blueprint, dtype: str) -> Blueprint:
    """The plan of the LoRA at `path` on `base`. Raises `Refusal` when it is loaded and does not fit."""
    file = lora_file(path)
    tensors = header(file)
    changed = lora_files.roles(tensors)
    hashes = {piece.role: piece.hash for piece in base.pieces}
    on = tuple(hashes[role] for role in changed)
    hash = loading.digest([b"lora", loading.file_hash(file).encode(), *(one.encode() for one in on)])

    def load() -> Adapter:
        return Adapter(name, hash, lora_files.read(file, name))

    piece = Piece("lora", hash, loading.loaded_size(tensors.values(), dtype), load, on)
    whole = loading.digest([base.hash.encode(), hash.encode()])
    return dataclasses.replace(base, name=name, hash=whole, pieces=(*base.pieces, piece))
