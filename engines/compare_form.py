"""/compare: the same prompts and seeds through several models, as one table. Importing this loads no torch."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

from engines import fields
from engines.forms import param
from engines.request import Part, Request
from engines.words import Words

MOST_MODELS, MOST_ROWS = 6, 10


@dataclass(frozen=True, kw_only=True)
class Compare(Request):
    """`columns` and `rows` are filled in on accepting, never typed.

    A column: {"model", "kinds", "mode", "concepts"}: a name, what it can do, how it was trained ("" for not at all),
    how many concepts that taught. A row: {"label", "prompt"}.
    """

    name: ClassVar[str] = "compare"
    title: ClassVar[Words] = Words("Compare models", "모델 비교")
    about: ClassVar[Words] = Words(
        "The same prompts and seeds through several models, as a table",
        "같은 프롬프트와 시드로 여러 모델을 한 표에서 비교합니다",
    )

    prompt: str = param(
        "text",
        Words(
            "Several with | between; empty = what the models were taught",
            "여러 개는 | 로 구분. 비우면 모델이 배운 개념",
        ),
        Words("prompt", "프롬프트"),
        "",
        high=2000,
        long=True,
    )
    models: str = param(
        "text",
        Words(
            "Names with commas between; empty = the newest trained and their base",
            "쉼표로 구분. 비우면 최근 학습한 모델과 원본",
        ),
        Words("models", "모델들"),
        "",
        high=600,
        aliases=("model",),
    )
    image: str = param(
        "picture",
        Words("A photo to inpaint; without one, from words alone", "인페인팅할 사진. 없으면 글로만 만듭니다"),
        Words("photo", "사진"),
        "",
        aliases=("photo", "source"),
    )
    mask: str = fields.mask()
    negative: str = fields.negative()
    seed: int = fields.seed(
        Words("The same for every picture; -1 = random", "모든 그림에 같은 시드, -1은 무작위")
    )
    steps: int = fields.steps(25)
    guidance: float | None = fields.guidance()
    columns: tuple[dict[str, Any], ...] = ()
    rows: tuple[dict[str, str], ...] = ()
    language: str = "en"  # of the words in the table

    @property
    def kind(self) -> str:
        """What each model is asked for."""
        return "inpaint" if self.image else "txt2img"

    @property
    def cells(self) -> tuple[tuple[int, int], ...]:
        """Row and column of each part; a model that cannot do it has none."""
        able = [j for j, column in enumerate(self.columns) if self.kind in column["kinds"]]
        return tuple((i, j) for i in range(len(self.rows)) for j in able)

    @property
    def parts(self) -> tuple[Part, ...]:
        """A picture for each row and model."""
        return tuple(
            Part(_file_name(i, self.rows[i], self.columns[j]), self._cell(self.rows[i], self.columns[j]))
            for i, j in self.cells
        )

    def _cell(self, row: Mapping[str, str], column: Mapping[str, Any]) -> Request:
        from engines.requests import Inpaint, Txt2Img  # they come after this one in the menu

        common: dict[str, Any] = {
            "prompt": row["prompt"],
            "model": column["model"],
            "negative": self.negative,
            "seed": self.seed,
            "steps": self.steps,
            "guidance": self.guidance,
        }
        return Inpaint(**common, image=self.image, mask=self.mask) if self.image else Txt2Img(**common)


def _file_name(number: int, row: Mapping[str, str], column: Mapping[str, Any]) -> str:
    """Of one picture, without an ending."""
    words = (row["label"], column["model"].rpartition("/")[2])
    label, model = (re.sub(r"[^\w-]+", "-", word).strip("-")[:40] or "x" for word in words)
    return f"{number + 1}-{label}-{model}"
