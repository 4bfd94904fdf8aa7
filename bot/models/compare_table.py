"""A table of pictures: rows by label, columns by model, with words over each. Pure; reads files, one at a time."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from pathlib import Path

from PIL import Image, ImageDraw

from bot.pictures.sheets import (
    FAINT,
    GAP,
    INK,
    LINE,
    PAPER,
    RED,
    font_for,
    plain_font,
    shortened,
    thumbnail,
    wrapped,
)
from engines.words import Words

LABEL = 170  # pixels of the column of labels
SIDE, SMALL = 256, 192  # of a cell; small where there are many


_FAILED = Words("failed", "실패")
_CANNOT = Words("cannot do this", "할 수 없음")


@dataclass(frozen=True, slots=True)
class Column:
    """What stands over a column."""

    title: Words
    name: str
    words: tuple[Words, ...]


@dataclass(frozen=True, slots=True)
class Table:
    rows: tuple[str, ...]
    columns: tuple[Column, ...]
    cells: Mapping[tuple[int, int], Path]  # row, column → picture
    failed: Collection[tuple[int, int]] = ()


def drawn(table: Table, language: str = "en") -> Image.Image:
    """The table as a picture, in `language` where this machine has its letters, else in English."""
    side = SIDE if len(table.rows) * len(table.columns) <= 12 else SMALL
    head = GAP + LINE * (2 + max((len(c.words) for c in table.columns), default=0))
    size = (
        GAP + LABEL + len(table.columns) * (side + GAP),
        GAP + head + len(table.rows) * (side + GAP),
    )
    picture = Image.new("RGB", size, PAPER)
    draw = ImageDraw.Draw(picture)
    for j, column in enumerate(table.columns):
        left = GAP + LABEL + j * (side + GAP)
        _head(draw, column, (left, GAP), side, language)
    for i, label in enumerate(table.rows):
        top = GAP + head + i * (side + GAP)
        _label(draw, label, i, top)
        for j in range(len(table.columns)):
            _cell(picture, draw, table, (i, j), (GAP + LABEL + j * (side + GAP), top), side, language)
    return picture


def _head(draw: ImageDraw.ImageDraw, column: Column, at: tuple[int, int], side: int, language: str) -> None:
    lines = [(column.title, INK), (Words(column.name, column.name), INK), *((w, FAINT) for w in column.words)]
    for n, (words, colour) in enumerate(lines):
        _line(draw, words, (at[0], at[1] + n * LINE), side, colour, language, bold=n == 0)


def _line(
    draw: ImageDraw.ImageDraw,
    words: Words,
    at: tuple[int, int],
    width: int,
    colour: tuple[int, int, int],
    language: str,
    *,
    bold: bool = False,
) -> None:
    text = words.of(language) if font_for(words.of(language)) else words.en
    font = font_for(text) or plain_font()
    heavy = 0.4 if bold else 0  # no bold font is sure to be there
    draw.text(at, shortened(text, font, width), fill=colour, font=font, stroke_width=heavy)


def _label(draw: ImageDraw.ImageDraw, label: str, number: int, top: int) -> None:
    font = font_for(label)
    text = label if font else f"#{number + 1}"
    for n, line in enumerate(wrapped(text, font or plain_font(), LABEL - GAP, 8)):
        draw.text((GAP, top + n * LINE), line, fill=INK, font=font or plain_font())


def _cell(
    picture: Image.Image,
    draw: ImageDraw.ImageDraw,
    table: Table,
    at: tuple[int, int],
    corner: tuple[int, int],
    side: int,
    language: str,
) -> None:
    left, top = corner
    path = table.cells.get(at)
    shown = thumbnail(path, side) if path else None
    if shown is None:
        box = (left, top, left + side - 1, top + side - 1)
        draw.rectangle(box, outline=RED if at in table.failed else FAINT)
        _line(
            draw,
            _FAILED if at in table.failed else _CANNOT,
            (left + GAP, top + side // 2),
            side,
            FAINT,
            language,
        )
        return
    if shown.width < side and shown.height < side:  # small models: as large as the cell, without blurring
        factor = side / max(shown.size)
        shown = shown.resize(
            (round(shown.width * factor), round(shown.height * factor)), Image.Resampling.LANCZOS
        )
    picture.paste(shown, (left + (side - shown.width) // 2, top + (side - shown.height) // 2))
