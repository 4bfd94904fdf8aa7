"""The one idea: everything on a device is a run of steps. The nouns every engine and the pool share."""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

from engines.events import Artifact
from engines.requests import Request
from engines.words import Words


@dataclass(frozen=True, slots=True)
class Work:
    """One job as the pool sees it: what is asked, by whom, with which files, and where results go."""

    id: int  # the job's number
    person: str  # fairness is between people
    request: Request
    folder: Path  # this job's own folder for results and checkpoints; exists
    files: Mapping[str, Path] = field(default_factory=dict)  # blob name in the request → file to read
    weight: float = 1.0  # a person's share of the device


@dataclass(slots=True)
class Run:
    """One request in flight on a device. Mutable; touched only by the device's thread.

    Engines subclass it with their own state (latents, sampler, optimizer).
    """

    work: Work
    total: int  # steps until it is done
    key: Hashable = None  # runs of equal key may share one `advance`
    rows: int = 1  # how many rows of a batch one step of this run takes
    done: int = 0
    notes: list[Words] = field(default_factory=list)  # told with the result
    note: Words | None = None  # told with the next progress, e.g. the loss

    @property
    def finished(self) -> bool:
        return self.done >= self.total


class Engine(Protocol):
    """Called only on the device's thread; each method may take about one step's time, no more."""

    def begin(self, work: Work) -> Run:
        """Make everything ready for the first step, or go on from a checkpoint in `work.folder`."""
        ...

    def advance(self, runs: Sequence[Any]) -> None:
        """One step for all of them (equal `key`), all or none: if it raises, no run has moved."""
        ...

    def preview(self, run: Any) -> bytes | None:
        """A small encoded picture of the run so far, or None."""
        ...

    def finish(self, run: Any) -> tuple[Artifact, ...]:
        """Turn a finished run into files in `work.folder`, complete when this returns."""
        ...

    def suspend(self, run: Any) -> None:
        """Give the run's memory back: it ended, was cancelled, or must go on elsewhere from its checkpoint."""
        ...
