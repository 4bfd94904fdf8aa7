"""/interrogate: which words describe a picture."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from engines.forms import param
from engines.request import Request
from engines.words import Words

FAST, CLASSIC, BEST, NEGATIVE = "fast", "classic", "best", "negative"
MODES = (FAST, CLASSIC, BEST, NEGATIVE)
AUTO, ALL, OWN = "auto", "all", "own"
NO_CAPTION = "none"
CAPTIONS = (NO_CAPTION, "blip-base", "blip-large")

_STEPS = {FAST: 3.0, CLASSIC: 4.0, BEST: 60.0, NEGATIVE: 50.0}


@dataclass(frozen=True, kw_only=True)
class Interrogate(Request):
    name: ClassVar[str] = "interrogate"
    title: ClassVar[Words] = Words("Describe a picture", "그림 설명하기")
    about: ClassVar[Words] = Words(
        "Find the words that describe a picture, to use them in a prompt",
        "그림에 어울리는 문구를 찾아 프롬프트에 쓸 수 있게 합니다",
    )

    image: str = param(
        "picture",
        Words("The picture to describe", "설명할 그림"),
        Words("photo", "사진"),
        aliases=("photo", "source", "picture"),
    )
    mode: str = param(
        "choice",
        Words("fast: best words; classic: a set form; best: slow search; negative: what it is not",
              "fast: 빠르게, classic: 정해진 형식, best: 느린 탐색, negative: 어울리지 않는 문구"),
        Words("mode", "방식"),
        FAST,
        choices=MODES,
    )  # fmt: skip
    model: str = param(
        "model",
        Words("Which CLIP; /models lists them", "사용할 CLIP 모델 (/models 로 목록 보기)"),
        Words("model", "모델"),
        "",
        aliases=("clip",),
    )
    phrases: str = param(
        "choice",
        Words("own: defects and products; all: also 100,000 phrases on art and style; auto: by model",
              "own: 결함과 제품 문구, all: 예술과 양식 문구 10만 개까지, auto: 모델에 따라"),
        Words("phrases", "문구"),
        AUTO,
        choices=(AUTO, ALL, OWN),
        aliases=("lists",),
        advanced=True,
    )  # fmt: skip
    caption: str = param(
        "choice",
        Words("Which BLIP writes the first sentence; none: CLIP puts one together",
              "첫 문장을 쓸 BLIP 모델 (none: CLIP이 문장을 고릅니다)"),
        Words("caption", "캡션"),
        NO_CAPTION,
        choices=CAPTIONS,
        aliases=("blip",),
        advanced=True,
    )  # fmt: skip

    @property
    def cost(self) -> float:
        return _STEPS[self.mode]
