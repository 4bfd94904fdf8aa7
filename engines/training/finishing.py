"""What people see of a training: the note and preview while it runs, the model and report at its end."""

from __future__ import annotations

import io
import json
import resource
import shutil
import sys
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from PIL import Image

from engines import recipe
from engines.diffusion import pictures
from engines.engine import REPORT, Packing
from engines.events import Artifact
from engines.models import references
from engines.picking import Patch
from engines.training import classes, drawing, export
from engines.training.concepts import Concept
from engines.training.export import CARD, LIST, Made, Origin
from engines.training.patches import patches
from engines.training.record import FILE, Record
from engines.training.request import LORA, Train
from engines.training.run import Training, fingerprint
from engines.training.samples import Item
from engines.words import Words

# ------------------------------------------------------------------ while it runs


def note(run: Training) -> Words:
    """The line under the bar, which says the time left."""
    tick = run.timeline.at(min(run.done, run.total - 1))
    if tick.kind == "class":
        made = tick.index // classes.STEPS * classes.BATCH
        return _CLASS(made=made, all=len(run.wanted))
    told = _NOTE(
        step=run.learnt,
        steps=run.timeline.steps,
        loss=_loss(run.record.whole.mean.value) if run.learnt else "–",
        each=_each(run.record),
        rate=f"{run.learner.rate:.1e}",
        memory=_memory(run.parts.device),
    )
    told = told + _AWAY if run.learner.away is not None else told
    return told + _SAMPLING if tick.kind == "sample" and run.round is not None else told


def _each(record: Record) -> str:
    """ " (scratch 0.081, dent 0.112)", where there is more than one."""
    told = [
        f"{n} {_loss(c.mean.value)}" for n, c in zip(record.names, record.concepts, strict=True) if c.steps
    ]
    return f" ({', '.join(told)})" if len(told) > 1 else ""


def _memory(device: str) -> str:
    """What the device's memory holds; the most that the process has held where there is no device."""
    if torch.device(device).type == "cuda":
        return f"{torch.cuda.memory_allocated(device) / 2**30:.1f} GiB"
    unit = 1 if sys.platform == "darwin" else 1024
    return f"{resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit / 2**30:.1f} GiB"


def _loss(value: float) -> str:
    return f"{value:.4f}"


def preview(run: Training) -> bytes:
    """The curves, and under them the newest samples, as JPEG."""
    curves = _picture(drawing.losses(run.record, 5.0, 2.6))
    if not run.pictures:
        return drawing.jpeg(curves)
    newest = run.pictures[max(run.pictures)]
    row = drawing.sheet([(name, [p]) for name, p in zip(_short(run.record.names), newest, strict=True)], 128)
    return drawing.jpeg(drawing.stacked(curves, row))


def _short(names: tuple[str, ...]) -> list[str]:
    return [name[:18] for name in names]


def _picture(data: bytes) -> Image.Image:
    with Image.open(io.BytesIO(data)) as picture:
        picture.load()
        return picture


# ------------------------------------------------------------------ at its end


@dataclass(frozen=True, slots=True)
class Report:
    """All that the packing needs, on the CPU and nobody else's."""

    request: Train
    training: str
    job: int
    folder: Path  # the work's
    base: Origin
    made: Made
    record: Record
    sheet: Image.Image | None
    card: dict[str, Any]
    told: dict[str, Any]  # what the chat's report says of how it went
    concepts: Sequence[Concept]
    files: Mapping[str, Path]  # of the concepts' pictures


def packing(run: Training, models: Path) -> Packing:
    """Take what was trained along; the function writes the model's folder and the report's pictures."""
    run.record.sync()
    report = Report(
        request=run.request,
        training=fingerprint(run.work),
        job=run.work.id,
        folder=run.work.folder,
        base=run.base,
        made=export.made(run.request.method, run.learner.unet, run.learner.text_encoder),
        record=run.record,
        sheet=_sheet(run),
        card=export.card(run.request, run.base, run.concepts, _facts(run)),
        told=_told(run),
        concepts=run.concepts,
        files=run.work.files,
    )
    return lambda: _packed(report, models)


def _facts(run: Training) -> dict[str, Any]:
    """What the card says of how it went."""
    own = zip(run.record.names, run.record.concepts, strict=True)
    return {
        "job": run.work.id,
        "training": fingerprint(run.work),
        "steps": run.timeline.steps,
        "resolution": run.side,
        "learning_rate": run.learner.rates.unet,
        "seconds": round(run.seconds, 1),
        "loss": {name: curve.mean.value for name, curve in own if curve.steps},
        "versions": pictures.versions(),
    }


