"""The one idea: everything on a device is a run of steps. The nouns every engine and the pool share."""

from __future__ import annotations

from collections.abc import Callable, Generator, Hashable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

from engines.events import Artifact
from engines.requests import Request
from engines.words import Refusal, Words

REPORT = "report"  # folder in a work's: pictures of how far a run came that failed


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
    row_bytes: int = 0  # of memory that a row takes during a step, beside the model; 0 = little, or unknown
    done: int = 0
    notes: list[Words] = field(default_factory=list)  # told with the result
    note: Words | None = None  # told with the next progress, e.g. the loss
    cost: float = 0.0  # work of one step in row-steps, for fair shares; 0 means `rows`
    background: bool = False  # gives way to people who wait, down to a configured least share (training)
    cancelled: bool = False  # set before `suspend` where nobody wants it any more: nothing has to be kept

    @property
    def finished(self) -> bool:
        return self.done >= self.total


class Busy(Refusal):
    """No for now: other runs hold what this one needs. The pool tries again when one of them has ended."""


Packing = Callable[[], tuple[Artifact, ...]]
Made = tuple[Artifact, ...] | Packing
Ending = Generator[None, None, Made]


class Engine(Protocol):
    """Called only on the device's thread; each method may take about one step's time, no more.

    An exception other than `Refusal` is a bug and fails the run it belongs to. The pool always calls `suspend`,
    once, for every run that `begin` gave it.
    """

    def begin(self, work: Work) -> Run:
        """Make everything ready for the first step, or go on from a checkpoint in `work.folder`.

        Raises `Refusal` when the request cannot be done, `Busy` when it can be later. What it took is given
        back before it raises.
        """
        ...

    def advance(self, runs: Sequence[Any]) -> None:
        """One step for all of them (equal `key`), all or none: if it raises, no run has moved.

        Adds 1 to each run's `done`.
        """
        ...

    def preview(self, run: Any) -> bytes | None:
        """A small encoded picture of the run so far, or None."""
        ...

    def finish(self, run: Any) -> Made:
        """Turn a finished run into files in `work.folder`, complete when this returns.

        Or do here only what needs the device (the decoding), and return a function that does the rest (encoding,
        writing) and gives the files: the pool calls it on another thread, after `suspend`, so it must hold all
        that it needs and touch neither the run's device memory nor the engine. It may add to the run's notes.
        """
        ...

    def suspend(self, run: Any) -> None:
        """Give the run's memory back: it ended, was cancelled, or must go on elsewhere from its checkpoint.

        A run that failed may leave PNGs in `work.folder / REPORT`, which are shown with the failure.
        """
        ...


@runtime_checkable
class Prepares(Protocol):
    """What an engine may have beside: slow work before `begin` that needs no device."""

    def prepare(self, work: Work) -> None:
        """Called on another thread (several at once), before `begin`: fetch and hash the model's files, say.

        Raises `Refusal`. It must not touch what the device's thread owns.
        """
        ...


@runtime_checkable
class Ends(Protocol):
    """What an engine may have beside: its `finish` in pieces, where it takes longer than a step."""

    def ending(self, run: Any) -> Ending:
        """Does and gives what `finish` does, and yields wherever others may step: each piece takes about one step.

        Closed before `suspend` where nobody wants the result any more.
        """
        ...


@runtime_checkable
class GivesWay(Protocol):
    """What an engine of background runs may have beside: memory that is given to people who wait, and taken back."""

    def lend(self, run: Any) -> int:
        """Move to the host what the run can do without; the bytes that are free now, 0 = nothing to give.

        The run goes on, slower, to the same result, and says so in its `note`.
        """
        ...

    def reclaim(self, run: Any) -> bool:
        """Take it back; False where there is still no room, and the run goes on as it is."""
        ...


@runtime_checkable
class Prefetches(Protocol):
    """What an engine may have beside: bringing a work's model nearer, and knowing how near it is."""

    def prefetch(self, work: Work, wanted: Callable[[], bool]) -> None:
        """Called on another thread after `prepare`: read from disk what `begin` will need on the device.

        Keeps to its memory, takes nothing from anybody, and leaves nothing behind once it is no longer `wanted`.
        """
        ...

    def ready(self, work: Work) -> bool:
        """Whether `begin` would find its model on the device. At once, from any thread."""
        ...
