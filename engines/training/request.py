"""/train as a form: what can be asked of a training, with the defaults people know.

Names and defaults are those of diffusers' DreamBooth scripts; the defect mode's are of DefectFill (arXiv 2503.13985)
and its relatives. Importing this loads no torch.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, Self

from engines.forms import param
from engines.request import SEEDS
from engines.training.finer import Finer
from engines.words import Refusal, Words

NORMAL, INPAINTING, DEFECT = "normal", "normal-inpainting", "defect"
MODES = (DEFECT, NORMAL, INPAINTING)
FULL, LORA = "full", "lora"
AUTO = "auto"
MOST_CONCEPTS = 10
STEPS_A_PICTURE, FEWEST_STEPS, MOST_AUTOMATIC = 100, 200, 1000
SAMPLE_STEPS = 20  # of one sample's sampling
CLASS_STEPS = 25  # of the sampling of a picture of the class
PASSES = 3  # a training step costs about three forward passes: one forward, two for the gradients

Concept = Mapping[str, Any]  # see `Train.concepts`


@dataclass(frozen=True, kw_only=True)
class Train(Finer):
    """A training. `concepts` is filled from the data set, never typed:

    {"name", "instance_prompt", "class_prompt", "weight" (1.0), "images": [{"image": blob, "mask": blob or ""}],
    "normals": [blob], "class_images": [blob]}
    """

    name: ClassVar[str] = "train"
    title: ClassVar[Words] = Words("Train a model", "모델 학습")
    about: ClassVar[Words] = Words(
        "Teach a model new defects from a few photos (DreamBooth)",
        "사진 몇 장으로 모델에 새로운 결함을 학습시킵니다 (DreamBooth)",
    )

    save_as: str = param(
        "text",
        Words("The new model's name: letters, digits, - and _", "새 모델 이름: 글자, 숫자, -, _"),
        Words("name", "이름"),
        high=60,
        aliases=("name", "called", "new_model"),
    )
    mode: str = param(
        "choice",
        Words(
            "defect: real masks. normal: whole pictures. normal-inpainting: random masks",
            "defect: 실제 마스크, normal: 그림 전체, normal-inpainting: 무작위 마스크",
        ),
        Words("mode", "방식"),
        DEFECT,
        choices=MODES,
    )
    method: str = param(
        "choice",
        Words(
            "lora: a small file used on the base. full: a whole new model",
            "lora: 원본에 얹어 쓰는 작은 파일, full: 모델 전체를 새로 학습",
        ),
        Words("method", "학습법"),
        LORA,
        choices=(LORA, FULL),
    )
    model: str = param(
        "model",
        Words("The base to start from; /models lists them", "시작할 원본 모델 (/models 로 목록 보기)"),
        Words("base", "원본모델"),
        "",
        aliases=("base", "ckpt", "checkpoint"),
    )
    steps: int | None = param(
        "int",
        Words(
            "Training steps; empty = 100 a photo, 200 to 1000", "학습 스텝 수. 비우면 사진당 100, 200~1000"
        ),
        Words("steps", "스텝"),
        None,
        low=1,
        high=50_000,
        aliases=("max_train_steps",),
    )
    epochs: int | None = param(
        "int",
        Words("Instead of steps: how often each photo is seen", "스텝 대신: 각 사진을 학습할 횟수"),
        Words("epochs", "에포크"),
        None,
        low=1,
        high=10_000,
        aliases=("num_train_epochs",),
    )
    resolution: int | None = param(
        "int",
        Words("Side in pixels; empty = the base's own size", "한 변의 픽셀 수. 비우면 원본 모델의 크기"),
        Words("resolution", "해상도"),
        None,
        low=64,
        high=1024,
        step=8,
        aliases=("size",),
    )
    batch: int = param(
        "int",
        Words(
            "Photos a step; the same number of good ones beside",
            "한 스텝의 사진 수. 정상 사진도 같은 수만큼 더함",
        ),
        Words("batch", "배치"),
        1,
        low=1,
        high=32,
        aliases=("train_batch_size", "batch_size"),
    )
    learning_rate: float | None = param(
        "float",
        Words(
            "Empty = 5e-6 (full) or 2e-4 (lora), more for small models",
            "비우면 full 5e-6, lora 2e-4이며 작은 모델은 더 크게 잡습니다",
        ),
        Words("learning rate", "학습률"),
        None,
        low=1e-8,
        high=0.1,
        aliases=("lr",),
    )
    rank: int = param(
        "int",
        Words("lora: how much it can hold", "lora: 담을 수 있는 양"),
        Words("rank", "랭크"),
        8,
        low=1,
        high=128,
        aliases=("lora_rank",),
    )
    text_encoder: str = param(
        "choice",
        Words(
            "Train the text encoder too, which tells concepts apart; auto: in mode defect",
            "개념을 구별하는 텍스트 인코더도 함께 학습. auto: defect 방식에서만",
        ),
        Words("text encoder", "텍스트인코더"),
        AUTO,
        choices=(AUTO, "yes", "no"),
        aliases=("train_text_encoder",),
    )
    prior: bool = param(
        "flag",
        Words(
            "Learn beside pictures of the normal class, so that it is not forgotten",
            "정상 사진을 함께 학습하여 원래 아는 것을 잊지 않게 합니다",
        ),
        Words("prior preservation", "사전보존"),
        True,
        aliases=("with_prior_preservation", "prior_preservation"),
    )
    validation_prompt: str = param(
        "text",
        Words(
            "A prompt to show samples of; empty = each concept's own",
            "샘플용 프롬프트. 비우면 개념별 프롬프트",
        ),
        Words("validation prompt", "검증프롬프트"),
        "",
        high=1000,
    )
    seed: int = param(
        "int",
        Words("Same seed, same training; -1 = random", "같은 시드면 같은 학습 결과, -1은 무작위"),
        Words("seed", "시드"),
        -1,
        low=-1,
        high=SEEDS - 1,
    )
    concepts: tuple[dict[str, Any], ...] = ()
    earlier: int = 0  # the failed job whose checkpoint it goes on from

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Self:
        said = data.get("text_encoder", AUTO)
        if isinstance(said, bool):  # stored while it was a yes or no
            data = {**data, "text_encoder": "yes" if said else "no"}
        return super().from_json(data)

    @property
    def model_kind(self) -> str:
        """The kind of work the base must be made for."""
        return "txt2img" if self.mode == NORMAL else "inpaint"

    @property
    def learns_words(self) -> bool:
        """Whether the text encoder is trained too: the names of several defects are apart only then (decision 92)."""
        return self.text_encoder == "yes" or (self.text_encoder == AUTO and self.mode == DEFECT)

    @property
    def photos(self) -> int:
        """How many pictures are learnt, normal ones not counted."""
        return sum(len(concept.get("images", ())) for concept in self.concepts)

    @property
    def total_steps(self) -> int:
        """Optimizer steps: as asked, by epochs, or by the number of pictures."""
        if self.steps is not None:
            return self.steps
        a_step = self.batch * self.accumulation
        if self.epochs is not None:
            return max(1, -(-self.epochs * self.photos // a_step))
        return max(FEWEST_STEPS, min(STEPS_A_PICTURE * self.photos, MOST_AUTOMATIC))

    @property
    def rows(self) -> int:
        """Rows of one batch through the UNet, about."""
        passes = 2 if self.mode == DEFECT and self.object_weight else 1
        return max(1, round(self.batch * (passes + (self.normals if self.prior else 0))))

    @property
    def cost(self) -> float:
        return float(PASSES * self.total_steps * self.rows * self.accumulation)

    @property
    def classes_made(self) -> tuple[str, ...]:
        """The concepts whose class pictures are made first: DreamBooth's prior where no good photo is given."""
        if not (self.prior and self.normals and self.prior_weight and self.class_images):
            return ()
        return tuple(
            str(c.get("name") or "")
            for c in self.concepts
            if c.get("class_prompt") and not c.get("normals") and not c.get("class_images")
        )

    @property
    def drawing_cost(self) -> float:
        """What its samples and class pictures cost beside the steps, in the same forward passes."""
        rounds = 2 + ((self.total_steps - 1) // self.validate_every if self.validate_every else 0)
        samples = rounds * len(self.concepts) * SAMPLE_STEPS
        made = len(self.classes_made) * self.class_images * CLASS_STEPS
        return 2.0 * (samples + made)  # with the prompt and without it

    @property
    def blobs(self) -> tuple[str, ...]:
        return tuple(dict.fromkeys(blob for concept in self.concepts for blob in blobs_of(concept)))


def blobs_of(concept: Concept) -> Iterator[str]:
    """Every stored file a concept names."""
    for image in concept.get("images", ()):
        yield image["image"]
        if image.get("mask"):
            yield image["mask"]
    yield from concept.get("normals", ())
    yield from concept.get("class_images", ())


_NAME = re.compile(r"\w[\w.-]{0,59}")
_DEVICES = re.compile(
    r"(con|prn|aux|nul|com\d|lpt\d)(\..*)?", re.IGNORECASE
)  # names that Windows cannot store


def check_name(name: str) -> None:
    """`Refusal` where `name` cannot be a model's folder."""
    if not _NAME.fullmatch(name) or name.endswith(".") or _DEVICES.fullmatch(name):
        raise Refusal(_BAD_NAME(name=name[:60]))


_BAD_NAME = Words(
    "A model cannot be called “{name}”. Use letters, digits, `-` and `_`, 60 at most, beginning with a letter or digit.",
    "모델 이름으로 “{name}”은(는) 쓸 수 없습니다. 글자나 숫자로 시작하여 글자, 숫자, `-`, `_`를 60자까지 쓸 수 있습니다.",
)
