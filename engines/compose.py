"""Inpainting at the photo's own size: crop around the mask, and put back with every other byte untouched.

A diffusion model works at one size; a photo has any. The crop is square where the photo allows, its side about
2.5 times the mask's box (DefectFill, arXiv 2503.13985, crops to the defect), and at least the model's own size.
No torch here: pictures in, pictures out.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from scipy import ndimage

from engines.words import Refusal, Words

Box = tuple[int, int, int, int]  # left, top, right, bottom in pixels; right and bottom are outside
Bits = NDArray[np.bool_]

AROUND = 2.5  # the crop's side in mask sides
WIDEST = 4.0  # a crop longer than this is squeezed: models fall apart on strips
MODES = ("L", "RGB", "RGBA", "I;16")


@dataclass(frozen=True, slots=True)
class Patch:
    """What the model works on, and all that is needed to put its answer back."""

    photo: Image.Image  # as it came, in one of MODES
    box: Box  # the crop
    picture: Image.Image  # the crop at generation size, RGB
    mask: Bits  # (height, width) at generation size; True = make anew
    soft: NDArray[np.float32]  # (height, width) of the box: how much of the new picture shows, 0..1
    levels: tuple[float, float]  # the photo's values that became 0 and 255

    @property
    def size(self) -> tuple[int, int]:
        return self.picture.size


def cut(
    photo: Image.Image,
    mask: Image.Image,
    *,
    native: int,
    multiple: int,
    grow: int = 0,
    feather: int = 0,
    invert: bool = False,
) -> Patch:
    """The part of `photo` around the white of `mask`, at a size the model likes.

    `native` is the model's own side in pixels, `multiple` what its sides must be divisible by. `Refusal` where
    the mask has another size than the photo, or nothing white in it.
    """
    photo, white = matched(photo, mask, invert=invert)
    white = remaining(white, grow)
    box = around(bounds(white), photo.size, native, feather)
    size = model_size(box, native, multiple)
    levels = value_range(photo)
    crop = photo.crop(box)
    picture = to_rgb(crop, levels)
    part = white[box[1] : box[3], box[0] : box[2]]
    return Patch(
        photo=photo,
        box=box,
        picture=picture if picture.size == size else picture.resize(size, Image.Resampling.LANCZOS),
        mask=pooled(part, size),
        soft=softened(part, feather),
        levels=levels,
    )


def matched(photo: Image.Image, mask: Image.Image, *, invert: bool = False) -> tuple[Image.Image, Bits]:
    """The photo in one of `MODES`, and where its mask is white. `Refusal` where they do not fit, or nothing is."""
    photo = photo if photo.mode in MODES else photo.convert("RGBA" if "A" in photo.getbands() else "RGB")
    if mask.size != photo.size:
        raise Refusal(_SIZES(photo=_by(photo.size), mask=_by(mask.size)))
    white = bits(mask, invert=invert)
    if not white.any():
        raise Refusal(_EMPTY)
    return photo, white


def put_back(patch: Patch, made: Image.Image) -> Image.Image:
    """The photo with `made` (RGB, of the patch's size) in place of the mask: same size, same mode.

    Where `patch.soft` is 0, and everywhere outside the box, every byte is the photo's own.
    """
    left, top, right, bottom = patch.box
    new = (
        made
        if made.size == (right - left, bottom - top)
        else made.resize((right - left, bottom - top), _BACK)
    )
    whole = np.array(patch.photo)
    mix(whole[top:bottom, left:right], from_rgb(new, patch.photo.mode, patch.levels), patch.soft)
    return image_of(whole, patch.photo.mode)


def mix(old: NDArray[Any], fresh: NDArray[np.float32], soft: NDArray[np.float32]) -> None:
    """Change `old` (a part of a photo's values) to `fresh`, as much as `soft` says; nothing where that is 0."""
    shares = soft if fresh.ndim == 2 else soft[..., None]
    colours = old[..., :3] if old.ndim == 3 else old  # alpha, if any, stays
    mixed = np.rint(colours * (1.0 - shares) + fresh * shares).astype(old.dtype)
    np.copyto(colours, mixed, where=shares > 0)


_BACK = Image.Resampling.BICUBIC


# -- masks ------------------------------------------------------------------------------------------------


def bits(mask: Image.Image, *, invert: bool = False) -> Bits:
    """True where the mask is more white than black."""
    white = np.asarray(mask.convert("L")) >= 128
    return ~white if invert else white


def bounds(white: Bits) -> Box:
    """The smallest box with everything white in it. There must be some."""
    rows, columns = np.flatnonzero(white.any(axis=1)), np.flatnonzero(white.any(axis=0))
    return int(columns[0]), int(rows[0]), int(columns[-1]) + 1, int(rows[-1]) + 1


def remaining(white: Bits, grow: int) -> Bits:
    """The mask after `grow`. `Refusal` where nothing is left of it."""
    left = grown(white, grow)
    if not left.any():
        raise Refusal(_GONE(grow=grow))
    return left


def grown(white: Bits, by: int) -> Bits:
    """The mask `by` pixels wider on every side (round corners), or narrower where `by` is negative."""
    if by == 0 or not white.any():
        return white
    margin = max(by, 1)
    left, top, right, bottom = bounds(white)
    rows, columns = slice(max(0, top - margin), bottom + margin), slice(max(0, left - margin), right + margin)
    part = white[rows, columns]  # only the white's surroundings: a scratch in 4096² costs little
    result = np.zeros_like(white)
    if by > 0:
        result[rows, columns] = ndimage.distance_transform_edt(~part) <= by
    else:  # the photo's border is no edge of the mask, so a mask of everything has no edge at all
        result[rows, columns] = part if part.all() else ndimage.distance_transform_edt(part) > -by
    return result


def softened(white: Bits, feather: int) -> NDArray[np.float32]:
    """1 inside the mask, falling to 0 at `feather` + 1 pixels outside of it."""
    if feather <= 0 or white.all():
        return white.astype(np.float32)
    away = ndimage.distance_transform_edt(~white)
    share: NDArray[np.float32] = np.clip(1.0 - away / (feather + 1), 0.0, 1.0).astype(np.float32)
    return share


def pooled(white: Bits, size: tuple[int, int]) -> Bits:
    """The mask at another size (width, height), largest value wins: a 2-pixel scratch is never lost."""
    if (white.shape[1], white.shape[0]) == size:
        return white
    shares = Image.fromarray(white.astype(np.float32)).resize(size, Image.Resampling.BOX)
    return np.asarray(shares) > 1e-7


# -- geometry ---------------------------------------------------------------------------------------------


def around(box: Box, photo: tuple[int, int], native: int, feather: int = 0) -> Box:
    """The crop: a square of 2.5 times the box, at least the model's size, as far as the photo goes.

    The soft edge is always in it.
    """
    left, top, right, bottom = box
    longer = max(right - left, bottom - top)
    side = max(math.ceil(AROUND * longer), longer + 2 * feather + 2, native)
    x0, x1 = _span(left, right, side, photo[0])
    y0, y1 = _span(top, bottom, side, photo[1])
    return x0, y0, x1, y1


def _span(low: int, high: int, side: int, end: int) -> tuple[int, int]:
    """`side` pixels about the middle of low..high, pushed inside 0..end."""
    side = min(side, end)
    start = min(max(0, (low + high - side) // 2), end - side)
    return start, start + side


def model_size(box: Box, native: int, multiple: int) -> tuple[int, int]:
    """The generation size (width, height): about native × native pixels in the shape of the box."""
    return fitted(box[2] - box[0], box[3] - box[1], native * native, multiple)


def fitted(width: int, height: int, area: float, multiple: int) -> tuple[int, int]:
    """Sides divisible by `multiple`, of about `area` pixels, in the shape of width × height (at most 4:1)."""
    shape = min(max(width / height, 1 / WIDEST), WIDEST)
    wide, high = math.sqrt(area * shape), math.sqrt(area / shape)
    return _rounded(wide, multiple), _rounded(high, multiple)


def _rounded(length: float, multiple: int) -> int:
    return max(multiple, round(length / multiple) * multiple)


# -- modes ------------------------------------------------------------------------------------------------


def value_range(photo: Image.Image) -> tuple[float, float]:
    """The values shown to the model as black and white. A 16-bit photo seldom uses all of its range."""
    if photo.mode != "I;16":
        return 0.0, 255.0
    values = np.asarray(photo)
    low, high = float(values.min()), float(values.max())
    return (low, high) if high - low >= 256 else (0.0, 65535.0)


def to_rgb(picture: Image.Image, levels: tuple[float, float] = (0.0, 255.0)) -> Image.Image:
    """The picture as the model sees it: 8-bit RGB. Alpha is dropped, the colours under it stay."""
    if picture.mode == "I;16":
        low, high = levels
        grey = (np.asarray(picture).astype(np.float32) - low) * (255.0 / (high - low))
        picture = Image.fromarray(np.rint(np.clip(grey, 0, 255)).astype(np.uint8))
    return picture.convert("RGB")


def flattened(picture: Image.Image) -> Image.Image:
    """The picture as 8-bit RGB; what is transparent becomes white."""
    if "A" not in picture.getbands() and "transparency" not in picture.info:
        return to_rgb(picture, value_range(picture))
    clear = picture.convert("RGBA")
    return Image.alpha_composite(Image.new("RGBA", clear.size, "white"), clear).convert("RGB")


def from_rgb(picture: Image.Image, mode: str, levels: tuple[float, float]) -> NDArray[np.float32]:
    """The model's picture in the values of `mode`: (h, w) for grey, (h, w, 3) for colour."""
    if mode in ("RGB", "RGBA"):
        return np.asarray(picture, dtype=np.float32)
    grey = np.asarray(picture.convert("L"), dtype=np.float32)
    low, high = levels
    return grey if mode == "L" else low + grey * ((high - low) / 255.0)


def image_of(values: NDArray[Any], mode: str) -> Image.Image:
    """The array as a picture of `mode`."""
    if mode != "I;16":
        return Image.fromarray(values)
    height, width = values.shape
    return Image.frombytes("I;16", (width, height), values.astype("<u2").tobytes())


def _by(size: tuple[int, int]) -> str:
    return f"{size[0]}×{size[1]}"


_SIZES = Words(
    "The photo is {photo} but the mask is {mask}. Send a mask of the same size.",
    "사진은 {photo}인데 마스크는 {mask}입니다. 같은 크기의 마스크를 보내 주십시오.",
)
_EMPTY = Words(
    "The mask has nothing white in it, so there is nothing to change. Paint the spot white (or use invert).",
    "마스크에 흰 부분이 없어 바꿀 곳이 없습니다. 바꿀 곳을 흰색으로 칠하거나 invert(반전)를 써 주십시오.",
)
_GONE = Words(
    "With grow {grow} nothing of the mask is left. Use a value nearer to 0.",
    "확장 값 {grow}을(를) 적용하면 마스크가 모두 사라집니다. 0에 더 가까운 값을 써 주십시오.",
)
