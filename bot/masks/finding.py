"""Which pixels a mask means: from its words, a second picture, or the photo itself. Runs in the picture worker.

Masks here are `uint8` arrays of height × width, 255 = change, 0 = keep.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from bot.masks.foreground import foreground, from_outline
from bot.masks.marks import coloured, differing, has_marks, spread_of
from bot.masks.spoken import Alpha, Auto, Box, Colour, Difference, Part, White, parse
from bot.masks.words import (
    AUTO_BACK,
    AUTO_FRONT,
    BOX_CUT,
    BOX_OUTSIDE,
    BY_COLOURS,
    BY_COLOURS_AFTER_ALL,
    EVERYTHING,
    FIT_IT,
    FROM_ALPHA,
    FROM_COLOUR,
    FROM_DIFFERENCE,
    FROM_STROKES,
    LABELS,
    MANY_GREYS,
    MARKS_SEEN,
    NEEDS_PICTURE,
    NO_COLOUR,
    NO_COPY,
    NO_MASK,
    NO_OBJECT,
    NOT_A_MASK,
    NOT_TRANSPARENT,
    NOTHING,
    OTHER_SHAPE,
    RESIZED,
    TURN_IT,
    WAYS,
)
from engines.words import Refusal, Words

Pixels = NDArray[np.uint8]


@dataclass(slots=True)
class Finding:
    """A mask in the making (mutable): the photo, and what should be told."""

    photo: Image.Image
    outline: Image.Image | None = None  # the background remover's, of any size
    notes: list[Words] = field(default_factory=list)

    @property
    def size(self) -> tuple[int, int]:
        return self.photo.size


def find_mask(
    photo: Image.Image, spec: str, given: Image.Image | None, outline: Image.Image | None = None
) -> tuple[Pixels, float, tuple[Words, ...]]:
    """The mask at the photo's size, the share of the photo it covers (0..1], and sentences about it.

    Several parts are united. `outline` is what a network takes for the object: grey, white = object. Raises `Refusal` where nothing would change or the pictures do not fit.
    """
    finding = Finding(photo, outline)
    parts = parse(spec)
    if given is not None:
        _check_shape(finding, given)
        if all(
            isinstance(part, Box | Auto) for part in parts
        ):  # the words do not say how to read the picture
            return _settled(finding, _united([_recognised(finding, given), *_each(finding, parts, given)]))
    elif not parts:
        return _settled(finding, _from_photo(finding))
    return _settled(finding, _united(_each(finding, parts, given)))


def _each(finding: Finding, parts: tuple[Part, ...], given: Image.Image | None) -> list[Pixels]:
    return [_of_part(finding, part, given) for part in parts]


def _united(masks: list[Pixels]) -> Pixels:
    whole = masks[0]
    for mask in masks[1:]:
        whole = np.maximum(whole, mask)
    return whole


def _settled(finding: Finding, mask: Pixels) -> tuple[Pixels, float, tuple[Words, ...]]:
    share = float(np.count_nonzero(mask)) / mask.size
    if share == 0:
        raise Refusal(NOTHING)
    if share == 1:
        finding.notes.append(EVERYTHING)
    return mask, share, tuple(dict.fromkeys(finding.notes))


def _of_part(finding: Finding, part: Part, given: Image.Image | None) -> Pixels:
    source = given if given is not None else finding.photo
    match part:
        case Box():
            return _box(finding, part)
        case Auto():
            return _auto(finding, part)
        case Alpha():
            return _fit(finding, _alpha(finding, source))
        case White():
            return _fit(finding, _white(finding, source))
        case Colour():
            return _colour(finding, source, part, alone=given is None)
        case Difference():
            if given is None:
                raise Refusal(NEEDS_PICTURE)
            copied = _difference(finding, given)
            if copied is None:
                raise Refusal(NO_COPY)
            return copied


def _box(finding: Finding, part: Box) -> Pixels:
    width, height = finding.size
    left, top, right, bottom = part.pixels(width, height)
    cut = max(left, 0), max(top, 0), min(right, width), min(bottom, height)
    if cut[0] >= cut[2] or cut[1] >= cut[3]:
        raise Refusal(
            BOX_OUTSIDE(box=f"{left},{top},{right - left},{bottom - top}", width=width, height=height)
        )
    if cut != (left, top, right, bottom):
        finding.notes.append(BOX_CUT(width=width, height=height))
    mask = np.zeros((height, width), np.uint8)
    mask[cut[1] : cut[3], cut[0] : cut[2]] = 255
    return mask


def _auto(finding: Finding, part: Auto) -> Pixels:
    photo, outline = finding.photo, finding.outline
    mask = from_outline(outline, photo.size) if outline is not None else None
    by_network = mask is not None
    if mask is None:
        mask = foreground(as_rgb(reduced(photo, 640)), photo.size)
    if mask is None:
        raise Refusal(NO_OBJECT)
    finding.notes.append(AUTO_BACK if part.inverse else AUTO_FRONT)
    if not by_network:
        finding.notes.append(BY_COLOURS if outline is None else BY_COLOURS_AFTER_ALL)
    return np.invert(mask) if part.inverse else mask


def _from_photo(finding: Finding) -> Pixels:
    """No words and no second picture: the photo's own transparency, or advice."""
    if _see_through(finding.photo):
        return _alpha(finding, finding.photo)
    raise Refusal(MARKS_SEEN if has_marks(as_rgb(finding.photo)) else NO_MASK + WAYS)


# --- a second picture ----------------------------------------------------------------------------------


