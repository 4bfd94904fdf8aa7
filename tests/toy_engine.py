"""A small honest engine without torch: a run is a sum that grows by a number drawn from its own seed each step.

It keeps count of what it holds, can be told to fail in every way an engine can, and passes the conformance suite.
"""

from __future__ import annotations

import random
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar

from engines.devices import Device
from engines.engine import Busy, Ending, Run, Work
from engines.events import Artifact
from engines.requests import Request
from engines.words import Words

CPU = Device("cpu", "a toy", 0)


@dataclass(frozen=True, kw_only=True)
class Count(Request):
    """Draw `steps` numbers and write their sum."""

    name: ClassVar[str] = "count"
    title: ClassVar[Words] = Words("Count", "세기")
    about: ClassVar[Words] = Words("Draw numbers", "수를 뽑습니다")

    seed: int = 0
    steps: int = 5
    group: str = ""  # runs of one group share a step
    rows: int = 1
    background: bool = False
    pieces: int = 1  # of its finish
    bad_at: int = -1  # this step raises
    memory_at: int = -1  # this step needs more memory than there is
    fits: int = 10**9  # rows of a step that fit into memory

    @property
    def cost(self) -> float:
        return float(self.steps * self.rows)


@dataclass(slots=True, kw_only=True)
class Counting(Run):
    dice: random.Random
    sum: float = 0.0


@dataclass
class Toy:
    """See the module. `log` tells what was called, `held` how many runs have memory."""

    held: int = 0
    log: list[Any] = field(default_factory=list)
    pack: bool = False  # finish hands out a packing
    slow: float = 0.0  # seconds a step
    on_begin: Callable[[Work], None] = lambda work: None
    on_advance: Callable[[Sequence[Counting]], None] = lambda runs: None
    on_finish: Callable[[Counting], None] = lambda run: None
    on_pack: Callable[[], None] = lambda: None
    seats: int = 10**9  # runs at once; beyond that it is `Busy`
    thread: int = 0
    piece: float = 0.0  # seconds of each piece of a finish

    def begin(self, work: Work) -> Counting:
        self._on_one_thread()
        request = work.request
        assert isinstance(request, Count)
        self.on_begin(work)
        if self.held >= self.seats:
            raise Busy(Words("all seats are taken", "자리가 없습니다"))
        self.held += 1
        self.log.append(("begin", work.id))
        return Counting(
            work=work,
            total=request.steps,
            key=request.group,
            rows=request.rows,
            background=request.background,
            dice=random.Random(request.seed),
        )

    def advance(self, runs: Sequence[Counting]) -> None:
        self._on_one_thread()
        self.log.append(("advance", [run.work.id for run in runs]))
        time.sleep(self.slow)
        self.on_advance(runs)
        fits = min(_asked(run).fits for run in runs)
        if sum(run.rows for run in runs) > fits:
            raise MemoryError("too many rows")
        for run in runs:
            if run.done == _asked(run).memory_at:
                raise MemoryError("too large")
            if run.done == _asked(run).bad_at:
                raise ValueError("bad step")
        for run in runs:
            run.sum += run.dice.random()
            run.done += 1

    def preview(self, run: Counting) -> bytes | None:
        return f"{run.sum:.3f}".encode()

    def finish(self, run: Counting) -> Any:
        self._on_one_thread()
        self.on_finish(run)
        self.log.append(("finish", run.work.id))
        said, folder = repr(run.sum), run.work.folder

        def packing() -> tuple[Artifact, ...]:
            self.on_pack()
            path = folder / "sum.txt"
            path.write_text(said)
            return (Artifact(path, "sum.txt", "text/plain"),)

        return packing if self.pack else packing()

    def ending(self, run: Counting) -> Ending:
        for _ in range(_asked(run).pieces):
            self.log.append(("piece", run.work.id))
            time.sleep(self.piece)
            yield
        return self.finish(run)

    def suspend(self, run: Counting) -> None:
        self._on_one_thread()
        self.log.append(("suspend", run.work.id))
        self.held -= 1

    def _on_one_thread(self) -> None:
        me = threading.get_ident()
        self.thread = self.thread or me
        assert self.thread == me, "an engine belongs to one thread"


def _asked(run: Run) -> Count:
    assert isinstance(run.work.request, Count)
    return run.work.request
