"""A small honest engine without torch: a run is a sum that grows by a number drawn from its own seed each step.

It keeps count of what it holds, can be told to fail in every way an engine can, and passes the conformance suite.
What it does it can write into a journal, for whoever is in another process.
"""

from __future__ import annotations

import json
import os
import random
import signal
import threading
import time
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar

from engines.devices import Device
from engines.engine import Busy, Ending, Run, Work
from engines.events import Artifact
from engines.requests import Request
from engines.serving.lane import Pace
from engines.serving.pool import Pool
from engines.words import Refusal, Words

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
    row_bytes: int = 0  # that it says a row takes
    refuse: bool = False  # it is not begun
    die_at: int = -1  # this step kills the process

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
    journal: Path | None = None

    def begin(self, work: Work) -> Counting:
        self._on_one_thread()
        request = work.request
        assert isinstance(request, Count)
        self.on_begin(work)
        if request.refuse:
            raise Refusal(Words("not this one", "이것은 안 됩니다"))
        if self.held >= self.seats:
            raise Busy(Words("all seats are taken", "자리가 없습니다"))
        self.held += 1
        self._note("begin", work.id)
        return Counting(
            work=work,
            total=request.steps,
            key=request.group,
            rows=request.rows,
            row_bytes=request.row_bytes,
            background=request.background,
            dice=random.Random(request.seed),
        )

    def advance(self, runs: Sequence[Counting]) -> None:
        self._on_one_thread()
        self._note("advance", [run.work.id for run in runs])
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
            if run.done == _asked(run).die_at:
                os.kill(os.getpid(), signal.SIGKILL)
        for run in runs:
            run.sum += run.dice.random()
            run.done += 1
            run.note = Words(f"sum {run.sum:.2f}", f"합 {run.sum:.2f}")

    def preview(self, run: Counting) -> bytes | None:
        return f"{run.sum:.3f}".encode()

    def finish(self, run: Counting) -> Any:
        self._on_one_thread()
        self.on_finish(run)
        self._note("finish", run.work.id)
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
        self._note("suspend", run.work.id, cancelled=run.cancelled)
        self.held -= 1

    def _note(self, what: str, of: Any, **more: Any) -> None:
        self.log.append((what, of))
        if self.journal is not None:
            with self.journal.open("a") as file:
                file.write(json.dumps({"what": what, "of": of, **more}) + "\n")

    def _on_one_thread(self) -> None:
        me = threading.get_ident()
        self.thread = self.thread or me
        assert self.thread == me, "an engine belongs to one thread"


def _asked(run: Run) -> Count:
    assert isinstance(run.work.request, Count)
    return run.work.request


def toy_pool(seat: object = None, **toy: Any) -> Pool:
    """A pool with one toy, made where it is to run."""
    return Pool({Count: lambda device: Toy(**toy)}, [CPU], pace=Pace(rows=16, preview_every=2))


@asynccontextmanager
async def pool_of(toy: Toy, **more: Any) -> AsyncIterator[Pool]:
    """A pool at work with this toy."""
    pool = Pool({Count: lambda device: toy}, [CPU], **more)
    await pool.start()
    try:
        yield pool
    finally:
        await pool.stop(5)
