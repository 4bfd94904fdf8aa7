"""Curves and sheets of samples as pictures. matplotlib by its objects only: no window, no state, any thread."""

from __future__ import annotations

import io
from collections.abc import Sequence
from functools import cache
from typing import Any

from PIL import Image, ImageDraw

from engines.training.record import Curve, Record

GAP = 4  # pixels between pictures
HEAD = 16  # pixels of the line above a column
POINTS = 1000  # of one line at most


def losses(record: Record, width: float = 8.0, height: float = 4.5) -> bytes:
    """The loss of each concept over the steps as PNG: faint as it was, strong as it goes. Sizes in inches."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(width, height), layout="constrained")
    axes = figure.subplots()
    lines = list(zip(_labels(record.names), record.concepts, strict=True))
    for i, (label, curve) in enumerate(lines):
        _line(axes, curve, f"C{i % 10}", label)
    axes.set_xlabel("step")
    axes.set_ylabel("loss")
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
    axes.plot(curve.steps[::every], curve.smooth[::every], color=colour, linewidth=1.6, label=label)


def _labels(names: Sequence[str]) -> list[str]:
    """Names as the font can draw them; a number where it cannot."""
    known = _glyphs()
    return [
        name if all(ord(c) in known for c in name) else f"concept {i + 1}" for i, name in enumerate(names)
    ]


@cache
def _glyphs() -> frozenset[int]:
    from matplotlib.font_manager import findfont
    from matplotlib.ft2font import FT2Font

    return frozenset(FT2Font(findfont("DejaVu Sans")).get_charmap())


def sheet(columns: Sequence[tuple[str, Sequence[Image.Image]]], side: int = 192) -> Image.Image:
    """Columns of pictures side by side, a row a concept, each column with a word above it."""
    rows = max(len(pictures) for _, pictures in columns)
    size = (len(columns) * (side + GAP) - GAP, HEAD + rows * (side + GAP) - GAP)
    made = Image.new("RGB", size, "white")
    draw = ImageDraw.Draw(made)
    for x, (title, pictures) in enumerate(columns):
        left = x * (side + GAP)
        draw.text((left + 2, 2), title, fill="black")
        for y, picture in enumerate(pictures):
            made.paste(
                picture.resize((side, side), Image.Resampling.BICUBIC), (left, HEAD + y * (side + GAP))
            )
    return made


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
