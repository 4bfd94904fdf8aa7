"""A photo to learn from and its mask, decoded together; the contact sheet of many. Runs in the picture worker only.

The hash is the difference hash (each of 16 × 16 cells lighter than its left neighbour or not: in smooth places that is
the camera's noise, by which two photos of one product in one pose differ and copies do not), beside the mask pooled
to 8 × 8.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageOps

from bot.masks.finding import as_rgb, find_mask
from bot.pictures.fast_png import fast_png
from bot.pictures.files import clean
from bot.pictures.sheets import Font, font_for, plain_font, shortened
from engines.words import Refusal, Words

CELLS = 16  # a side, whose lightness is compared
GAP, HEAD = 6, 18  # pixels between the pictures of a sheet, and above each row


def sample(args: Mapping[str, Any], parts: list[bytes], most: int) -> tuple[dict[str, Any], list[bytes]]:
    """The photo as PNG, and the mask where one is given and means something; a mask that does not is told why."""
    found = clean(parts[0], args["name"], most)
    photo = found.image if found.image.mode in ("L", "RGB") else Image.fromarray(as_rgb(found.image))
    head: dict[str, Any] = {"width": photo.width, "height": photo.height, "share": 0.0, "wrong": None}
    notes: list[Words] = []
    mask: NDArray[np.uint8] | None = None
    if len(parts) > 1:
        try:
            given = clean(parts[1], args["mask"], most).image
            mask, head["share"], told = find_mask(photo, "", given)
            notes += told if given.size != photo.size else []
        except Refusal as refusal:
            head["wrong"] = [refusal.words.en, refusal.words.ko]
    head |= {"look": look(photo, mask), "notes": [[note.en, note.ko] for note in notes]}
    return head, [fast_png(photo), *([fast_png(Image.fromarray(mask))] if mask is not None else [])]


def look(photo: Image.Image, mask: NDArray[np.uint8] | None) -> str:
    """80 hexadecimal digits: the photo's difference hash, then where the mask is."""
    small = np.asarray(ImageOps.grayscale(photo).resize((CELLS + 1, CELLS), Image.Resampling.BOX), np.int16)
    bits = small[:, 1:] > small[:, :-1]
    where = np.zeros((8, 8), np.bool_)
    if mask is not None:
        pooled = Image.fromarray(mask).convert("F").resize((8, 8), Image.Resampling.BOX)
        where = np.asarray(pooled) > 0
    return np.packbits(bits).tobytes().hex() + np.packbits(where).tobytes().hex()


def sheet(args: Mapping[str, Any]) -> bytes:
    """A contact sheet of our own files: a row for each concept, the masks drawn on the photos."""
    from bot.pictures.overlay import overlay

    cell, rows = int(args["cell"]), args["rows"]
    across = max(len(row["cells"]) for row in rows)
    width = GAP + across * (cell + GAP)
    canvas = Image.new("RGB", (width, GAP + len(rows) * (cell + HEAD + GAP)), (30, 31, 34))
    draw = ImageDraw.Draw(canvas)
    for number, row in enumerate(rows):
        top = GAP + number * (cell + HEAD + GAP)
        told, font = _drawable(number + 1, str(row["label"]))
        draw.text((GAP, top), shortened(told, font, width - 2 * GAP), fill=(230, 230, 230), font=font)
        for place, one in enumerate(row["cells"]):
            shown = _open(one["photo"])
            if one.get("mask"):
                shown = overlay(shown, _open(one["mask"]))
            picture = _fitted(shown, cell)
            left = GAP + place * (cell + GAP)
            canvas.paste(
                picture, (left + (cell - picture.width) // 2, top + HEAD + (cell - picture.height) // 2)
            )
    return fast_png(canvas)


def rows_of(labels: Sequence[str], cells: Sequence[Sequence[tuple[str, str]]]) -> list[dict[str, Any]]:
    """The `rows` of `sheet`: a label and (photo, mask) paths for each."""
    return [
        {"label": label, "cells": [{"photo": photo, "mask": mask} for photo, mask in pairs]}
        for label, pairs in zip(labels, cells, strict=True)
    ]


def _open(path: str) -> Image.Image:
    Image.MAX_IMAGE_PIXELS = None  # our own file
    with Image.open(Path(path)) as image:
        image.load()
        return image


def _fitted(image: Image.Image, side: int) -> Image.Image:
    """At most `side` long; small pictures are enlarged in whole pixels, so that they can be judged."""
    rgb = image.convert("RGB")
    scale = side / max(rgb.size)
    size = max(1, round(rgb.width * scale)), max(1, round(rgb.height * scale))
    return rgb.resize(size, Image.Resampling.NEAREST if scale > 1 else Image.Resampling.LANCZOS)


def _drawable(number: int, label: str) -> tuple[str, Font]:
    """The number and the label, or the number alone where no font here has the label's letters."""
    font = font_for(label)
    return (f"{number}. {label}", font) if font else (f"#{number}", plain_font())
