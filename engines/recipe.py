"""The recipe inside a picture: PNG text chunks that say how to make it again.

`parameters` is the form A1111 writes and other tools read; `defect-studio` is our own exact JSON. No dates and
no machine names: the same recipe and model give the same bytes.
"""

from __future__ import annotations

import io
import json
import os
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from PIL import Image
from PIL.PngImagePlugin import PngInfo

OURS, COMMON = "defect-studio", "parameters"

Recipe = Mapping[str, Any]  # command, request, seed, width, height, model, hash, versions


def parameters(recipe: Recipe) -> str:
    """The recipe as A1111 writes it: prompt, negative prompt, and one line of settings."""
    request = recipe["request"]
    lines = [str(request.get("prompt", ""))]
    if request.get("negative"):
        lines.append(f"Negative prompt: {request['negative']}")
    settings: dict[str, Any] = {
        "Steps": request.get("steps"),
        "Sampler": request.get("sampler"),
        "CFG scale": _short(request.get("guidance")),
        "Seed": recipe.get("seed"),
        "Size": f"{recipe['width']}x{recipe['height']}",
        "Model hash": str(recipe.get("hash", ""))[:10] or None,
        "Model": recipe.get("model"),
        "Denoising strength": _short(request.get("strength")),
        "Version": f"Defect Studio {recipe['versions']['defect-studio']}" if "versions" in recipe else None,
    }
    lines.append(", ".join(f"{k}: {_quoted(v)}" for k, v in settings.items() if v is not None))
    return "\n".join(lines)


def _short(number: Any) -> str | None:
    return None if number is None else f"{number:g}"


def _quoted(value: Any) -> str:
    """A value with a comma, colon or line break in it is quoted, as the readers of this form expect."""
    text = str(value)
    return json.dumps(text, ensure_ascii=False) if any(c in text for c in ',:\n"') else text


def png(picture: Image.Image, recipe: Recipe) -> bytes:
    """The picture as PNG bytes with the recipe in it. iTXt (UTF-8), for Korean prompts survive only there."""
    chunks = PngInfo()
    chunks.add_itxt(COMMON, parameters(recipe))
    chunks.add_itxt(OURS, json.dumps(recipe, ensure_ascii=False, sort_keys=True, separators=(",", ":")))
    out = io.BytesIO()
    picture.save(out, "PNG", pnginfo=chunks, compress_level=4)
    return out.getvalue()


def read(data: bytes) -> dict[str, Any] | None:
    """Our own recipe out of a PNG, or None where there is none (or it is not ours to understand)."""
    try:
        with Image.open(io.BytesIO(data), formats=("PNG",)) as picture:
            picture.load()
            told = json.loads(picture.info[OURS])
    except (KeyError, ValueError, OSError, SyntaxError):
        return None
    return told if isinstance(told, dict) else None


def write(path: Path, data: bytes) -> Path:
    """The bytes at `path`, all of them or nothing, also when the process is killed half-way."""
    handle, name = tempfile.mkstemp(dir=path.parent, prefix=path.name, suffix=".part")
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        os.replace(name, path)
    except BaseException:
        Path(name).unlink(missing_ok=True)
        raise
    return path
