"""Curves and sheets of samples as pictures. matplotlib by its objects only: no window, no state, any thread."""

from __future__ import annotations

import io
from collections.abc import Sequence
from functools import cache
from typing import Any

from PIL import Image, ImageDraw, ImageFont

from engines.training.record import Curve, Record

GAP = 4  # pixels between pictures
HEAD, FONT = 18, 12  # pixels of the line above a column or row, and of its letters
FAINT = (110, 110, 110)
POINTS = 1000  # of one line at most


def losses(record: Record, width: float = 8.0, height: float = 4.5) -> bytes:
    """The loss of each concept over the steps as PNG: faint as it was, strong as it goes. Sizes in inches."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure
    from matplotlib.ticker import MaxNLocator

    figure = Figure(figsize=(width, height), layout="constrained")
    axes = figure.subplots()
    lines = list(zip(_labels(record.names), record.concepts, strict=True))
    for i, (label, curve) in enumerate(lines):
        _line(axes, curve, f"C{i % 10}", label)
    axes.set_xlabel("step")
    axes.set_ylabel("loss")
    axes.xaxis.set_major_locator(MaxNLocator(integer=True, min_n_ticks=1))
    axes.grid(alpha=0.3)
    if lines:
        axes.legend(fontsize="small", loc="upper right")
    out = io.BytesIO()
    canvas: Any = FigureCanvasAgg(figure)
    canvas.print_png(out, metadata={"Software": None})
    return out.getvalue()


def _line(axes: Any, curve: Curve, colour: str, label: str) -> None:
    every = max(1, len(curve.steps) // POINTS)
    axes.plot(curve.steps[::every], curve.losses[::every], color=colour, alpha=0.2, linewidth=0.8)
    dot = "o" if len(curve.steps) == 1 else None  # one point makes no line
    axes.plot(curve.steps[::every], curve.smooth[::every], marker=dot, color=colour, lw=1.6, label=label)


def _labels(names: Sequence[str], *, numbered: bool = False) -> list[str]:
    """Names as the font can draw them; a number where it cannot."""
    known = _glyphs()
    return [
        (f"{i}. {name}" if numbered else name) if all(ord(c) in known for c in name) else f"concept {i}"
        for i, name in enumerate(names, 1)
    ]


@cache
def _glyphs() -> frozenset[int]:
    from matplotlib.font_manager import findfont
    from matplotlib.ft2font import FT2Font

    return frozenset(FT2Font(findfont("DejaVu Sans")).get_charmap())


def sheet(
    columns: Sequence[tuple[str, Sequence[Image.Image | None]]], side: int = 192, rows: Sequence[str] = ()
) -> Image.Image:
    """Columns of pictures side by side, each with a word above it, a row a concept, each with its name above it."""
    count, above = max(len(pictures) for _, pictures in columns), HEAD if rows else 0
    size = (len(columns) * (side + GAP) - GAP, HEAD + count * (above + side + GAP) - GAP)
    made = Image.new("RGB", size, "white")
    draw, font = ImageDraw.Draw(made), ImageFont.load_default(FONT)
    for y, name in enumerate(_labels(rows, numbered=True)):
        draw.text(
            (2, HEAD + y * (above + side + GAP)), _fitting(name, font, size[0]), fill="black", font=font
        )
    for x, (title, pictures) in enumerate(columns):
        left = x * (side + GAP)
        draw.text((left + 2, 0), _fitting(title, font, side), fill=FAINT if rows else "black", font=font)
        for y, picture in enumerate(pictures):
            if picture is not None:
                shown = picture.resize((side, side), Image.Resampling.BICUBIC)
                made.paste(shown, (left, HEAD + y * (above + side + GAP) + above))
    return made


def _fitting(text: str, font: Any, width: int) -> str:
    """As much of it as has room."""
    if font.getlength(text) <= width - 4:
        return text
    return next(t for n in range(len(text), -1, -1) if font.getlength(t := f"{text[:n]}…") <= width or not n)


def stacked(upper: Image.Image, lower: Image.Image) -> Image.Image:
    """Two pictures one above the other, the lower as wide as the upper."""
    scale = upper.width / lower.width
    lower = lower.resize((upper.width, max(1, round(lower.height * scale))), Image.Resampling.BICUBIC)
    made = Image.new("RGB", (upper.width, upper.height + lower.height), "white")
    made.paste(upper.convert("RGB"), (0, 0))
    made.paste(lower, (0, upper.height))
    return made


def jpeg(picture: Image.Image) -> bytes:
    out = io.BytesIO()
    picture.convert("RGB").save(out, "JPEG", quality=85)
    return out.getvalue()


def png(picture: Image.Image) -> bytes:
    out = io.BytesIO()
    picture.save(out, "PNG")
    return out.getvalue()
