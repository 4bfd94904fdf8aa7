"""The targets, and what was measured: the table of the READMEs, from benchmarks/results. Imports nothing heavy."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

from engines.words import Language, Words

RESULTS = Path(__file__).parent / "results"


@dataclass(frozen=True, slots=True)
class Goal:
    """One target, and where its figure is."""

    name: Words
    file: str  # of benchmarks/results, without .json
    path: tuple[str, ...]  # into it; with wildcards: the worst of all that match
    floor: float
    aim: float
    less: bool = False  # is better
    unit: str = ""
    scale: float = 1.0  # what is kept × this is what is shown

    def measured(self, results: Mapping[str, Any]) -> float | None:
        """The figure; None where it was not measured."""
        found = [value * self.scale for value in _at(results.get(self.file), self.path)]
        return (max if self.less else min)(found) if found else None

    def met(self, figure: float) -> bool:
        """Whether the floor is."""
        return figure <= self.floor if self.less else figure >= self.floor


def _at(value: Any, path: Sequence[str]) -> list[float]:
    if not path:
        return [float(value)] if isinstance(value, int | float) else []
    if not isinstance(value, dict):
        return []
    head, *rest = path
    chosen = [v for k, v in value.items() if fnmatchcase(k, head)]
    return [figure for one in chosen for figure in _at(one, rest)]


BESIDE = "one person beside a training"
GOALS = (
    Goal(
        Words("pictures a second against `pipe()`, 8 people, one core", "초당 그림 수, `pipe()` 대비(8명, 코어 1개)"),
        "throughput", ("*", "times faster"), 2.0, 3.0, unit="×",
    ),
    Goal(
        Words("the same on a GPU, SD-1.5 and SD-2 shapes", "위와 같음, GPU에서 SD 1.5와 SD 2 구조"),
        "gpu", ("*", "times faster than pipe()"), 2.3, 3.0, unit="×",
    ),
    Goal(
        Words("UNet ticks / calls alone, 8 mixed requests", "UNet 틱 / 단독 호출, 서로 다른 요청 8개"),
        "throughput", ("*", "ticks / solo calls"), 0.40, 0.34, less=True,
    ),
    Goal(
        Words("warm job against a reload for each job, p50", "작업마다 다시 불러올 때 대비, p50"),
        "throughput", ("*", "p50 of a job alone: loaded anew / warm"), 1.6, 6.0, unit="×",
    ),
    Goal(
        Words("p95 beside a training / idle", "학습 중 p95 / 학습 없을 때"),
        "latency", (BESIDE, "p95 gated / idle"), 1.25, 1.10, less=True,
    ),
    Goal(
        Words("training's throughput kept when nobody asks", "요청이 없을 때 학습 속도 유지"),
        "latency", (BESIDE, "training's throughput kept"), 90, 97, unit=" %", scale=100,
    ),
    Goal(
        Words("bot and queue a job, p50", "작업당 봇과 대기열 시간, p50"),
        "overhead", ("p50 ms",), 5, 1, less=True, unit=" ms",
    ),
    Goal(
        Words("bot and queue a job, p95", "작업당 봇과 대기열 시간, p95"),
        "overhead", ("p95 ms",), 20, 5, less=True, unit=" ms",
    ),
    Goal(
        Words("event loop's lag under load, p99", "부하 중 이벤트 루프 지연, p99"),
        "overhead", ("loop lag p99 ms",), 50, 20, less=True, unit=" ms",
    ),
    Goal(
        Words("Jain index by cost, hog and five", "비용 기준 Jain 지수, 독점자와 다섯 명"),
        "fairness", ("*, ours", "Jain"), 0.95, 0.99,
    ),
    Goal(
        Words("light person's p95 slowdown / k", "가벼운 사용자의 p95 지연 / k"),
        "fairness", ("*, ours", "over k"), 2.0, 1.2, less=True,
    ),
    Goal(
        Words("wait told within a factor of two", "안내한 대기 시간이 2배 이내"),
        "waiting", ("within a factor of two %",), 90, 100, unit=" %",
    ),
    Goal(
        Words("over the memory budget in 10,000 events", "이벤트 1만 번 중 메모리 한도 초과"),
        "cache", ("over budget events",), 0, 0, less=True,
    ),
    Goal(
        Words("switch of a LoRA", "LoRA 전환"),
        "cache", ("LoRA switch ms",), 50, 10, less=True, unit=" ms",
    ),
    Goal(
        Words("ranking 112,153 phrases, p50", "문구 112,153개 순위, p50"),
        "ranking", ("ranking ms p50",), 300, 100, less=True, unit=" ms",
    ),
    Goal(
        Words("training step with 10 concepts / 1", "개념 10개 학습 스텝 / 1개"),
        "dreambooth-concepts", ("cost per step 10 concepts / 1",), 1.1, 1.0, less=True, unit="×",
    ),
)  # fmt: skip

HEADS = (
    Words("goal", "목표"), Words("floor", "하한"), Words("aim", "지향"), Words("measured", "측정"), Words("met", "충족"),
)  # fmt: skip
YES, NO, NOT_YET = Words("yes", "예"), Words("**no**", "**아니요**"), Words("not measured", "측정 안 함")


def results() -> dict[str, Any]:
    """Every file of benchmarks/results by its name."""
    return {path.stem: json.loads(path.read_text("utf-8")) for path in sorted(RESULTS.glob("*.json"))}


def table(language: Language) -> str:
    """The targets in Markdown."""
    found = results()
    rows = [[head.of(language) for head in HEADS], ["---"] * len(HEADS)]
    for goal in GOALS:
        figure, sign = goal.measured(found), "≤" if goal.less else "≥"
        said = NOT_YET.of(language) if figure is None else f"{figure:.4g}{goal.unit}"
        met = "–" if figure is None else (YES if goal.met(figure) else NO).of(language)
        rows.append(
            [
                goal.name.of(language),
                f"{sign} {goal.floor:g}{goal.unit}",
                f"{goal.aim:g}{goal.unit}",
                said,
                met,
            ]
        )
    return "\n".join(f"| {' | '.join(row)} |" for row in rows)
