"""What a training's one message says while it runs and when it is over: short, each thing once, in both languages."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import pytest
from data_sets import SIDE

from bot.answers import replies
from bot.answers.replies import Shown
from bot.talk import Limits, Message
from bot.training.words import described
from engines.events import Progress
from engines.training.request import Train
from storage.jobs import Job
from storage.results import Result

ROOMY = Limits(file_bytes=10**8, files=10, message_bytes=10**8, edit_every=0.0, text=4000)
TRAIN = Train(
    save_as="nut-scratch", model="mini-inpaint", steps=150, seed=7,
    concepts=tuple(
        {"name": name, "instance_prompt": f"a nut with a {name}", "class_prompt": "a nut", "weight": 1.0,
         "images": [{"image": "i", "mask": "m"}], "normals": ["n"], "class_images": []}
        for name in ("scratch", "dent")
    ),
)  # fmt: skip
SAID = [*((w.en, w.ko) for w in described(TRAIN)), ("It starts at once.", "바로 시작합니다.")]
TOLD: dict[str, Any] = {
    "loss": 0.08125,
    "concepts": {"scratch": 0.081, "dent": 0.112},
    "rate": 2e-3,
    "notes": [["It went on from step 40.", "40번째 스텝부터 이어서 했습니다."]],
}


def job(state: str, language: str, **more: Any) -> Job:
    return Job(
        id=4, key="k", person="kim", name="Kim", platform="console", place={}, language=language, command="train",
        request=TRAIN.to_json(), cost=1.0, state=state, attempts=0, created=0.0, started=0.0, ended=None,
        department="", **({"seconds": None, "error": None, "notes": [list(pair) for pair in SAID]} | more),
    )  # fmt: skip


def shown(*names: str, **recipe: Any) -> list[Shown]:
    return [Shown(Result(4, 0, "0" * 64, n, "image/png", recipe, SIDE, SIDE), Path(f"/x/{n}")) for n in names]


def ended(state: str, language: str = "en", told: dict[str, Any] = TOLD, **more: Any) -> Message:
    made = shown("samples.png", "loss.png", training=told) if state == "done" else []
    return replies.answer(job(state, language, **more), made, limits=ROOMY)


def test_the_report_says_each_thing_once() -> None:
    assert ended("done", seconds=47.2).text.splitlines() == [
        "**#4 · nut-scratch is trained** · 150 steps in 47 s · loss 0.0813 (scratch 0.0810, dent 0.1120)",
        "defect · lora 8 · `mini-inpaint` · learning rate 0.002 · seed 7",
        "It went on from step 40.",
        'Use it: `/inpaint model:nut-scratch prompt:"a nut with a scratch"` with a photo and a mask.',
    ]
    assert ended("done", "ko", seconds=47.2).text.splitlines() == [
        "**#4 · nut-scratch 학습이 끝났습니다** · 150스텝, 47초 · 손실 0.0813 (scratch 0.0810, dent 0.1120)",
        "defect · lora 8 · `mini-inpaint` · 학습률 0.002 · 시드 7",
        "40번째 스텝부터 이어서 했습니다.",
        '사용법: 사진과 마스크를 첨부하여 `/inpaint model:nut-scratch prompt:"a nut with a scratch"`',
    ]


def test_a_report_of_which_no_losses_are_known_is_whole_all_the_same() -> None:
    first, second, last = ended("done", seconds=47.2, told={}).text.splitlines()
    assert first == "**#4 · nut-scratch is trained** · 150 steps in 47 s"
    assert second == "defect · lora 8 · `mini-inpaint` · seed 7"
    assert last.startswith("Use it: ")


def test_the_report_calls_its_asker_and_has_what_one_does_next() -> None:
    report = ended("done", seconds=47.2)
    assert report.mention == "kim"
    assert [b.action for b in report.buttons] == ["try", "compare", "download", "scrap"]
    assert [f.name for f in report.files] == ["samples.png", "loss.png"]
    assert (report.facts["model"], report.facts["seed"]) == ("nut-scratch", 7)


@pytest.mark.parametrize(
    ("language", "reason", "text"),
    [
        ("en", "The disk is full.",
         "**#4 train failed.** The disk is full.\nnut-scratch · defect · lora 8 · `mini-inpaint` · after 2 min 5 s"),
        ("ko", "디스크가 찼습니다.",
         "**#4 train 작업이 실패했습니다.** 디스크가 찼습니다.\n"
         "nut-scratch · defect · lora 8 · `mini-inpaint` · 2분 5초 만에 중단"),
    ],
)  # fmt: skip
def test_a_failure_calls_too_and_shows_how_far_it_came(language: str, reason: str, text: str) -> None:
    failed = job("failed", language, error={language: reason, "code": "disk"}, seconds=125.0)
    said = replies.answer(failed, shown("train-4-samples.png", "train-4-loss.png"), limits=ROOMY)
    assert said.text == text
    assert said.mention == "kim"
    assert [b.action for b in said.buttons] == ["resume", "reroll", "recipe"]
    assert [f.name for f in said.files] == ["train-4-samples.png", "train-4-loss.png"]


def test_what_it_was_given_was_at_fault_and_it_would_be_again() -> None:
    said = ended("failed", error={"en": "A photo is broken.", "code": "input"})
    assert (
        said.text == "**#4 train failed.** A photo is broken.\nnut-scratch · defect · lora 8 · `mini-inpaint`"
    )
    assert [b.action for b in said.buttons] == ["reroll", "recipe"]


@pytest.mark.parametrize(("language", "text"), [("en", "#4 train · cancelled"), ("ko", "#4 train · 취소됨")])
def test_a_cancelled_one_is_a_line_and_calls_nobody(language: str, text: str) -> None:
    said = ended("cancelled", language)
    assert (said.text, said.mention) == (text, "")
    assert [b.action for b in said.buttons] == ["reroll", "recipe"]


@pytest.mark.parametrize(
    ("state", "language", "text", "actions"),
    [
        ("running", "en", "#4 train · ▓▓▓░░░░░░░ 3/10 · 1 min 0 s left", ["pause", "cancel"]),
        ("running", "ko", "#4 train · ▓▓▓░░░░░░░ 3/10 · 1분 0초 남음", ["pause", "cancel"]),
        ("paused", "en", "#4 train · paused", ["resume", "cancel"]),
        ("paused", "ko", "#4 train · 일시정지", ["resume", "cancel"]),
    ],
)
def test_while_it_runs_its_message_is_a_line(
    state: str, language: str, text: str, actions: list[str]
) -> None:
    said = replies.status(job(state, language), progress=Progress(3, 10), eta=60.0)
    assert said.text == text
    assert [b.action for b in said.buttons] == actions


def test_what_does_not_fit_gives_way_to_how_it_is_used() -> None:
    long = dataclasses.replace(ROOMY, text=330)
    many = {**TOLD, "notes": [[f"note {i} " + "x" * 90, "…"] for i in range(9)]}
    said = replies.answer(job("done", "en", seconds=1.0), shown("a.png", training=many), limits=long).text
    assert len(said) <= 330
    assert said.startswith("**#4 · nut-scratch is trained**")
    assert said.endswith("with a photo and a mask.")
