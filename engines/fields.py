"""Fields that several requests share, said once: the same word means the same, with the same bounds, everywhere."""

from __future__ import annotations

from typing import Any

from engines.forms import ENDLESS, param
from engines.request import SEEDS
from engines.words import Words

PROMPT = Words("What the picture shows", "그림에 담을 내용")
PICTURE_HELP = Words("The photo to start from", "원본 사진")
MASK_HELP = Words(
    "White = change. Or: alpha, colour, auto, box=x,y,w,h",
    "흰색 = 바꿀 곳. 또는 alpha, colour, auto, box=x,y,w,h",
)


def job_number(help: Words, label: Words = Words("job", "작업"), **more: Any) -> Any:
    """The number of a job; 0 where none is said."""
    return param("int", help, label, 0, low=0, high=ENDLESS, **more)


def prompt() -> Any:
    return param("text", PROMPT, Words("prompt", "프롬프트"), high=2000, long=True)


def picture() -> Any:
    return param("picture", PICTURE_HELP, Words("photo", "사진"), aliases=("photo", "source", "init"))


def mask() -> Any:
    return param("mask", MASK_HELP, Words("mask", "마스크"), "", aliases=("where",))


def grow(default: int, low: int) -> Any:
    help = Words("Widen the mask by so many pixels", "마스크를 이만큼(픽셀) 넓힘")
    return param("int", help, Words("grow", "확장"), default, low=low, high=256, advanced=True)


def feather(default: int) -> Any:
    help = Words("Soft edge outside the mask, in pixels", "마스크 바깥 가장자리를 부드럽게(픽셀)")
    label = Words("feather", "부드럽게")
    return param("int", help, label, default, low=0, high=128, advanced=True, rare=True)


def invert() -> Any:
    help = Words("Change what is black instead", "검은 부분을 대신 바꿈")
    return param("flag", help, Words("invert", "반전"), False, advanced=True)


def strength(default: float) -> Any:
    help = Words(
        "How far from the photo: near 0 keeps it, 1 ignores it",
        "원본에서 벗어나는 정도: 0에 가까우면 유지, 1이면 무시",
    )
    return param("float", help, Words("strength", "강도"), default, low=0.01, high=1.0)


def negative() -> Any:
    help = Words("What it must not show", "나오지 않아야 할 내용")
    label = Words("negative", "네거티브")
    return param("text", help, label, "", high=2000, aliases=("negative_prompt", "neg"))


def seed(help: Words) -> Any:
    return param("int", help, Words("seed", "시드"), -1, low=-1, high=SEEDS - 1)


def steps(default: int) -> Any:
    help = Words("Sampling steps", "샘플링 스텝 수")
    return param("int", help, Words("steps", "스텝"), default, low=1, high=150)


def guidance() -> Any:
    help = Words(
        "How strictly the prompt is followed; empty = what suits the model, 7.5 or 3 for small ones",
        "프롬프트를 따르는 정도. 비우면 모델에 맞게 7.5, 작은 모델은 3",
    )
    aliases = ("cfg", "guidance_scale", "cfg_scale")
    return param("float", help, Words("guidance", "가이던스"), None, low=1.0, high=20.0, aliases=aliases)
