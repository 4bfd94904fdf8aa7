"""Interrogation by steps: many people's pictures and phrases through one CLIP, a batch a tick.

The first run with a CLIP also makes the vectors of the phrase lists, some a step; whoever comes meanwhile waits for
the same steps. Each run follows its script (`engines.interrogation.modes`); runs that need the same go together.
"""

from __future__ import annotations

import dataclasses
import json
import math
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from PIL import Image

from engines import compose, recipe
from engines.engine import Packing, Run, Work
from engines.events import Artifact
from engines.interrogation import phrase_tables
from engines.interrogation.blip import Blip
from engines.interrogation.clip import Clip
from engines.interrogation.form import AUTO, NO_CAPTION, Interrogate
from engines.interrogation.form import OWN as OWN_ONLY
from engines.interrogation.models import Finders, Found
from engines.interrogation.modes import (
    LEARNT,
    OURS,
    PACKAGE,
    Answer,
    Asking,
    Caption,
    Look,
    Need,
    Score,
    Sort,
    Texts,
    asking,
)
from engines.interrogation.phrase_tables import Pace, Table
from engines.interrogation.phrases import FLAVORS, phrase_list
from engines.interrogation.told import told_of
from engines.models.memory import Blueprint, Lease, Models
from engines.models.near import Near
from engines.prepared import Prepared
from engines.words import Refusal, Words

KEPT = 16  # pictures read that wait to begin


@dataclass(slots=True, kw_only=True)
class Reading(Run):
    """One picture being read."""

    lease: Lease
    found: Found
    request: Interrogate
    tables: tuple[Table, ...]
    script: Asking
    picture: Image.Image
    need: Need | None = None
    seen: torch.Tensor | None = None  # (width,): the picture
    fits: list[torch.Tensor] = field(default_factory=list)  # of the texts asked for so far
    answer: Answer | None = None

    @property
    def clip(self) -> Clip:
        clip: Clip = self.lease.things["clip"]
        return clip


