"""The words of a mask: `box=10,10,50,50; 60%,60%,10%,10%`, `auto`, `auto-inverse`, `alpha`, `colour=red`, …

Pure text in, data out; the pixels are found by `bot.masks.finding` in the picture worker.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from bot.masks.words import WAYS
from engines.words import Refusal, Words


@dataclass(frozen=True, slots=True)
class Box:
    """A rectangle: left, top, width, height, each in pixels or in percent of the photo."""

    values: tuple[float, float, float, float]
    percent: tuple[bool, bool, bool, bool]

    def pixels(self, width: int, height: int) -> tuple[int, int, int, int]:
        """Left, top, right, bottom in a photo of that size, not yet cut to its edges; at least one pixel."""
        sides = (width, height, width, height)
        x, y, w, h = (
            v * side / 100 if p else v for v, p, side in zip(self.values, self.percent, sides, strict=True)
        )
        left, top = round(x), round(y)
        return left, top, max(left + 1, round(x + w)), max(top + 1, round(y + h))


@dataclass(frozen=True, slots=True)
class Auto:
    """What stands out in the photo, or all but that."""

    inverse: bool = False


@dataclass(frozen=True, slots=True)
class Alpha:
    """Where the picture is transparent."""


@dataclass(frozen=True, slots=True)
class White:
    """Where the picture is white."""


@dataclass(frozen=True, slots=True)
class Colour:
    """Where the picture is marked with a strong colour; `rgb` if it was named."""

    rgb: tuple[int, int, int] | None = None


@dataclass(frozen=True, slots=True)
class Difference:
    """Where the picture differs from the photo."""


Part = Box | Auto | Alpha | White | Colour | Difference

_SIMPLE: dict[str, Part] = {
    word: part
    for words, part in (
        ("auto automatic foreground object subject 자동 전경 물체 제품", Auto()),
        (
            "auto-inverse auto-inverted auto-invert inverse-auto auto-background background 자동-반전 자동반전 배경",
            Auto(True),
        ),
        ("alpha transparent transparency 알파 투명", Alpha()),
        ("white bright 흰색 흰 하양", White()),
        ("colour color marked mark marker 색 색상 컬러 표시", Colour()),
        ("difference diff changed 차이", Difference()),
    )
    for word in words.split()
}
COLOURS: dict[str, tuple[int, int, int]] = {
    word: rgb
    for words, rgb in (
        ("red 빨강 빨간색 빨강색", (255, 0, 0)),
        ("orange 주황 주황색", (255, 140, 0)),
        ("yellow 노랑 노란색 노랑색", (255, 230, 0)),
        ("green 초록 초록색 녹색", (0, 200, 0)),
        ("cyan 청록 청록색 하늘색", (0, 220, 255)),
        ("blue 파랑 파란색 파랑색", (0, 60, 255)),
        ("magenta pink purple 분홍 분홍색 자홍 보라 보라색", (255, 0, 220)),
    )
    for word in words.split()
}
_BOX_WORD = re.compile(r"^(?:box|rect|rectangle|area|박스|상자|영역|사각형)(?![a-z])")
_COLOUR_WORD = re.compile(r"^(?:colou?r|색|색상|컬러)(?:\s*[=:]\s*|\s+)(.+)$")
_NUMBER = re.compile(r"([+-]?\d+(?:\.\d+)?|[+-]?\.\d+)\s*(%|px)?")
_LIMIT = 64  # parts of one mask


def parse(spec: str) -> tuple[Part, ...]:
    """What was said about a mask; nothing said is no parts. Raises `Refusal` that shows how to say it."""
    text = _plain(spec)
    parts = [_part(piece, spec) for piece in re.split(r"[;+\n]|\bor\b|\band\b", text) if piece.strip()]
    if len(parts) > _LIMIT:
        raise Refusal(_TOO_MANY(limit=_LIMIT))
    return tuple(parts)


def _plain(spec: str) -> str:
    wide = str.maketrans("，；％：＝、（）［］", ",;%:=,()[]")
    text = spec.translate(wide).strip().lower()
    text = re.sub(r"^(?:mask|마스크)\s*[:=]\s*", "", text)
    return re.sub(r"[()\[\]{}`\"']", " ", text)


def _part(piece: str, spec: str) -> Part:
    text = piece.strip()
    word = re.sub(r"[\s_:=-]+", "-", text).strip("-")
    if word in _SIMPLE:
        return _SIMPLE[word]
    if word in COLOURS or word.startswith("#"):
        return Colour(_colour(word, spec))
    if named := _COLOUR_WORD.match(text):
        return Colour(_colour(named[1].strip(), spec))
    rest, times = _BOX_WORD.subn("", text)
    rest = rest.strip(" :=")
    if times or re.match(r"(?:x\s*[=:]\s*)?[+-]?[\d.]", rest):
        return _box(rest, spec)
    raise Refusal(_UNKNOWN(said=_short(spec)) + WAYS)


def _box(text: str, spec: str) -> Box:
    found = _NUMBER.findall(text)
    left_over = _NUMBER.sub("", text)
    if len(found) != 4 or re.search(r"[^\s,x*×/=:xywh]", left_over):
        raise Refusal(_BAD_BOX(said=_short(spec)))
    values = [float(number) for number, _ in found]
    percent = [unit == "%" for _, unit in found]
    if not any(unit for _, unit in found) and _are_shares(values, text):
        values, percent = [v * 100 for v in values], [True] * 4
    if values[2] <= 0 or values[3] <= 0:
        raise Refusal(_FLAT_BOX(said=_short(spec)))
    return Box((values[0], values[1], values[2], values[3]), (percent[0], percent[1], percent[2], percent[3]))


def _are_shares(values: list[float], text: str) -> bool:
    """`0.1,0.1,0.5,0.5` can only mean parts of the photo."""
    return all(0 <= v <= 1 for v in values) and "." in text


def _colour(text: str, spec: str) -> tuple[int, int, int]:
    if text in COLOURS:
        return COLOURS[text]
    digits = text.removeprefix("#")
    if re.fullmatch(r"[0-9a-f]{3}", digits):
        digits = "".join(c * 2 for c in digits)
    if not re.fullmatch(r"[0-9a-f]{6}", digits):
        raise Refusal(_BAD_COLOUR(said=_short(spec)))
    return int(digits[:2], 16), int(digits[2:4], 16), int(digits[4:], 16)


def _short(text: str) -> str:
    return re.sub(r"[`“”\s]+", " ", text).strip()[:60]


_UNKNOWN = Words("The mask “{said}” is not understood.", "“{said}”은(는) 알 수 없는 마스크입니다.")
_BAD_BOX = Words(
    "A box needs four numbers: left, top, width, height, in pixels or percent, like `box=10,10,50,50` or "
    "`box=60%,60%,10%,10%`; several are parted by `;`. This was said: “{said}”.",
    "상자에는 왼쪽, 위, 너비, 높이의 네 숫자가 픽셀 또는 %로 필요합니다. 예: `box=10,10,50,50`, "
    "`box=60%,60%,10%,10%` (여러 개는 `;`로 구분). 입력: “{said}”.",
)
_FLAT_BOX = Words(
    "A box must be wider and higher than 0: `box=left,top,width,height`. This was said: “{said}”.",
    "상자의 너비와 높이는 0보다 커야 합니다: `box=왼쪽,위,너비,높이`. 입력: “{said}”.",
)
_BAD_COLOUR = Words(
    "A colour can be red, orange, yellow, green, cyan, blue, magenta or #rrggbb, not “{said}”.",
    "색은 빨강, 주황, 노랑, 초록, 청록, 파랑, 자홍 또는 #rrggbb 로 적어 주십시오 (입력: “{said}”).",
)
_TOO_MANY = Words(
    "A mask can have at most {limit} parts.", "마스크는 최대 {limit}개까지 나누어 적을 수 있습니다."
)
