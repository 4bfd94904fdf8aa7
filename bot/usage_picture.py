"""Usage as a picture: pictures by day and command, by model, minutes by command. matplotlib's objects, no pyplot."""

from __future__ import annotations

import io
import threading
from collections import Counter
from collections.abc import Callable, Sequence
from datetime import date, timedelta
from typing import TYPE_CHECKING, Any

from engines.words import Language, Words
from storage.usage import Line

if TYPE_CHECKING:
    from matplotlib.axes import Axes

KOREAN = (
    "Noto Sans CJK KR",
    "Noto Sans KR",
    "Noto Sans CJK JP",  # the same file; has Hangul, too
    "NanumGothic",
    "NanumBarunGothic",
    "Malgun Gothic",
    "Apple SD Gothic Neo",
    "AppleGothic",
    "UnDotum",
    "Baekmuk Gulim",
)
BARS = 8  # of models
LABEL = 28
_ONE = threading.Lock()  # matplotlib's fonts and caches are for one thread at a time


def draw(lines: Sequence[Line], days: Sequence[str], language: Language) -> bytes:
    """A PNG of 1200 × 800 pixels. For another thread than the event loop's: it takes about a second.

    `days` are all days of the range, in order. In Korean only where this machine has a font for it.
    """
    with _ONE:
        font = korean_font()
        return _draw(lines, days, language if font else "en", font)


def korean_font() -> str | None:
    """The name of a font with Hangul; None where there is none, and letters would come out as boxes."""
    from matplotlib import font_manager

    there = {font.name for font in font_manager.fontManager.ttflist}
    return next((name for name in KOREAN if name in there), None)


def range_of(days: int, today: str) -> list[str]:
    """So many days up to today, oldest first."""
    last = date.fromisoformat(today)
    return [(last - timedelta(days=back)).isoformat() for back in reversed(range(days))]


def _draw(lines: Sequence[Line], days: Sequence[str], language: Language, font: str | None) -> bytes:
    import matplotlib
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    families = [*([font] if font else []), "DejaVu Sans"]
    with matplotlib.rc_context({"font.family": families, "axes.unicode_minus": False}):
        figure = Figure(figsize=(12, 8), dpi=100, layout="constrained")
        canvas = FigureCanvasAgg(figure)
        grid = figure.add_gridspec(2, 2, height_ratios=(3, 2))
        _by_day(figure.add_subplot(grid[0, :]), lines, days, language)
        models = _sums(lines, lambda line: line.model, lambda line: line.pictures)
        _bars(figure.add_subplot(grid[1, 0]), models[:BARS], _BY_MODEL.of(language), font)
        minutes = _sums(lines, lambda line: line.command, lambda line: line.seconds / 60)
        _bars(figure.add_subplot(grid[1, 1]), minutes[:BARS], _MINUTES.of(language), font)
        out = io.BytesIO()
        canvas.print_figure(out, format="png")
    return out.getvalue()


def _by_day(axes: Axes, lines: Sequence[Line], days: Sequence[str], language: Language) -> None:
    from matplotlib.ticker import MaxNLocator

    counted: Counter[tuple[str, str]] = Counter()
    for line in lines:
        counted[line.command, line.day] += line.pictures
    bottom = [0] * len(days)
    for command in sorted({line.command for line in lines}):
        heights = [counted[command, day] for day in days]
        axes.bar(range(len(days)), heights, bottom=bottom, label=command, width=0.8)
        bottom = [a + b for a, b in zip(bottom, heights, strict=True)]
    every = max(1, len(days) // 12)
    axes.set_xticks(range(0, len(days), every), [day[5:] for day in days[::every]])
    axes.set_xlim(-0.6, len(days) - 0.4)
    axes.set_ylim(0, max([*bottom, 1]) * 1.08)
    axes.yaxis.set_major_locator(MaxNLocator(integer=True))
    axes.set_title(_BY_DAY.of(language))
    if lines:
        axes.legend(loc="upper left", ncols=6, frameon=False)
    _bare(axes)


def _bars(axes: Axes, sums: Sequence[tuple[str, float]], title: str, font: str | None) -> None:
    values = [value for _, value in reversed(sums)]
    axes.barh(range(len(sums)), values, color="#4477aa")
    axes.set_yticks(range(len(sums)), [_shown(name, font) for name, _ in reversed(sums)])
    for row, value in enumerate(values):
        axes.text(value, row, f" {value:.3g}" if value < 1000 else f" {value:.0f}", va="center")
    axes.set_xlim(0, max([*values, 1e-9]) * 1.15)
    axes.set_title(title)
    _bare(axes)


def _bare(axes: Axes) -> None:
    for side in ("top", "right"):
        axes.spines[side].set_visible(False)


def _sums(
    lines: Sequence[Line], name: Callable[[Line], str], value: Callable[[Line], float]
) -> list[tuple[str, float]]:
    """The largest first; what is nothing is left out."""
    found: Counter[str] = Counter()
    for line in lines:
        found[name(line)] += value(line)  # type: ignore[assignment]
    return [(name, value) for name, value in found.most_common() if value > 0]


def _shown(name: str, font: str | None) -> Any:
    """A name from outside: short, no formula, and no letters that no font here has."""
    name = name or "–"
    name = name if len(name) <= LABEL else name[: LABEL - 1] + "…"
    if font is None:
        name = "".join(c if ord(c) < 0x250 or c in "–…" else "?" for c in name)
    return "".join(c for c in name if c.isprintable()).replace("$", r"\$")


_BY_DAY = Words("Pictures by day and command", "날짜와 명령별 그림 수")
_BY_MODEL = Words("Pictures by model", "모델별 그림 수")
_MINUTES = Words("Minutes on a device by command", "명령별 장치 사용 시간(분)")