class Interrogation(Near):
    """The engine of /interrogate on one device.

    Args:
        models: the device's models, shared with the other engines.
        folder: where the vectors of phrases are kept.
    """

    def __init__(self, models: Models, find: Finders, folder: Path, device: str = "cpu") -> None:
        super().__init__(models)
        self._find = find
        self._folder, self._device = folder, device
        self._paces: dict[str, Pace] = {}
        self._pictures = Prepared[Image.Image](KEPT)

    def prepare(self, work: Work) -> None:
        """Fetch and hash the models, read the picture, off the device's thread."""
        request = _asked(work)
        self._pictures.put(work, _opened(work, request.image))
        found = self._find.clip(request.model)
        self._models.expect(*self.named(work), self._plan(request, found, _sort(request, found)))

    def named(self, work: Work) -> tuple[str, str]:
        """Its CLIP, its phrases and its BLIP together."""
        request = _asked(work)
        return f"{request.model} {request.phrases} {request.caption}", request.name

    def begin(self, work: Work) -> Reading:
        """Raises `Refusal` for a picture that is gone, or models that cannot be had."""
        request = _asked(work)
        picture = self._pictures.take(work) or _opened(work, request.image)
        found = self._find.clip(request.model)
        sort = _sort(request, found)
        lease = self._models.take(self._plan(request, found, sort))
        tables = tuple(lease.things[f"phrases {name}"] for name in sort.lists)
        clip: Clip = lease.things["clip"]
        script = asking(request.mode, sort, clip.full, blip=request.caption != NO_CAPTION)
        run = Reading(
            work=work, total=1, lease=lease, found=found, request=request, tables=tables, script=script,
            picture=picture, notes=[_SMALL] if found.small else [],
        )  # fmt: skip
        run.need = next(script)
        self._place(run)
        return run

    def _plan(self, request: Interrogate, found: Found, sort: Sort) -> Blueprint:
        """CLIP, the tables and BLIP as one model, so that all of it is in memory together."""
        plan = found.plan
        tables = [
            phrase_tables.piece(phrase_list(name), plan.hash, found.width, self._folder, self._device)
            for name in sort.lists
        ]
        blip = self._find.blip(request.caption).pieces if request.caption != NO_CAPTION else ()
        return dataclasses.replace(plan, pieces=(*plan.pieces, *tables, *blip))

    def advance(self, runs: Sequence[Reading]) -> None:
        """One batch through CLIP. All or none: scripts go on only when everything is computed."""
        table = _unfilled(runs[0])
        if table is not None:
            self._fill(runs[0], table)
            for run in runs:
                run.done += 1
                self._place(run)
            return
        acts: dict[type[Any], Callable[[Sequence[Reading]], list[Any]]] = {
            Look: self._look,
            Score: self._score,
            Texts: self._texts,
            Caption: self._caption,
        }
        told = acts[type(runs[0].need)](runs)
        for run, answer in zip(runs, told, strict=True):
            self._go_on(run, answer)

    def _fill(self, run: Reading, table: Table) -> None:
        pace, began = self._pace(run), time.monotonic()
        count = min(pace.texts, table.missing)
        phrase_tables.fill(run.clip, table, count)
        pace.took(count, time.monotonic() - began)

    def _look(self, runs: Sequence[Reading]) -> list[Any]:
        clip = runs[0].clip
        seen = clip.of_pictures([clip.pixels(run.picture) for run in runs])
        for run, vector in zip(runs, seen, strict=True):
            run.seen = vector
        return [None] * len(runs)

    def _score(self, runs: Sequence[Reading]) -> list[Any]:
        names = [table.phrases.name for table in runs[0].tables]
        sizes = [len(table.phrases.texts) for table in runs[0].tables]
        fits = phrase_tables.scores(torch.stack([_seen(run) for run in runs]), runs[0].tables)
        return [dict(zip(names, row.split(sizes), strict=True)) for row in fits]

    def _texts(self, runs: Sequence[Reading]) -> list[Any]:
        """A fair part of each run's texts; the answer is a part of theirs."""
        pace, began = self._pace(runs[0]), time.monotonic()
        each = max(1, pace.texts // len(runs))
        parts = [_left(run)[:each] for run in runs]
        vectors = runs[0].clip.of_texts([text for part in parts for text in part])
        shares = torch.split(vectors, [len(part) for part in parts])
        fits = [(share @ _seen(run)).cpu() for share, run in zip(shares, runs, strict=True)]
        pace.took(sum(map(len, parts)), time.monotonic() - began)
        return fits

    def _caption(self, runs: Sequence[Reading]) -> list[Any]:
        blip: Blip = runs[0].lease.things["blip"]
        return list(blip.sentences([run.picture for run in runs]))

    def _go_on(self, run: Reading, answer: Any) -> None:
        """Send the script its answer, once that is whole."""
        run.done += 1
        if isinstance(run.need, Texts):
            run.fits.append(answer)
            if sum(map(len, run.fits)) < len(run.need.texts):
                self._place(run)
                return
            answer, run.fits = torch.cat(run.fits), []
        try:
            run.need = run.script.send(answer)
        except StopIteration as end:
            run.answer, run.total = end.value, run.done
        else:
            self._place(run)

    def _place(self, run: Reading) -> None:
        """With whom it can share its next step, and how many there will be."""
        pace, clip = self._pace(run), run.found.plan.hash
        unfilled, need = _unfilled(run), run.need
        to_fill = sum(math.ceil(table.missing / pace.texts) for table in run.tables)
        if unfilled is not None:
            run.key = ("fill", clip, unfilled.phrases.hash)
            run.note = _FILLING
        elif isinstance(need, Score):
            run.key = ("score", clip, tuple(id(table) for table in run.tables))
        else:
            run.key = (type(need).__name__, clip, run.request.caption)
        own = max(1, math.ceil(len(_left(run)) / pace.texts)) if isinstance(need, Texts) else 1
        after = need.after * own if isinstance(need, Texts) else need.after if need else 0
        run.total = run.done + to_fill + own + after

    def _pace(self, run: Reading) -> Pace:
        return self._paces.setdefault(run.found.plan.hash, Pace())

    def preview(self, run: Reading) -> bytes | None:
        return None

    def finish(self, run: Reading) -> Packing:
        """The answer as a file of JSON; the same is the artifact's recipe, which chats show as words."""
        assert run.answer is not None
        told, path = told_of(run.request, run.found.plan, run.answer), run.work.folder / "interrogate.json"

        def written() -> tuple[Artifact, ...]:
            data = json.dumps(told, ensure_ascii=False, indent=1).encode()
            return (Artifact(recipe.write(path, data), path.name, "application/json", told),)

        return written

    def suspend(self, run: Reading) -> None:
        run.script.close()
        run.seen, run.fits = None, []
        run.lease.close()


def _sort(request: Interrogate, found: Found) -> Sort:
    """The embedded CLIP has never heard of artists: unless told otherwise it is asked about what it was taught."""
    if request.phrases == AUTO and found.small:
        return LEARNT
    return OURS if request.phrases == OWN_ONLY or not phrase_list(FLAVORS).texts else PACKAGE


def _unfilled(run: Reading) -> Table | None:
    return next((table for table in run.tables if not table.ready), None)


def _left(run: Reading) -> tuple[str, ...]:
    """Texts of its need that CLIP was not asked about yet."""
    assert isinstance(run.need, Texts)
    return run.need.texts[sum(map(len, run.fits)) :]


def _seen(run: Reading) -> torch.Tensor:
    assert run.seen is not None
    return run.seen


def _asked(work: Work) -> Interrogate:
    assert isinstance(work.request, Interrogate), work.request
    return work.request


def _opened(work: Work, blob: str) -> Image.Image:
    path = work.files.get(blob)
    if path is None or not path.exists():
        raise Refusal(_NO_FILE)
    with Image.open(path) as picture:
        picture.load()
        return compose.flattened(picture)


_FILLING = Words("learning the phrases, once", "문구를 익히는 중 (처음 한 번)")
_SMALL = Words(
    "This was read by the small embedded CLIP, which knows nine products and five defects. With "
    "`model:ViT-L-14/openai` any photo can be read; an administrator fetches it once.",
    "내장된 작은 CLIP으로 읽었습니다. 이 모델은 제품 아홉 가지와 결함 다섯 가지만 압니다. 다른 사진에는 관리자가 "
    "한 번 내려받아 둔 `model:ViT-L-14/openai` 모델을 쓰십시오.",
)
_NO_FILE = Words(
    "The picture is no longer stored here. Send it again.",
    "그림이 더 이상 저장되어 있지 않습니다. 다시 보내 주십시오.",
)
