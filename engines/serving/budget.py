"""How many rows a step may take: within a learnt time and within what the memory is good for. Pure: no clock.

Batching trades a person's own latency for everyone's. A step of n rows takes about fixed + n · each seconds; both are
learnt for each key, since a row of 512 × 512 pixels is no row of 64 × 64. Rows are cut where a step would take longer
than the budget, never below `LEAST`: fewer than two guided pictures share nothing, and latency would be no better.

Promises (tests/test_budget.py):
- A step of as many rows as allowed stays within the budget, or has no more than `LEAST` rows.
- No more rows are withheld than the budget asks for, once steps of that size were seen; a slow moment is forgotten.
- Rows that the memory was short for are halved, and come back by one step at a time. Each time they are short again
  it takes twice as long until they are tried again.
- Where it is known what a row takes, a step has no more rows than the memory free at that moment is good for.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Hashable
from dataclasses import dataclass

from engines.engine import Run

LEAST = 4  # rows: two guided pictures
KEYS = 64  # kept; the least recently stepped is forgotten
FORGET = 0.9  # what a step's weight shrinks to with each further one
PROBE = 32  # steps at the memory's limit before one more is tried
PATIENCE = 4096  # such steps at most
SPARE = 0.8  # the part of the free memory that a step may take


@dataclass(slots=True)
class Pace:
    """The seconds of one key's steps as a line over rows: least squares, older steps forgotten."""

    weight: float = 0.0
    rows: float = 0.0
    seconds: float = 0.0
    square: float = 0.0
    product: float = 0.0
    seen: int = 0

    def learn(self, rows: int, seconds: float) -> None:
        """A step of so many rows took so long. A single slow one (the machine was elsewhere) counts for little."""
        self.seen += 1
        if self.seen == 2:
            self.weight = self.rows = self.seconds = self.square = self.product = (
                0.0  # the first one warmed up
            )
        if self.seen > 2:
            seconds = min(seconds, 2.0 * self.of(rows))
        for name, value in (
            ("weight", 1.0), ("rows", rows), ("seconds", seconds), ("square", rows * rows), ("product", rows * seconds),
        ):  # fmt: skip
            setattr(self, name, FORGET * getattr(self, name) + value)

    @property
    def line(self) -> tuple[float, float]:
        """(fixed, each) in seconds, neither below zero."""
        mean, time = self.rows / self.weight, self.seconds / self.weight
        spread = self.square / self.weight - mean * mean
        if (
            spread < 1e-3 * mean * mean
        ):  # all of one size: say that it grows with the rows, which promises least
            return 0.0, time / mean
        each = max((self.product / self.weight - mean * time) / spread, 0.0)
        fixed = time - each * mean
        return (fixed, each) if fixed >= 0 else (0.0, time / mean)

    def of(self, rows: int) -> float:
        """The seconds of a step of so many rows."""
        fixed, each = self.line
        return fixed + each * rows


@dataclass(slots=True)
class Limit:
    """What one key's memory is good for, as far as is known."""

    rows: int
    wait: int = PROBE  # steps at the limit until more is tried
    steps: int = 0  # made there
    tried: bool = False  # whether `rows` is a try


class Budget:
    """The rows of one step. Mutable; belongs to a lane's thread.

    Args:
        most: rows in any case.
        seconds: that a step may take; 0 = no limit.
        free: bytes of memory that are free now; 0 = nobody knows.
    """

    def __init__(self, most: int, seconds: float = 0.0, free: Callable[[], int] = lambda: 0) -> None:
        if most < 1 or seconds < 0:
            raise ValueError("most must be at least 1, and seconds at least 0")
        self._most = most
        self._seconds = seconds
        self._free = free
        self._paces: OrderedDict[Hashable, Pace] = OrderedDict()
        self._limits: dict[Hashable, Limit] = {}

    def allowed(self, run: Run) -> int:
        """Rows of the next step that this run is in at most; at least 1."""
        return min(self.rows(run.key), self._in_memory(run.row_bytes))

    def rows(self, key: Hashable) -> int:
        """Rows of the next step of this key at most, by what was learnt; at least 1."""
        limit = self._limits.get(key)
        return min(self._in_time(key), limit.rows if limit else self._most)

    def _in_memory(self, each: int) -> int:
        free = self._free() if each else 0
        return max(1, int(SPARE * free / each)) if free else self._most

    def _in_time(self, key: Hashable) -> int:
        pace = self._paces.get(key)
        if pace is None or not pace.seen or not self._seconds:
            return self._most
        fixed, each = pace.line
        fits = self._most if each <= 0 else int((self._seconds - fixed) / each + 1e-6)
        return min(self._most, max(LEAST, fits))

    def learn(self, key: Hashable, rows: int, seconds: float) -> None:
        """A step of this key went well."""
        self._paces.setdefault(key, Pace()).learn(rows, seconds)
        self._paces.move_to_end(key)
        while len(self._paces) > KEYS:
            old, _ = self._paces.popitem(last=False)
            self._limits.pop(old, None)
        limit = self._limits.get(key)
        if limit is not None and rows >= limit.rows - 1:
            limit.steps += 1
            if limit.steps >= limit.wait:
                limit.rows, limit.steps, limit.tried = limit.rows + 1, 0, True
                if limit.rows >= self._most:
                    del self._limits[key]

    def short(self, key: Hashable, rows: int) -> None:
        """The memory was not enough for a step of so many rows."""
        limit = self._limits.get(key)
        wait = PROBE if limit is None else min(2 * limit.wait, PATIENCE)
        known = rows - 1 if limit is not None and limit.tried else rows // 2
        self._limits[key] = Limit(max(1, known), wait)
        self._paces.setdefault(key, Pace())
