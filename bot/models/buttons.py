"""The buttons that belong to a trained model. A button knows the training's job; the model may have been renamed since."""

from __future__ import annotations

from bot.talk import Action, Button
from engines.words import Language, Words

LABELS: dict[Action, Words] = {
    "try": Words("Try it", "써 보기"),
    "compare": Words("Compare", "비교하기"),
    "download": Words("Download", "다운로드"),
    "scrap": Words("Delete model", "모델 삭제"),
    "scrapped": Words("Really delete", "정말 삭제"),
}


def after_training(job: int, language: Language, *, own: bool = True) -> tuple[Button, ...]:
    """Under a finished training, and under a model's details: what one can do with it.

    `own`: whether the reader may delete it; who presses is asked again.
    """
    buttons = [_button("try", job, language), _button("compare", job, language)]
    buttons.append(_button("download", job, language, index=1))
    return (*buttons, _button("scrap", job, language)) if own else tuple(buttons)


def confirmation(job: int, language: Language) -> Button:
    return _button("scrapped", job, language)


def next_part(job: int, language: Language, part: int) -> Button:
    label = f"{LABELS['download'].of(language)} {part}"
    return Button("download", job, label, part)


def _button(action: Action, job: int, language: Language, index: int = 0) -> Button:
    return Button(action, job, LABELS[action].of(language), index, danger=action in ("scrap", "scrapped"))
