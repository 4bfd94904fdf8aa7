"""From a picture to what a training sees of it: a crop, a mask, and weights. numpy and PIL only.

Each picture has a few variants (crops and random masks), drawn from the seed once, so that their latents can be kept.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw

from engines import compose
from engines.compose import Bits, Box
from engines.training import chance
from engines.words import Refusal, Words

Hole = Literal["", "real", "full", "random"]  # what an inpainting row is to fill

JITTER = (0.8, 1.25)  # the crop's side varies by so much
MASKS = (0.15, 0.6)  # a random mask's sides, in sides of the picture


@dataclass(frozen=True, slots=True)
class View:
    """What the model sees of one picture."""

    pixels: NDArray[np.uint8]  # (side, side, 3)
    defect: Bits  # (side, side): where the defect is
    hole: Bits  # (side, side): what is to be filled


def opened(path: Path | None, name: Words) -> Image.Image:
    """The picture as 8-bit RGB. Raises `Refusal` where it cannot be read; `name` says whose it is."""
    try:
        if path is None:
            raise FileNotFoundError(name.en)
        with Image.open(path) as picture:
            picture.load()
            return compose.to_rgb(picture, compose.value_range(picture))
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError):
        raise Refusal(_UNREADABLE(name=name)) from None


def mask_bits(path: Path | None, size: tuple[int, int], name: Words) -> Bits:
    """The mask at the picture's size (width, height); a mask of another size is brought to it."""
    return compose.pooled(compose.bits(opened(path, name)), size)


def cropped(picture: Image.Image, mask: Bits | None, box: Box, side: int) -> tuple[NDArray[np.uint8], Bits]:
    """The crop at side × side, and the mask in it (all of it where there is no mask)."""
    part = picture.crop(box)
    if part.size != (side, side):
        part = part.resize((side, side), Image.Resampling.LANCZOS)
    pixels = np.asarray(part)
    if mask is None:
        return pixels, np.ones((side, side), dtype=np.bool_)
    white = mask[box[1] : box[3], box[0] : box[2]]
    return pixels, compose.pooled(white, (side, side)) if white.any() else np.zeros((side, side), np.bool_)


def whole_box(size: tuple[int, int], seed: int, *what: chance.Name) -> Box:
    """The largest square, somewhere: diffusers' resize to the short side and random crop."""
    width, height = size
    side = min(size)
    left = chance.below(width - side + 1, seed, *what, "left")
    top = chance.below(height - side + 1, seed, *what, "top")
    return left, top, left + side, top + side


def defect_box(mask: Bits, crop: float, least: int, seed: int, *what: chance.Name) -> Box:
    """A square of about `crop` times the defect's longer side (DefectFill) that holds the defect.

    It is `least` pixels at least, as the crop is in use, and never larger than the picture; a defect longer than
    that is held in part.
    """
    height, width = mask.shape
    box = compose.bounds(mask)
    longer = max(box[2] - box[0], box[3] - box[1])
    side = max(longer * crop * chance.between(*JITTER, seed, *what, "side"), least, longer)
    side = min(math.ceil(side), width, height)
    left = _start(box[0], box[2], side, width, chance.unit(seed, *what, "left"))
    top = _start(box[1], box[3], side, height, chance.unit(seed, *what, "top"))
    return left, top, left + side, top + side


def _start(low: int, high: int, side: int, end: int, where: float) -> int:
    """Where a span of `side` begins so that it holds low..high, as far as it can, within 0..end."""
    first, last = sorted((high - side, low))
    first, last = max(0, min(first, end - side)), max(0, min(last, end - side))
    return first + int(where * (last - first + 1)) if last > first else first


def square_box(size: tuple[int, int], side: int, seed: int, *what: chance.Name) -> Box:
    """A square of `side` pixels (the picture's shorter side at most), somewhere."""
    side = min(side, *size)
    left = chance.below(size[0] - side + 1, seed, *what, "left")
    top = chance.below(size[1] - side + 1, seed, *what, "top")
    return left, top, left + side, top + side


def random_mask(side: int, seed: int, *what: chance.Name) -> Bits:
    """One to three boxes or ellipses, as diffusers' inpainting script draws one."""
    picture = Image.new("1", (side, side))
    draw = ImageDraw.Draw(picture)
    for i in range(1 + chance.below(3, seed, *what, "count")):
        wide, high = (
            max(1, round(side * chance.between(*MASKS, seed, *what, i, way))) for way in ("wide", "high")
        )
        left = chance.below(side - wide + 1, seed, *what, i, "left")
        top = chance.below(side - high + 1, seed, *what, i, "top")
        shape = (left, top, left + wide - 1, top + high - 1)
        (draw.ellipse if chance.unit(seed, *what, i, "shape") < 0.5 else draw.rectangle)(shape, fill=1)
    return np.array(picture, dtype=np.bool_)


PHOTO = Words("“{concept}”, photo #{n}", "“{concept}”의 사진 #{n}")
MASK = Words("“{concept}”, mask #{n}", "“{concept}”의 마스크 #{n}")
GOOD = Words("“{concept}”, good photo #{n}", "“{concept}”의 정상 사진 #{n}")
_UNREADABLE = Words(
    "The picture cannot be read: {name}. Take it out of the data set or replace it, and start again.",
    "{name}을(를) 읽을 수 없습니다. 데이터 세트에서 빼거나 다른 파일로 바꾼 뒤 다시 시작해 주십시오.",
)
