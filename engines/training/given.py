"""What a person gives to learn from. Read before anything is promised; a stored training keeps the concepts alone."""

from __future__ import annotations

from dataclasses import dataclass

from engines.fields import job_number
from engines.forms import param
from engines.request import Request
from engines.words import Words


@dataclass(frozen=True, kw_only=True)
class Given(Request):
    """The data set, and the words for what is in it."""

    dataset: str = param(
        "archive",
        Words(
            "A zip: MVTec AD layout, concepts_list.json, or photos and masks",
            "zip 파일: MVTec AD 구조, concepts_list.json, 또는 사진과 마스크",
        ),
        Words("dataset", "데이터"),
        "",
        high=1000,
        aliases=("data", "zip", "photos"),
    )
    prompts: str = param(
        "text",
        Words(
            "name = with the defect | without it; a line or ; for each concept",
            "이름 = 결함 있는 문장 | 없는 문장. 개념마다 한 줄 또는 ; 로 구분",
        ),
        Words("prompts", "문장"),
        "",
        high=6000,
        long=True,
        aliases=("prompt", "instance_prompt"),
    )
    only: str = param(
        "text",
        Words("Only these concepts of the data set, e.g. scratch, nut*", "이 개념만 학습. 예: scratch, nut*"),
        Words("only", "개념선택"),
        "",
        high=500,
    )
    draft: int = job_number(
        Words("Change a training that is not started yet", "아직 시작하지 않은 학습을 바꿉니다"),
        Words("draft", "초안"),
    )
    start: bool = param(
        "flag",
        Words("Start at once, without asking", "묻지 않고 바로 시작"),
        Words("start", "바로시작"),
        False,
    )