def _told(run: Training) -> dict[str, Any]:
    """The losses at the end, smoothed, and what happened on the way."""
    own = zip(run.record.names, run.record.concepts, strict=True)
    return {
        "loss": run.record.whole.mean.value,
        "concepts": {name: curve.mean.value for name, curve in own if curve.steps},
        "rate": run.learner.rates.unet,
        "text_encoder": run.request.learns_words,
        "notes": [[note.en, note.ko] for note in run.notes],
    }


def _packed(report: Report, models: Path) -> tuple[Artifact, ...]:
    """On any thread."""
    curves = drawing.losses(report.record)
    folder = report.folder / "model"
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir()
    export.write_weights(folder, report.base, report.made)
    references.write(folder, _learnt(report))
    shutil.copyfile(report.record.path, folder / FILE)
    (folder / "loss.png").write_bytes(curves)
    if (drawn := report.folder / "samples").is_dir():
        shutil.copytree(drawn, folder / "samples")
    if report.sheet is not None:
        report.sheet.save(folder / "samples" / "samples.png")
    (folder / LIST).write_text(_json(export.concepts_list(report.request)), encoding="utf-8")
    card = {**report.card, "files": export.hashes(folder), "finished": round(time.time())}
    (folder / CARD).write_text(_json(card), encoding="utf-8")
    export.place(folder, models, report.request.save_as, report.training)
    return tuple(_artifacts(report, curves))


def _learnt(report: Report) -> list[Patch]:
    """Patches of all references; of the base's too, unless the base is loaded with the model."""
    before = () if report.request.method == LORA else report.base.plan.references
    return [*before, *patches(report.concepts, report.files)]


def _artifacts(report: Report, curves: bytes) -> list[Artifact]:
    """The report's pictures, in the work's folder."""
    name = report.request.save_as
    made = []
    for kind, data in _drawn(report.sheet, curves).items():
        path = recipe.write(report.folder / f"{kind}.png", data)
        size = _picture(data).size
        made.append(Artifact(path, f"{name}-{kind}.png", "image/png", {"training": report.told}, *size))
    return made


def _drawn(sheet: Image.Image | None, curves: bytes) -> dict[str, bytes]:
    """What a report shows: the samples, where there are some, and the curves."""
    return ({} if sheet is None else {"samples": drawing.png(sheet)}) | {"loss": curves}


def leave(run: Training) -> None:
    """What a training that broke shows of how far it came; nothing where it had learnt nothing, or the disk is full."""
    if not run.record.whole.steps:
        return
    folder = run.work.folder / REPORT
    with suppress(OSError):
        folder.mkdir(exist_ok=True)
        for kind, data in _drawn(_sheet(run), drawing.losses(run.record)).items():
            recipe.write(folder / f"{kind}.png", data)


def _sheet(run: Training) -> Image.Image | None:
    """Before, during and after, a row a concept; for inpainting the photo with its hole first."""
    if not run.pictures:
        return None
    last = run.timeline.steps
    titles = {
        after: "before" if after == 0 else "after" if after == last else f"step {after}"
        for after in run.pictures
    }
    columns = [(titles[after], run.pictures[after]) for after in sorted(run.pictures)]
    holes = [_hole(item) for item in run.items]
    photos = [hole for hole in holes if hole is not None]
    shown = [("photo, place to fill", photos), *columns] if photos else columns
    return drawing.sheet(shown, rows=run.record.names)


def _hole(item: Item) -> Image.Image | None:
    if item.pixels is None or item.hole is None:
        return None
    shown = item.pixels.copy()
    shown[item.hole] = shown[item.hole] // 2 + [127, 0, 60]
    return Image.fromarray(shown)


def _json(data: Any) -> str:
    return json.dumps(data, ensure_ascii=False, indent=1)


_NOTE = Words(
    "Step {step}/{steps} · loss {loss}{each} · rate {rate} · {memory}",
    "스텝 {step}/{steps} · 손실 {loss}{each} · 학습률 {rate} · {memory}",
)
_AWAY = Words(
    "· giving way: others need the memory, so the optimizer's state waits on the host",
    "· 메모리 양보 중: 다른 작업을 위해 옵티마이저 상태를 호스트로 옮겨 두었습니다",
)
_SAMPLING = Words("· drawing samples", "· 샘플 생성 중")
_CLASS = Words("Making pictures of the class: {made}/{all}", "클래스 이미지 생성 중: {made}/{all}")
