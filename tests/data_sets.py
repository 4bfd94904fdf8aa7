"""Data sets as people send them, small and real: photos with noise, defects drawn, masks that fit."""

from __future__ import annotations

import io
import random
import zipfile
from pathlib import Path
from typing import Any

from PIL import Image, ImageDraw

SIDE = 96


def photo(seed: int, *, defect: bool = False, side: int = SIDE) -> tuple[Image.Image, Image.Image]:
    """A grey disc on cloth with noise of its own, and the mask of its scratch (black without one)."""
    dice = random.Random(seed)
    noise = Image.frombytes("L", (side, side), bytes(dice.randrange(60, 90) for _ in range(side * side)))
    picture, mask = noise.convert("RGB"), Image.new("L", (side, side), 0)
    draw = ImageDraw.Draw(picture)
    draw.ellipse((side // 8, side // 8, side * 7 // 8, side * 7 // 8), fill=(150, 150, 155))
    if defect:
        x, y = (dice.randrange(side // 4, side // 2) for _ in range(2))
        line = (x, y, x + side // 6, y + side // 8)
        draw.line(line, fill=(235, 235, 240), width=3)
        ImageDraw.Draw(mask).line(line, fill=255, width=5)
    return picture, mask


def png(image: Image.Image) -> bytes:
    out = io.BytesIO()
    image.save(out, "PNG")
    return out.getvalue()


def mvtec(
    *, defects: tuple[str, ...] = ("scratch",), photos: int = 3, good: int = 2, around: str = "nut/"
) -> dict[str, bytes]:
    """File name → bytes, in MVTec AD's layout."""
    files = {f"{around}train/good/{i:03}.png": png(photo(900 + i)[0]) for i in range(good)}
    for which, defect in enumerate(defects):
        for i in range(photos):
            picture, mask = photo(100 * which + i, defect=True)
            files[f"{around}test/{defect}/{i:03}.png"] = png(picture)
            files[f"{around}ground_truth/{defect}/{i:03}_mask.png"] = png(mask)
    return files


def zipped(files: dict[str, Any]) -> bytes:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, data in files.items():
            archive.writestr(name, data)
    return out.getvalue()


def written(folder: Path, files: dict[str, bytes]) -> Path:
    """The same as files below `folder`."""
    for name, data in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)
    return folder
