"""THE MENU: everything a device can be asked for. One frozen form per command.

A request holds words and numbers only; a picture is the name of a stored blob (`sha256` in hex), so a request
can be written to disk and run again years later.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, Self

from engines import fields
from engines.background.request import RemoveBackground as RemoveBackground
from engines.compare_form import Compare as Compare
from engines.forms import param
from engines.interrogation.form import Interrogate as Interrogate
from engines.request import SEEDS as SEEDS
from engines.request import Request as Request
from engines.training.request import Train as Train
from engines.training.review import Review as Review
from engines.words import Refusal, Words

MOST_DRAWN = 16  # pictures and candidates of one request

SAMPLERS = (
    "DPM++ 2M",
    "DPM++ 2M Karras",
    "DPM++ 2M SDE",
    "DPM++ 2M SDE Karras",
    "DPM++ SDE",
    "DPM++ SDE Karras",
    "DPM2",
    "DPM2 Karras",
    "DPM2 a",
    "DPM2 a Karras",
    "Euler",
    "Euler a",
    "Heun",
    "LMS",
    "LMS Karras",
    "DDIM",
    "PNDM",
    "UniPC",
    "LCM",
)


@dataclass(frozen=True, kw_only=True)
class Diffusion(Request):
    """What all three diffusion kinds share, with the defaults people know."""

    prompt: str = fields.prompt()
    negative: str = fields.negative()
    model: str = param(
        "model",
        Words("Which model; /models lists them", "사용할 모델 (/models 로 목록 보기)"),
        Words("model", "모델"),
        "",
        aliases=("ckpt", "checkpoint"),
    )
    seed: int = fields.seed(
        Words("Same seed, same picture; -1 = random", "같은 시드면 같은 그림, -1은 무작위")
    )
    steps: int = fields.steps(50)
    guidance: float | None = fields.guidance()
    count: int = param(
        "int",
        Words("How many pictures", "만들 그림 수"),
        Words("count", "개수"),
        1,
        low=1,
        high=16,
        aliases=("n", "num"),
    )
    sampler: str = param(
        "choice",
        Words("How noise becomes a picture", "노이즈를 그림으로 바꾸는 방법"),
        Words("sampler", "샘플러"),
        "DPM++ 2M Karras",
        choices=SAMPLERS,
        aliases=("scheduler",),
        advanced=True,
    )

    @property
    def each(self) -> int:
        """Candidates that are drawn for each picture."""
        return 1

    @property
    def seeds(self) -> tuple[int, ...]:
        """The seed of all that is drawn, a picture's candidates together: each depends on its own seed alone."""
        return tuple((self.seed + i) % SEEDS for i in range(self.count * self.each))

    @property
    def cost(self) -> float:
        rows = 1 if self.guidance is not None and self.guidance <= 1 else 2
        return float(self.count * self.each * self.steps * rows)


def _size(label: Words) -> Any:
    help = Words("In pixels; empty = the model's own size", "픽셀 단위, 비우면 모델 기본 크기")
    return param("int", help, label, None, low=64, high=2048, step=8, advanced=True)


@dataclass(frozen=True, kw_only=True)
class Txt2Img(Diffusion):
    name: ClassVar[str] = "txt2img"
    title: ClassVar[Words] = Words("Text to image", "글로 그림 만들기")
    about: ClassVar[Words] = Words("Make a picture from words", "글을 그림으로 만듭니다")

    width: int | None = _size(Words("width", "너비"))
    height: int | None = _size(Words("height", "높이"))


@dataclass(frozen=True, kw_only=True)
class Img2Img(Diffusion):
    name: ClassVar[str] = "img2img"
    title: ClassVar[Words] = Words("Image to image", "사진으로 그림 만들기")
    about: ClassVar[Words] = Words("Make a picture from a photo and words", "사진과 글로 새 그림을 만듭니다")

    image: str = fields.picture()
    strength: float = fields.strength(0.75)


@dataclass(frozen=True, kw_only=True)
class Inpaint(Diffusion):
    name: ClassVar[str] = "inpaint"
    title: ClassVar[Words] = Words("Inpaint a defect", "결함 그려 넣기")
    about: ClassVar[Words] = Words(
        "Put a defect (or anything) into a photo where the mask is white",
        "마스크가 흰 부분에 결함 등을 그려 넣습니다",
    )

    image: str = fields.picture()
    mask: str = fields.mask()
    strength: float = fields.strength(1.0)
    grow: int = fields.grow(0, -64)
    tries: int = param(
        "int",
        Words(
            "Draw so many for each picture, keep the one that changes most in the mask",
            "그림마다 이만큼 그려 보고 마스크 안이 가장 많이 바뀐 것을 남김",
        ),
        Words("tries", "시도횟수"),
        1,
        low=1,
        high=8,
        aliases=("best_of", "candidates"),
        advanced=True,
        rare=True,
    )
    feather: int = fields.feather(4)
    invert: bool = fields.invert()

    @classmethod
    def fill(cls, values: Mapping[str, Any]) -> tuple[Self, tuple[Words, ...]]:
        """As every form, and all candidates together are not too many. Raises `Refusal`."""
        form, notes = super().fill(values)
        if form.count * form.tries > MOST_DRAWN:
            ranges = {"tries_to": MOST_DRAWN // form.count, "count_to": MOST_DRAWN // form.tries}
            raise Refusal(_TOO_MANY(count=form.count, tries=form.tries, most=MOST_DRAWN, **ranges))
        return form, notes

    @property
    def each(self) -> int:
        return self.tries


_TOO_MANY = Words(
    "`count` {count} × `tries` {tries} is more than {most}, the most that is drawn at once. With `count` {count}, "
    "`tries` may be 1 to {tries_to}; with `tries` {tries}, `count` may be 1 to {count_to}.",
    "`count` {count} × `tries` {tries}은(는) 한 번에 그릴 수 있는 최대 {most}장을 넘습니다. `count` {count}에는 "
    "`tries`를 1~{tries_to}, `tries` {tries}에는 `count`를 1~{count_to} 범위에서 쓸 수 있습니다.",
)


@dataclass(frozen=True, kw_only=True)
class Cleanup(Request):
    name: ClassVar[str] = "cleanup"
    title: ClassVar[Words] = Words("Clean up a photo", "사진에서 지우기")
    about: ClassVar[Words] = Words(
        "Take what the mask covers (scratch, dust, text) out of a photo",
        "마스크로 덮은 것(흠집, 먼지, 글자)을 사진에서 지웁니다",
    )

    image: str = fields.picture()
    mask: str = fields.mask()
    model: str = param(
        "model",
        Words(
            "cv2: at once, for small spots; big-lama: a network, for large ones",
            "cv2: 작은 자국을 바로 지움, big-lama: 넓은 곳을 신경망으로 지움",
        ),
        Words("model", "모델"),
        "",
        aliases=("ckpt", "checkpoint"),
    )
    grow: int = fields.grow(2, 0)
    feather: int = fields.feather(1)
    invert: bool = fields.invert()


Masked = Inpaint | Cleanup  # what changes a photo where a mask is white

MENU: tuple[type[Request], ...] = (
    Txt2Img,
    Img2Img,
    Inpaint,
    RemoveBackground,
    Cleanup,
    Interrogate,
    Train,
    Compare,
)


HIDDEN: tuple[type[Request], ...] = (Review,)  # made by the bot itself, never asked for by name


def request_named(name: str) -> type[Request]:
    """The request class a stored command name stands for; `KeyError` where there is none."""
    return {form.name: form for form in (*MENU, *HIDDEN)}[name]
