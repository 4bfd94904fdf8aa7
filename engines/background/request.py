"""What can be asked of the background remover."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, Self

from engines.forms import param
from engines.request import Request
from engines.words import Refusal, Words

COSTS = {  # row-steps that a picture is worth, by network
    "isnet-general-use": 8.0,
    "rmbg-1.4": 8.0,
    "birefnet-general": 40.0,
}
KOREAN = {
    "흰색": "white",
    "하양": "white",
    "검정": "black",
    "검은색": "black",
    "회색": "gray",
    "빨강": "red",
    "빨간색": "red",
    "주황": "orange",
    "노랑": "yellow",
    "노란색": "yellow",
    "초록": "green",
    "녹색": "green",
    "파랑": "blue",
    "파란색": "blue",
    "보라": "purple",
    "분홍": "pink",
}
NONE = ("none", "transparent", "투명")


@dataclass(frozen=True, kw_only=True)
class RemoveBackground(Request):
    name: ClassVar[str] = "removebg"
    title: ClassVar[Words] = Words("Remove background", "배경 제거")
    about: ClassVar[Words] = Words("Cut the object out of a photo", "사진에서 물체만 남기고 배경을 지웁니다")

    image: str = param(
        "picture",
        Words("The photo with the object", "물체가 있는 사진"),
        Words("photo", "사진"),
        aliases=("photo", "source"),
    )
    background: str = param(
        "text",
        Words("Empty = transparent; else a colour: white, #ff8800", "비우면 투명, 또는 색: 흰색, #ff8800"),
        Words("background", "배경"),
        "",
        high=40,
        aliases=("bg", "colour", "color"),
    )
    mask_only: bool = param(
        "flag",
        Words("Only the mask: the object white, the rest black", "물체는 흰색, 나머지는 검은색인 마스크만"),
        Words("mask_only", "마스크만"),
        False,
        aliases=("mask", "only_mask"),
    )
    crop: bool = param(
        "flag",
        Words("Cut the picture to the object", "물체 크기에 맞추어 잘라 냄"),
        Words("crop", "자르기"),
        False,
    )
    solid: bool = param(
        "flag",
        Words(
            "No haze, no specks: a pixel is the object or it is not",
            "흐릿한 부분과 잡티 없이 물체만 또렷하게",
        ),
        Words("solid", "또렷하게"),
        False,
        advanced=True,
    )
    feather: int = param(
        "int",
        Words("Soft edge inside the object, in pixels", "물체 안쪽 가장자리를 부드럽게(픽셀)"),
        Words("feather", "부드럽게"),
        0,
        low=0,
        high=128,
        advanced=True,
    )
    model: str = param(
        "model",
        Words("Which network; /models lists them", "사용할 모델 (/models 로 목록 보기)"),
        Words("model", "모델"),
        "",
        advanced=True,
    )

    @classmethod
    def fill(cls, values: Mapping[str, Any]) -> tuple[Self, tuple[Words, ...]]:
        """As every form, and the colour is one. Raises `Refusal`."""
        form, notes = super().fill(values)
        form = dataclasses.replace(form, background=named_colour(form.background))
        if form.mask_only and form.background:
            notes = (*notes, _MASK_WINS)
        return form, notes

    @property
    def cost(self) -> float:
        return COSTS.get(self.model, 1.0)


def named_colour(said: str) -> str:
    """A colour as Pillow knows it; empty for none. Raises `Refusal`."""
    word = said.strip().casefold()
    word = KOREAN.get(word, word)
    if not word or word in NONE:
        return ""
    rgb(word)
    return word


def rgb(colour: str) -> tuple[int, int, int]:
    """Red, green and blue, 0 to 255. Raises `Refusal`."""
    from PIL import ImageColor

    try:
        red, green, blue, *_ = ImageColor.getrgb(colour)
    except ValueError:
        raise Refusal(_NO_COLOUR(said=colour[:40])) from None
    return red, green, blue


_NO_COLOUR = Words(
    "`background` cannot be “{said}”. Leave it empty for a transparent one, name a colour (white, black, gray, red, "
    "green, blue …) or write it as `#rrggbb`.",
    "`background` 값으로 “{said}”은(는) 쓸 수 없습니다. 비우면 투명해지고, 색 이름(흰색, 검정, 회색, 빨강, 초록, "
    "파랑 등)이나 `#rrggbb` 로 쓸 수 있습니다.",
)
_MASK_WINS = Words(
    "With `mask_only` there is no background to colour, so `background` was not used.",
    "`mask_only`를 쓰면 색을 넣을 배경이 없으므로 `background`는 사용하지 않았습니다.",
)
