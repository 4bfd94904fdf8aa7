"""What a training would be, in sentences: settings, concepts, time. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any

from bot.datasets.layouts import prompts_of
from bot.locale.markup import code, cut
from bot.locale.numbers import duration
from engines.training.request import LORA, Train
from engines.words import Words, dotted

if TYPE_CHECKING:
    from storage.jobs import Job

UNCHANGED = ("dataset", "prompts", "only", "draft", "start")  # fields about the giving, not the training
ALIKE = ("model", "method", "mode", "resolution", "learns_words")  # of trainings whose steps take alike
FEWEST = 20  # steps from which a training tells how long one takes: shorter ones are all beginning
CHANGED_MOST = ("save_as", "mode", "method", "steps", "crop")  # that a small form has room for


def described(train: Train) -> list[Words]:
    """One line of settings, then one for each concept."""
    told = [settings(train), *([WITH_WORDS] if train.learns_words else [])]
    head = _HEAD(name=cut(train.save_as, 60), settings=dotted(told), steps=train.total_steps)
    return [head, *(_concept(number, concept) for number, concept in enumerate(train.concepts, 1))]


def settings(train: Train) -> Words:
    """Mode, method and base."""
    method = f"{train.method} {train.rank}" if train.method == LORA else train.method
    return _SETTINGS(mode=train.mode, method=method, model=train.model)


def made_first(train: Train) -> list[Words]:
    """That pictures of the class are made before the first step, and how many."""
    names = train.classes_made
    told = ", ".join(f"**{cut(name, 60)}**" for name in names)
    return [_MADE(names=told, n=len(names) * train.class_images)] if names else []


def _concept(number: int, concept: Mapping[str, Any]) -> Words:
    images, normals = concept["images"], len(concept["normals"])
    masks = sum(bool(one["mask"]) for one in images)
    good = _GOOD(n=normals) if normals else _NONE
    made = _CLASS(n=len(concept["class_images"])) if concept["class_images"] else _NONE
    weight = _WEIGHT(weight=f"{concept['weight']:g}") if concept["weight"] != 1 else _NONE
    prompts = code(concept["instance_prompt"]) + (
        f" | {code(concept['class_prompt'])}" if concept["class_prompt"] else ""
    )
    return _CONCEPT(
        number=number, name=concept["name"], photos=len(images), masks=masks,
        good=good, made=made, weight=weight, prompts=prompts,
    )  # fmt: skip


def facts(train: Train) -> dict[str, Any]:
    """The same for programs."""
    shown = [
        {
            "name": concept["name"],
            "photos": len(concept["images"]),
            "masks": sum(bool(one["mask"]) for one in concept["images"]),
            "normals": len(concept["normals"]),
            "instance_prompt": concept["instance_prompt"],
            "class_prompt": concept["class_prompt"],
        }
        for concept in train.concepts
    ]
    return {"name": train.save_as, "mode": train.mode, "steps": train.total_steps, "concepts": shown}


def step_seconds(train: Train, before: Iterable[Job]) -> float | None:
    """Seconds a step took lately, in trainings like this one; None where there was none."""
    for job in before:
        then = Train.from_json(job.request)
        same = all(getattr(then, f) == getattr(train, f) for f in ALIKE)
        made = len(then.classes_made) == len(train.classes_made)
        if same and made and job.seconds and then.total_steps >= FEWEST:
            scale = (train.rows * train.accumulation) / (then.rows * then.accumulation)
            return job.seconds / then.total_steps * scale
    return None


def time_needed(train: Train, seconds: float, measured: bool) -> Words:
    """How long it will take, about: its steps of so many `seconds`, and its samples and class pictures where they are
    not in these already, as in what trainings took."""
    beside = 0.0 if measured else train.drawing_cost / train.cost
    return (_TIME if measured else _GUESS)(time=duration(seconds * train.total_steps * (1 + beside)))


def given(train: Train, draft: int) -> dict[str, str]:
    """What stands in the form that changes it."""
    fields = {name: getattr(train, name) for name in CHANGED_MOST}
    concepts = ((c["name"], c["instance_prompt"], c["class_prompt"]) for c in train.concepts)
    shown = {name: str(value) for name, value in fields.items() if value is not None}
    return {"draft": str(draft), **shown, "prompts": prompts_of(concepts)}


def line(train: Train, draft: int) -> str:
    """The same as words to be sent again with changes."""
    concepts = ((c["name"], c["instance_prompt"], c["class_prompt"]) for c in train.concepts)
    prompts = prompts_of(concepts).replace("\n", "; ").replace('"', "”")
    return f'/train draft:{draft} steps:{train.total_steps} prompts:"{prompts}"'


_HEAD = Words("**{name}** · {settings} · {steps} steps", "**{name}** · {settings} · {steps}스텝")
_SETTINGS = Words("{mode} · {method} · `{model}`", "{mode} · {method} · `{model}`")
WITH_WORDS = Words("text encoder too", "텍스트 인코더 포함")
_MADE = Words(
    "{names}: no good photos are given, so {n} pictures of the class are made first (`class_images`).",
    "{names}: 정상 사진이 없어 먼저 클래스 그림 {n}장을 만듭니다 (`class_images`).",
)
_CONCEPT = Words(
    "{number}. **{name}**: {photos} photos, {masks} masks{good}{made}{weight} · {prompts}",
    "{number}. **{name}**: 사진 {photos}장, 마스크 {masks}개{good}{made}{weight} · {prompts}",
)
_NONE = Words(*("",) * 2)
_GOOD = Words(", {n} good ones", ", 정상 {n}장")
_CLASS = Words(", {n} class pictures", ", 클래스 그림 {n}장")
_WEIGHT = Words(", weight {weight}", ", 비중 {weight}")
_TIME = Words("It takes about {time}, as trainings like it did.", "비슷한 학습으로 보아 약 {time} 걸립니다.")
_GUESS = Words(
    "It takes about {time}, while nobody else uses the device.", "다른 작업이 없으면 약 {time} 걸립니다."
)