def _recognised(finding: Finding, given: Image.Image) -> Pixels:
    """Tell by its pixels how a second picture is meant: transparent, black and white, or a marked photo."""
    if _see_through(given):
        return _fit(finding, _alpha_or_strokes(finding, given))
    rgb = as_rgb(given)
    if float(np.mean(spread_of(rgb) > 48)) < 0.0005:  # greys only
        mask = None if _two_valued(rgb) else _difference(finding, given)
        return mask if mask is not None else _fit(finding, _white(finding, given))
    mask = _difference(finding, given)
    return mask if mask is not None else _colour(finding, given, Colour(), alone=False)


def _two_valued(rgb: NDArray[np.uint8]) -> bool:
    grey = rgb[..., 0]
    return bool(np.mean((grey > 24) & (grey < 231)) < 0.02)


def _check_shape(finding: Finding, given: Image.Image) -> None:
    """Other size but same shape is told and resized; another shape is refused."""
    (pw, ph), (mw, mh) = finding.size, given.size
    if (pw, ph) == (mw, mh):
        return
    sizes = {"pw": pw, "ph": ph, "mw": mw, "mh": mh}
    # a shape is the same when rounding to whole pixels, or 1 %, explains the difference
    slack = max(0.01, 1 / min(mw, mh, pw, ph))
    if abs(mw * ph / (mh * pw) - 1) > slack:
        turned = abs(mh * ph / (mw * pw) - 1) <= slack
        raise Refusal(OTHER_SHAPE(**sizes) + (TURN_IT if turned else FIT_IT))
    finding.notes.append(RESIZED(**sizes))


def _fit(finding: Finding, mask: Pixels) -> Pixels:
    """To the photo's size; a thin mark survives shrinking, as any touched pixel is set."""
    if (mask.shape[1], mask.shape[0]) == finding.size:
        return mask
    image = Image.fromarray(mask)
    shrinks = mask.shape[1] > finding.size[0]
    how = Image.Resampling.BOX if shrinks else Image.Resampling.NEAREST
    resized = np.asarray(image.resize(finding.size, how))
    return np.where(resized > 0, 255, 0).astype(np.uint8)


def _see_through(image: Image.Image) -> bool:
    """Is some of it transparent, and not all of it opaque by accident (a stray soft edge)?"""
    if image.mode != "RGBA":
        return False
    low, _ = image.getchannel("A").getextrema()
    return int(low) < 128  # type: ignore[arg-type]  # of one channel the extrema are numbers


def _alpha(finding: Finding, image: Image.Image) -> Pixels:
    if not _see_through(image):
        raise Refusal(NOT_TRANSPARENT)
    finding.notes.append(FROM_ALPHA)
    return _where(np.asarray(image.getchannel("A")) < 128)


def _alpha_or_strokes(finding: Finding, image: Image.Image) -> Pixels:
    """White strokes on a transparent layer mean the strokes; everything else transparent means the holes."""
    pixels = np.asarray(image)
    opaque = pixels[..., 3] >= 128
    if 0 < float(opaque.mean()) < 0.5 and float(np.mean(pixels[opaque][:, :3].min(axis=1) > 200)) > 0.95:
        finding.notes.append(FROM_STROKES)
        return _where(opaque)
    return _alpha(finding, image)


def _white(finding: Finding, image: Image.Image) -> Pixels:
    """White = change, halved at 50 %; label pictures (0 and 1, say) count every label."""
    values = np.asarray(image if image.mode in ("L", "I;16") else image.convert("RGB").convert("L"))
    full = 65535 if values.dtype == np.uint16 and values.max() > 255 else 255
    top = int(values.max())
    if 0 < top < full // 2 and len(np.unique(values)) <= 8:
        finding.notes.append(LABELS(top=top))
        return _where(values > 0)
    if float(np.mean((values > full * 0.125) & (values < full * 0.875))) > 0.02:
        finding.notes.append(MANY_GREYS)
    return _where(values > full // 2)


def _colour(finding: Finding, image: Image.Image, part: Colour, *, alone: bool) -> Pixels:
    found = coloured(as_rgb(image), part.rgb, spread=3 if alone else 1)
    if found is None:
        raise Refusal((NO_COLOUR if part.rgb or alone else NOT_A_MASK) + WAYS)
    mask, (r, g, b) = found
    finding.notes.append(FROM_COLOUR(colour=f"#{r:02x}{g:02x}{b:02x}"))
    return _fit(finding, mask)


def _difference(finding: Finding, given: Image.Image) -> Pixels | None:
    """Where a marked copy differs from the clean photo; None if it is no copy."""
    resized = given.size != finding.size
    copy = given.resize(finding.size, Image.Resampling.BOX) if resized else given
    mask = differing(as_rgb(finding.photo), as_rgb(copy, like=finding.photo))
    if mask is None:
        return None
    finding.notes.append(FROM_DIFFERENCE)
    return mask


def as_rgb(image: Image.Image, like: Image.Image | None = None) -> Pixels:
    """Height × width × 3 bytes for looking at; 16-bit grey is stretched as the engines do, or as `like` is."""
    if image.mode == "I;16":
        from engines.compose import to_rgb, value_range

        image = to_rgb(image, value_range(like if like is not None and like.mode == "I;16" else image))
    return np.asarray(image.convert("RGB"))


def reduced(image: Image.Image, side: int) -> Image.Image:
    """At most about `side` pixels on the longer side, quickly: pixels are averaged."""
    scale = side / max(image.size)
    if scale >= 1:
        return image
    if image.mode != "I;16":
        return image.reduce(max(1, int(1 / scale)))
    size = max(1, round(image.width * scale)), max(1, round(image.height * scale))
    return image.resize(size, Image.Resampling.BOX)


def _where(condition: NDArray[np.bool_]) -> Pixels:
    return condition.astype(np.uint8) * np.uint8(255)
