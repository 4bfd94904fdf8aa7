"""From a photo and a mask to the picture that was asked for. Numbers in, numbers out; no network here.

Where the object is whole (alpha 255) every value is the photo's own; where nothing is left (alpha 0) nothing of the
background is kept, not even invisibly.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from scipy import ndimage

from engines import compose
from engines.background.request import RemoveBackground, rgb

Bytes = NDArray[np.uint8]

SEEN = 26  # alpha from which a pixel counts as the object: a tenth


def cut_out(photo: Image.Image, mask: Image.Image, request: RemoveBackground) -> Image.Image:
    """The picture asked for.

    Args:
        photo: L, RGB, RGBA or 16-bit grey.
        mask: "L", of the photo's size; white = object.

    Returns:
        RGBA; RGB on a colour; "L" where only the mask is wanted. Of the photo's size unless cropped.
    """
    alpha = solid(np.asarray(mask)) if request.solid else np.asarray(mask)
    if photo.mode == "RGBA":  # what was transparent stays so
        own = np.asarray(photo.getchannel("A"), np.uint16)
        alpha = ((alpha * own + 127) // 255).astype(np.uint8)
    alpha = softened(alpha, request.feather)
    if request.mask_only:
        made = Image.fromarray(alpha)
    elif request.background:
        made = on_colour(colours(photo), alpha, rgb(request.background))
    else:
        shown = colours(photo) * (alpha > 0)[..., None]
        made = Image.fromarray(np.dstack([shown, alpha]))
    return made.crop(compose.bounds(alpha >= SEEN)) if request.crop and (alpha >= SEEN).any() else made


def colours(photo: Image.Image) -> Bytes:
    """(h, w, 3) values of the photo; 16-bit grey is stretched to 8 bits."""
    return np.asarray(compose.to_rgb(photo, compose.value_range(photo)))


def on_colour(values: Bytes, alpha: Bytes, colour: tuple[int, int, int]) -> Image.Image:
    """The object on one colour; row by row, so that a large photo needs little memory."""
    made = np.empty_like(values)
    behind = np.asarray(colour, np.uint32)
    for at, (row, share) in enumerate(zip(values, alpha.astype(np.uint32)[..., None], strict=True)):
        made[at] = (row * share + behind * (255 - share) + 127) // 255
    return Image.fromarray(made)


def solid(alpha: Bytes) -> Bytes:
    """The object or not, smoothly bounded and without specks: 0 and 255 alone. As rembg's `post_process_mask` does it."""
    clean = ndimage.grey_opening(alpha, footprint=ndimage.generate_binary_structure(2, 1))
    smooth = ndimage.gaussian_filter(clean.astype(np.float64), sigma=2)
    return np.where(smooth < 127, 0, 255).astype(np.uint8)


def softened(alpha: Bytes, feather: int) -> Bytes:
    """Falls off towards the edge over `feather` pixels inside the object, so that no background comes with it.

    The photo's border is no edge of the object.
    """
    inside = alpha >= 128
    if feather <= 0 or inside.all() or not inside.any():
        return alpha
    rows, columns = _surroundings(inside, 1)
    deep = ndimage.distance_transform_edt(inside[rows, columns])
    result = np.zeros_like(alpha)
    share = np.clip(deep / (feather + 1), 0.0, 1.0)
    result[rows, columns] = np.rint(alpha[rows, columns] * share)
    return result


def _surroundings(inside: compose.Bits, margin: int) -> tuple[slice, slice]:
    left, top, right, bottom = compose.bounds(inside)
    return slice(max(0, top - margin), bottom + margin), slice(max(0, left - margin), right + margin)


def share(alpha: Bytes) -> float:
    """How much of the picture the object is, 0 to 1."""
    return float(np.mean(alpha >= 128))


def haze(alpha: Bytes) -> float:
    """How much of the picture is seen and yet no object, 0 to 1."""
    return float(np.mean((alpha >= SEEN) & (alpha < 128)))
