"""What a training writes down: a row a step in training_log.csv, from which the curves and the note are drawn."""

from __future__ import annotations

import csv
import io
import os
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from engines.training.learner import Step

FILE = "training_log.csv"
SMOOTH = 0.95  # of the old value in the smoothed loss


@dataclass(slots=True)
class Smoothed:
    """A running mean that forgets, true from the first value on (the bias is corrected as Adam does)."""

    _sum: float = 0.0
    _weight: float = 0.0

    def add(self, value: float) -> float:
        self._sum = SMOOTH * self._sum + (1 - SMOOTH) * value
        self._weight = SMOOTH * self._weight + (1 - SMOOTH)
        return self.value

    @property
    def value(self) -> float:
        return self._sum / self._weight if self._weight else 0.0


@dataclass(slots=True)
class Curve:
    """One line of the plot."""

    steps: list[int] = field(default_factory=list)
    losses: list[float] = field(default_factory=list)
    smooth: list[float] = field(default_factory=list)
    mean: Smoothed = field(default_factory=Smoothed)

    def add(self, step: int, loss: float) -> None:
        self.steps.append(step)
        self.losses.append(loss)
        self.smooth.append(self.mean.add(loss))


class Record:
    """The log of one training. Rows are appended; going on from step k keeps those up to k, byte for byte.

    Args:
        names: the concepts' names.
        step: how many steps are done; rows beyond were written by steps that the checkpoint does not know.
    """

    def __init__(self, folder: Path, names: Sequence[str], step: int = 0) -> None:
        self.path = folder / FILE
        self.names = tuple(names)
        self.whole = Curve()
        self.concepts = [Curve() for _ in names]
        kept = self._read(step)
        part = folder / f".{FILE}"
        part.write_text(kept, encoding="utf-8", newline="")
        os.replace(part, self.path)
        self._file = self.path.open("a", encoding="utf-8", newline="")

    def _read(self, step: int) -> str:
        """The log's text up to and with `step`, and the curves from it."""
        out = io.StringIO(newline="")
        writer = csv.writer(out, lineterminator="\n")
        writer.writerow(["step", "loss", "learning_rate", *(f"loss: {name}" for name in self.names)])
        if step and self.path.is_file():
            with self.path.open(encoding="utf-8", newline="") as file:
                for row in list(csv.reader(file))[1:]:
                    if len(row) == 3 + len(self.names) and int(row[0]) <= step:
                        writer.writerow(row)
                        self._draw(int(row[0]), float(row[1]), row[3:])
        return out.getvalue()

    def _draw(self, step: int, loss: float, own: Sequence[str]) -> None:
        self.whole.add(step, loss)
        for curve, told in zip(self.concepts, own, strict=True):
            if told:
                curve.add(step, float(told))

    def add(self, number: int, step: Step) -> None:
        """Step `number` (from 1) is done."""
        told = step.concepts or {}
        own = [repr(told[i]) if i in told else "" for i in range(len(self.names))]
        csv.writer(self._file, lineterminator="\n").writerow([number, repr(step.loss), repr(step.rate), *own])
        self._draw(number, step.loss, own)

    def sync(self) -> None:
        """All rows are on the disk when this returns; before a checkpoint that counts on them."""
        self._file.flush()
        os.fsync(self._file.fileno())

    def close(self) -> None:
        self._file.close()
