"""Phrases as vectors: made once for each CLIP's weights, kept on disk, and ranked against a picture.

A table is filled some phrases at a time, so that filling it is steps like any other work, shared by all who wait
for it.
"""

from __future__ import annotations

import hashlib
import json
import logging
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save

from engines.interrogation.clip import Clip
from engines.interrogation.phrases import PhraseList
from engines.models.memory import Piece
from engines.recipe import write

log = logging.getLogger(__name__)

CHUNK = 2048  # phrases of which clip-interrogator ranks a part at a time
AIM = 0.25  # seconds a step of texts should take
FEWEST, MOST = 32, 2048  # texts of one step


@dataclass(slots=True)
class Pace:
    """How many texts a step takes: as many as fit into `AIM` seconds. Mutable."""

    texts: int = 64

    def took(self, texts: int, seconds: float) -> None:
        if texts >= self.texts:  # a smaller step says little
            wanted = self.texts * min(max(AIM / max(seconds, 1e-4), 0.5), 2.0)
            self.texts = int(min(max(wanted, FEWEST), MOST))


class Table:
    """The vectors of one list, those of the first `have` phrases in `order` known so far. Mutable, shared.

    Only the device's thread touches it. Vectors are rounded to half precision, as they are on disk, so that a
    picture's ranking is the same before and after a restart.
    """

    def __init__(self, phrases: PhraseList, vectors: torch.Tensor, path: Path, clip: str) -> None:
        self.phrases, self.vectors, self._path, self._clip = phrases, vectors, path, clip
        self.have = 0
        # phrases of like length together: a batch costs what its longest costs
        self.order = sorted(range(len(phrases.texts)), key=lambda i: len(phrases.texts[i]))

    @property
    def ready(self) -> bool:
        return self.have >= len(self.order)

    @property
    def missing(self) -> int:
        return len(self.order) - self.have

    def next(self, count: int) -> list[str]:
        """The next phrases to be asked of CLIP."""
        return [self.phrases.texts[i] for i in self.order[self.have : self.have + count]]

    def add(self, vectors: torch.Tensor) -> None:
        """The vectors of what `next` gave. The last ones make it complete, and it is written to disk."""
        rows = self.order[self.have : self.have + len(vectors)]
        self.vectors[torch.tensor(rows, device=self.vectors.device)] = vectors.half().to(self.vectors)
        self.have += len(rows)
        if self.ready:
            self._keep()

    def _keep(self) -> None:
        halves = self.vectors.half().cpu()
        facts = {"clip": self._clip, "list": self.phrases.hash, "sum": _sum(halves)}
        try:
            self._path.parent.mkdir(parents=True, exist_ok=True)
            write(self._path, save({"vectors": halves}, facts))
        except OSError as error:  # it is made again next time
            log.warning("could not keep the vectors of %s: %s", self.phrases.name, error)


def piece(phrases: PhraseList, clip: str, width: int, folder: Path, device: str) -> Piece:
    """The table of a list for the CLIP whose weights have the hash `clip`, as part of a model in memory."""
    hash = hashlib.sha256(json.dumps([clip, phrases.hash]).encode()).hexdigest()
    path = folder / f"{phrases.name}-{hash[:24]}.safetensors"
    size = len(phrases.texts) * width * 4
    return Piece(f"phrases {phrases.name}", hash, size, lambda: opened(phrases, clip, width, path, device))


def opened(phrases: PhraseList, clip: str, width: int, path: Path, device: str) -> Table:
    """The table as it lies on disk, or an empty one to be filled. A damaged file counts as none."""
    shape = (len(phrases.texts), width)
    found = _read(path, phrases, clip, shape) if path.exists() else None
    if found is None:
        return Table(phrases, torch.zeros(shape, device=device), path, clip)
    table = Table(phrases, found.float().to(device), path, clip)
    table.have = shape[0]
    return table


def _read(path: Path, phrases: PhraseList, clip: str, shape: tuple[int, int]) -> torch.Tensor | None:
    try:
        with safe_open(path, framework="pt") as file:
            facts, vectors = file.metadata() or {}, file.get_tensor("vectors")
    except (OSError, SafetensorError, ValueError) as error:
        log.warning("%s is damaged and is made anew: %s", path.name, error)
        return None
    halves: torch.Tensor = vectors
    wanted = {"clip": clip, "list": phrases.hash, "sum": _sum(halves)}
    if facts == wanted and halves.shape == shape and halves.dtype == torch.float16:
        return halves
    log.warning("%s is damaged and is made anew", path.name)
    return None


def _sum(halves: torch.Tensor) -> str:
    return hashlib.sha256(halves.contiguous().numpy().tobytes()).hexdigest()


def fill(clip: Clip, table: Table, count: int) -> None:
    """One step of filling: `count` phrases at most."""
    table.add(clip.of_texts(table.next(count)))


@torch.inference_mode()
def scores(seen: torch.Tensor, tables: Sequence[Table]) -> torch.Tensor:
    """How well each phrase of all tables fits each picture, cosines: (pictures, width) → (pictures, phrases)."""
    return torch.cat([seen @ table.vectors.T for table in tables], dim=1).cpu()


def ranked(fit: torch.Tensor, count: int, *, reverse: bool = False, chunk: int = CHUNK) -> list[int]:
    """The `count` best (or, reversed, worst) fitting phrases, best first, as clip-interrogator ranks them.

    From a list longer than `chunk` every part of `chunk` phrases sends the same number of its own best, so the
    shortlist of a long list is drawn from all of it. (A shortlist of the worst is told worst first here; the
    library, which uses it as a set, sorts it the other way.)
    """
    fit = -fit if reverse else fit
    if len(fit) <= chunk:
        return [int(i) for i in fit.topk(min(count, len(fit))).indices]
    parts = -(-len(fit) // chunk)
    each = chunk // parts
    padded = torch.nn.functional.pad(fit, (0, parts * chunk - len(fit)), value=float("-inf"))
    best = padded.view(parts, chunk).topk(min(each, chunk))
    where = (best.indices + torch.arange(parts)[:, None] * chunk).flatten()
    values = best.values.flatten()
    where, values = where[values.isfinite()], values[values.isfinite()]
    return [int(where[i]) for i in values.topk(min(count, len(values))).indices]
