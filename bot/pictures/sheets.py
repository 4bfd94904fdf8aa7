"""A contact sheet: labelled thumbnails of our own pictures, one at a time, in a picture of bounded size."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from PIL import Image, ImageDraw, ImageFont

PAPER, INK, FAINT, RED = (250, 250, 248), (40, 40, 40), (150, 150, 150), (200, 30, 30)
SIDES = ((6, 384), (12, 288), (30, 224), (60, 176), (150, 136))  # so many pictures at most → side of each
SMALLEST = 100
GAP, LINE, TEXT = 10, 18, 13  # pixels
FONTS = (  # where systems keep a font with Korean, Chinese and Japanese letters
    "/usr/share/fonts/truetype/nanum/NanumGothic.ttf",
    "/usr/share/fonts/opentype/noto/NotoSansCJK-Regular.ttc",
    "/usr/share/fonts/noto-cjk/NotoSansCJK-Regular.ttc",
    "/System/Library/Fonts/AppleSDGothicNeo.ttc",
    "C:/Windows/Fonts/malgun.ttf",
    "/usr/share/fonts/truetype/dejavu/DejaVuSans.ttf",
)
Font = ImageFont.FreeTypeFont | ImageFont.ImageFont


@dataclass(frozen=True, slots=True)
class Cell:
    """One thumbnail. `text` is what was found out about it; a failed one is crossed out."""

    label: str
    picture: Path | None
    text: str = ""
    failed: bool = False


def contact_sheet(cells: Sequence[Cell]) -> Image.Image:
    """All cells in reading order. Only one picture is in memory beside the sheet at any time."""
    side = next((side for most, side in SIDES if len(cells) <= most), SMALLEST)
    lines = 4 if any(cell.text for cell in cells) else 1
    high = side + lines * LINE
    columns = min(len(cells), max(1, round(math.sqrt(len(cells) * 1.4 * high / side))))
    rows = math.ceil(len(cells) / columns)
    size = GAP + columns * (side + GAP), GAP + rows * (high + GAP)
    sheet = Image.new("RGB", size, PAPER)
    draw = ImageDraw.Draw(sheet)
    for i, cell in enumerate(cells):
        left, top = GAP + i % columns * (side + GAP), GAP + i // columns * (high + GAP)
        _paste(sheet, draw, cell, (left, top), side)
        _write(draw, cell, (left, top + side), side, i + 1)
    return sheet


def _paste(sheet: Image.Image, draw: ImageDraw.ImageDraw, cell: Cell, at: tuple[int, int], side: int) -> None:
    left, top = at
    thumb = thumbnail(cell.picture, side) if cell.picture else None
    box = (left, top, left + side - 1, top + side - 1)
    if thumb is not None:
        left, top = left + (side - thumb.width) // 2, top + (side - thumb.height) // 2
        box = (left, top, left + thumb.width - 1, top + thumb.height - 1)
        sheet.paste(
            Image.blend(thumb, Image.new("RGB", thumb.size, PAPER), 0.6) if cell.failed else thumb, box[:2]
        )
    else:
        draw.rectangle(box, outline=FAINT)
    if cell.failed:
        draw.line(box, fill=RED, width=3)
        draw.line((box[0], box[3], box[2], box[1]), fill=RED, width=3)


def thumbnail(path: Path, side: int) -> Image.Image | None:
    """In RGB, transparency over a chequered ground; None for what cannot be drawn."""
    try:
        with Image.open(path) as opened:
            image: Image.Image = opened
            if image.mode.startswith("I"):
                image = image.convert("I").point(lambda value: value / 256).convert("L")
            image.thumbnail((side, side), reducing_gap=2.0)
            if image.mode in ("RGBA", "LA", "P"):
                return Image.alpha_composite(_chequered(image.size), image.convert("RGBA")).convert("RGB")
            return image.convert("RGB")
    except (OSError, ValueError, Image.DecompressionBombError):
        return None


def _chequered(size: tuple[int, int]) -> Image.Image:
    tile = Image.new("RGBA", (16, 16), (255, 255, 255, 255))
    for at in ((0, 0), (8, 8)):
        tile.paste((220, 220, 220, 255), (*at, at[0] + 8, at[1] + 8))
    ground = Image.new("RGBA", size)
    for x in range(0, size[0], 16):
        for y in range(0, size[1], 16):
            ground.paste(tile, (x, y))
    return ground


def _write(draw: ImageDraw.ImageDraw, cell: Cell, at: tuple[int, int], side: int, number: int) -> None:
    font = font_for(cell.label)
    label = cell.label if font else f"#{number}"
    colour = RED if cell.failed else INK
    draw.text(
        (at[0], at[1] + 2),
        shortened(label, font or plain_font(), side),
        fill=colour,
        font=font or plain_font(),
    )
    words = font_for(cell.text) if cell.text else None
    for i, line in enumerate(wrapped(cell.text, words, side, 3) if words else ()):
        draw.text((at[0], at[1] + 2 + (i + 1) * LINE), line, fill=FAINT, font=words)


def shortened(text: str, font: Font, width: int) -> str:
    """The text within `width` pixels; its end, which tells files apart, is kept."""
    if font.getlength(text) <= width:
        return text
    kept = len(text)
    while kept > 4 and font.getlength(short := f"{text[: kept // 3]}…{text[-(kept - kept // 3) :]}") > width:
        kept -= 1
    return short


def wrapped(text: str, font: Font, width: int, most: int) -> list[str]:
    lines = [""]
    for word in text.split():
        longer = f"{lines[-1]} {word}".strip()
        if font.getlength(longer) <= width or not lines[-1]:
            lines[-1] = longer
        elif len(lines) == most:
            lines[-1] = shortened(lines[-1] + " …", font, width)
            break
        else:
            lines.append(word)
    return [shortened(line, font, width) for line in lines]


@cache
def plain_font() -> Font:
    return ImageFont.load_default(TEXT)


def font_for(text: str) -> Font | None:
    """A font that has all letters of the text; None where this machine has none."""
    if all(ord(c) < 0x180 or c in "–—…“”‘’" for c in text):
        return plain_font()
    return next((font for font in _installed() if all(_has(font, c) for c in set(text))), None)


@cache
def _installed() -> tuple[ImageFont.FreeTypeFont, ...]:
    return tuple(ImageFont.truetype(path, TEXT) for path in FONTS if Path(path).exists())


@cache
def _has(font: ImageFont.FreeTypeFont, letter: str) -> bool:
    """Whether the font draws the letter as something else than what it draws for a letter that no font has."""
    if letter.isspace():
        return True
    unknown = bytes(font.getmask("\U0010fffe"))
    return bytes(font.getmask(letter)) != unknown
