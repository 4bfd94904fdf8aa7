"""What each tick of a training is: making class pictures, learning, or drawing samples. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Kind = Literal["class", "sample", "learn"]


@dataclass(frozen=True, slots=True)
class Tick:
    """One `advance` of a run."""

    kind: Kind
    index: int  # learn: the step, from 0. class, sample: the tick within its span
    span: int = 0  # ticks of this span; the last one has index span − 1
    after: int = 0  # sample: how many steps were learnt before it


@dataclass(frozen=True, slots=True)
class _Span:
    kind: Kind
    start: int  # its first tick
    length: int
    after: int  # steps learnt before it


class Timeline:
    """The plan of a run, from which a position alone says what to do.

    Args:
        steps: optimizer steps.
        class_ticks: ticks for making class pictures, before all else.
        sample_ticks: ticks that one round of samples takes; 0 for none.
        every: steps between two rounds; 0: only before the first step and after the last.
    """

    def __init__(self, steps: int, class_ticks: int = 0, sample_ticks: int = 0, every: int = 0) -> None:
        self.steps = steps
        rounds = sorted({0, *range(every, steps, every or steps), steps}) if sample_ticks else [0, steps]
        self._spans: list[_Span] = []
        self._total = 0
        if class_ticks:
            self._add("class", class_ticks, 0)
        for at, upto in zip(rounds, [*rounds[1:], steps], strict=True):
            if sample_ticks:
                self._add("sample", sample_ticks, at)
            if upto > at:
                self._add("learn", upto - at, at)

    def _add(self, kind: Kind, length: int, after: int) -> None:
        self._spans.append(_Span(kind, self._total, length, after))
        self._total += length

    @property
    def total(self) -> int:
        """Ticks in all."""
        return self._total

    def at(self, position: int) -> Tick:
        """What the tick after `position` ticks is."""
        span = next(s for s in reversed(self._spans) if s.start <= position)
        index = position - span.start
        if span.kind == "learn":
            return Tick("learn", span.after + index, span.length, span.after + index)
        return Tick(span.kind, index, span.length, span.after)

    def learnt(self, position: int) -> int:
        """Optimizer steps done after `position` ticks."""
        return sum(min(max(position - s.start, 0), s.length) for s in self._spans if s.kind == "learn")

    def after_step(self, step: int) -> int:
        """The position right after `step` optimizer steps; 0 for none."""
        if step == 0:
            return 0
        span = next(s for s in self._spans if s.kind == "learn" and s.after < step <= s.after + s.length)
        return span.start + step - span.after
