"""Looking at model files without loading them."""

from __future__ import annotations

import json
import struct
from pathlib import Path
from typing import Any

Stamp = tuple[tuple[str, int, int], ...]


def stamp(path: Path) -> Stamp:
    """Names, sizes and times of a file, or of all files under a folder: the same as long as nothing changed."""
    try:
        files = [path] if path.is_file() else sorted(p for p in path.rglob("*") if p.is_file())
        return tuple((str(p), (told := p.stat()).st_size, told.st_mtime_ns) for p in files)
    except OSError:  # it is being changed right now
        return ()


def header(path: Path) -> dict[str, Any]:
    """The header of a .safetensors file: tensor name → dtype, shape, data_offsets. `ValueError` where it is none.

    https://github.com/huggingface/safetensors#format
    """
    with path.open("rb") as file:
        start = file.read(8)
        size = struct.unpack("<Q", start)[0] if len(start) == 8 else 0
        if not 2 <= size <= 100_000_000:
            raise ValueError(f"{path.name} is no safetensors file")
        read: dict[str, Any] = json.loads(file.read(size))
        read.pop("__metadata__", None)
        return read


def bytes_of(path: Path) -> int:
    """The size of a file, or of all files under a folder."""
    if path.is_file():
        return path.stat().st_size
    return sum(p.stat().st_size for p in path.rglob("*") if p.is_file())
