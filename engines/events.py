"""What a device tells about a run: a closed union, one stream for recording, answering and measuring."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from engines.words import Words


@dataclass(frozen=True, slots=True)
class Artifact:
    """A result file, complete on disk when told of."""

    path: Path
    name: str  # what a person sees as the file's name
    media: str = "image/png"
    recipe: dict[str, Any] = field(default_factory=dict)  # all that is needed to make it again
    width: int = 0  # pixels; 0 where it is no picture
    height: int = 0


@dataclass(frozen=True, slots=True)
class Started:
    """The run left the queue and has a device."""

    device: str


@dataclass(frozen=True, slots=True)
class Progress:
    """`step` of `total` done; `preview` is a small encoded picture (PNG or JPEG bytes), or nothing new."""

    step: int
    total: int
    note: Words | None = None
    preview: bytes | None = None
    seconds: float = 0.0  # on the device so far


@dataclass(frozen=True, slots=True)
class Finished:
    artifacts: tuple[Artifact, ...]
    seconds: float  # on the device, waiting not counted
    notes: tuple[Words, ...] = ()  # what the person should know, e.g. "the mask was grown by 4 pixels"


@dataclass(frozen=True, slots=True)
class Failed:
    """The run is over without a result. `reason` says the cause and what to do.

    The code "stopped" means that the pool was stopped while the run was in flight: interrupted, not failed, so
    the job belongs back into the queue.
    """

    reason: Words
    code: str = "error"  # a stable word: "memory", "disk", "model", "input", "stopped", "error"
    trace: str = ""  # for the log only, never for a chat
    seconds: float = 0.0  # on the device, until then


Event = Started | Progress | Finished | Failed
