"""How much of each defect the base model can see: its VAE keeps an eighth of a side, and a hair crack may not survive.

Each picture is cropped as the training crops it, sent through the VAE and back. What survives of the defect is the
share of its contrast to the surroundings that is still there: ⟨s, ŝ⟩ / ⟨s, s⟩ with s the crop less a smooth
continuation of what is around the mask, ŝ the same of what came back. What the shrinking to the training's size
took before that counts too.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from scipy import ndimage

from engines import compose
from engines.compose import Bits
from engines.diffusion.latents import pixels
from engines.engine import Run, Work
from engines.events import Artifact
from engines.models.memory import Lease, Models, Parts
from engines.training import drawing, timing, views
from engines.training import run as settled
from engines.training.request import DEFECT, PASSES, Train
from engines.training.review import Review
from engines.words import Words, alike

HALF = 0.5  # of a defect has to survive
CLOSER = (2.0, 1.5, 1.2)  # crops that are tried where it does not
SHOWN = 2  # pictures of a concept that are drawn


@dataclass(frozen=True, slots=True)
class Seen:
    """One picture looked at."""

    concept: str
    survives: float  # 0..1 at the training's own crop
    closer: tuple[tuple[float, float], ...]  # (crop, survives) of closer ones
    before: NDArray[np.uint8]
    after: NDArray[np.uint8]


@dataclass(slots=True, kw_only=True)
class Looking(Run):
    lease: Lease
    asked: Train
    shots: tuple[tuple[str, str, str], ...]
    seen: list[Seen] = field(default_factory=list)
    seconds: float = 0.0  # of one row through the UNet, its words encoded too where that is learnt


class Audit:
    """The engine of `Review`. One picture a step; the last step times the UNet."""

    def __init__(self, models: Models) -> None:
        self._models = models

    def prepare(self, work: Work) -> None:
        asked = _review(work).asked
        self._models.prepare(asked.model, asked.model_kind)

    def begin(self, work: Work) -> Looking:
        review = _review(work)
        asked, shots = review.asked, review.shots
        lease = self._models.lease(asked.model, asked.model_kind)
        try:
            settled.check(asked, lease.parts)
        except BaseException:
            lease.close()
            raise
        return Looking(work=work, total=len(shots) + 1, lease=lease, asked=asked, shots=shots)

    @torch.inference_mode()
    def advance(self, runs: Sequence[Looking]) -> None:
        for run in runs:
            if run.done < len(run.shots):
                run.seen.append(self._look(run, *run.shots[run.done]))
            elif not _review(run.work).step_seconds:
                run.seconds = timing.row(run.asked, run.lease.parts)
            run.done += 1

    def _look(self, run: Looking, concept: str, image: str, mask: str) -> Seen:
        parts, files = run.lease.parts, run.work.files
        name = alike(f"“{concept}”")
        picture = views.opened(files.get(image), name)
        white = views.mask_bits(files.get(mask), picture.size, name)
        side = settled.side(run.asked, parts)

        own = strength(*_near(picture, white))

        def at(crop: float) -> tuple[float, NDArray[np.uint8], NDArray[np.uint8]]:
            before, defect = views.cropped(picture, white, box_of(white, crop, side), side)
            after = _through(parts, before)
            left = min(strength(before, defect) / own, 1.0) if own > 0 else 1.0
            return left * survival(before, after, defect), before, after

        asked = run.asked.crop if run.asked.mode == DEFECT else 0.0
        survives, before, after = at(asked)
        tried = [crop for crop in CLOSER if not asked or crop < asked] if survives < HALF else []
        return Seen(concept, survives, tuple((crop, at(crop)[0]) for crop in tried), before, after)

    def preview(self, run: Looking) -> bytes | None:
        return None

    def finish(self, run: Looking) -> Callable[[], tuple[Artifact, ...]]:
        parts, review = run.lease.parts, _review(run.work)
        facts: dict[str, Any] = {
            "survives": {c: round(_mean(seen), 3) for c, seen in _by_concept(run.seen).items()},
            "step_seconds": review.step_seconds
            or PASSES * run.seconds * run.asked.rows * run.asked.accumulation,
            "measured": review.step_seconds > 0,
            "memory": memory(run.asked, parts),
        }
        run.notes += findings(run.seen, run.asked)
        folder, sheet, seen = run.work.folder, run.work.files.get(review.sheet), list(run.seen)

        def packing() -> tuple[Artifact, ...]:
            made = []
            if sheet is not None:
                made.append(_kept(Image.open(sheet), folder / "sheet.png", {"review": facts}))
            if seen:
                made.append(_kept(drawn(seen), folder / "vae.png", {"review": facts}))
            return tuple(made)

        return packing

    def suspend(self, run: Looking) -> None:
        run.lease.close()


def _review(work: Work) -> Review:
    assert isinstance(work.request, Review)
    return work.request


def box_of(white: Bits, crop: float, side: int) -> compose.Box:
    """The crop around the defect; the largest square about it where `crop` is 0, as the other modes see it."""
    height, width = white.shape
    left, top, right, bottom = compose.bounds(white)
    longer = max(right - left, bottom - top)
    length = min(width, height) if not crop else min(max(round(longer * crop), longer, 8), width, height)
    x = min(max((left + right - length) // 2, 0), width - length)
    y = min(max((top + bottom - length) // 2, 0), height - length)
    return x, y, x + length, y + length


def _through(parts: Parts, before: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """The picture as the model sees it: encoded (the mean, no noise) and decoded."""
    given = pixels(Image.fromarray(before)).to(parts.device, parts.vae.dtype)
    answer = parts.vae.encode(given)
    spread = getattr(answer, "latent_dist", None)  # tiny autoencoders have latents only
    latents = answer.latents if spread is None else spread.mode()
    back = parts.vae.decode(latents).sample[0].float().cpu().clamp(-1, 1)
    return np.asarray(((back + 1) * 127.5).round().permute(1, 2, 0).to(torch.uint8))


def survival(before: NDArray[np.uint8], after: NDArray[np.uint8], defect: Bits) -> float:
    """The share of the defect's contrast that is still there, 0..1; 1 for a mask that leaves nothing to compare with."""
    if not defect.any() or defect.mean() > 0.9:
        return 1.0
    signal, kept = _contrast(before, defect), _contrast(after, defect)
    energy = float((signal**2).sum())
    return float(np.clip((signal * kept).sum() / energy, 0.0, 1.0)) if energy > 0 else 1.0


def strength(picture: NDArray[np.uint8], defect: Bits) -> float:
    """The root mean square of the defect's contrast; 0 where there is nothing to compare with."""
    if not defect.any() or defect.mean() > 0.9:
        return 0.0
    return float(np.sqrt((_contrast(picture, defect) ** 2).mean()))


def _near(picture: Image.Image, white: Bits) -> tuple[NDArray[np.uint8], Bits]:
    """The defect with as much around it again, at its own size."""
    left, top, right, bottom = compose.bounds(white)
    margin = max(right - left, bottom - top, 16)
    box = max(left - margin, 0), max(top - margin, 0), right + margin, bottom + margin
    box = (*box[:2], min(box[2], picture.width), min(box[3], picture.height))
    return np.asarray(picture.crop(box)), white[box[1] : box[3], box[0] : box[2]]


def _contrast(picture: NDArray[np.uint8], defect: Bits) -> NDArray[np.float64]:
    """What is inside the mask, less a smooth continuation of what is around it."""
    values = picture.astype(np.float64)
    around = ~ndimage.binary_dilation(defect, iterations=2)
    if not around.any():
        around = ~defect
    thick = float(ndimage.distance_transform_edt(defect).max())
    spread = max(4.0, 2.0 * thick)
    known = ndimage.gaussian_filter(around.astype(np.float64), spread) + 1e-9
    smooth = [
        ndimage.gaussian_filter(np.where(around, values[..., c], 0.0), spread) / known for c in range(3)
    ]
    inside: NDArray[np.float64] = (values - np.stack(smooth, axis=-1))[defect]
    return inside


def memory(asked: Train, parts: Parts) -> int:
    """Bytes a training takes at its peak, about: the base, and what the training holds beside it."""
    modules = (parts.unet, parts.text_encoder, parts.vae)
    base = sum(p.numel() * p.element_size() for module in modules for p in module.parameters())
    return int(base) + sum(settled.memory(asked, parts))


def findings(seen: Sequence[Seen], asked: Train) -> list[Words]:
    """What the audit has to say, with the mend."""
    told = []
    for concept, of in _by_concept(seen).items():
        survives, percent = _mean(of), round(100 * _mean(of))
        if survives >= HALF:
            told.append(_SURVIVES(concept=concept, percent=percent))
            continue
        crops = [crop for crop, _ in of[0].closer]
        means = {c: float(np.mean([dict(one.closer).get(c, one.survives) for one in of])) for c in crops}
        enough = [c for c in crops if means[c] >= HALF]
        best = enough[0] if enough else max(crops, key=lambda c: means[c], default=0.0)
        if best and means[best] > survives + 0.02:
            mend = _CLOSER if asked.mode == DEFECT else _CLOSER_MODE
            told.append(
                _LOST(concept=concept, percent=percent) + mend(crop=best, percent=round(100 * means[best]))
            )
        else:
            told.append(_LOST(concept=concept, percent=percent) + _NEARER)
    return told


def _by_concept(seen: Sequence[Seen]) -> dict[str, list[Seen]]:
    found: dict[str, list[Seen]] = {}
    for one in seen:
        found.setdefault(one.concept, []).append(one)
    return found


def _mean(seen: Sequence[Seen]) -> float:
    return float(np.mean([one.survives for one in seen]))


def drawn(seen: Sequence[Seen]) -> Image.Image:
    """A row for each concept: each picture as it is and as the model sees it, side by side."""
    concepts = _by_concept(seen)
    pairs = [[(_cell(one.before), _cell(one.after)) for one in of[:SHOWN]] for of in concepts.values()]
    columns: list[tuple[str, list[Image.Image | None]]] = []
    for which in range(max(map(len, pairs))):
        shown = [of[which] if which < len(of) else (None, None) for of in pairs]
        columns += [("photo", [pair[0] for pair in shown]), ("as the model sees it", [p[1] for p in shown])]
    return drawing.sheet(columns, rows=list(concepts))


def _cell(picture: NDArray[np.uint8]) -> Image.Image:
    """192 pixels a side; small ones in whole pixels, so that they can be judged."""
    scale = Image.Resampling.NEAREST if picture.shape[0] < 192 else Image.Resampling.LANCZOS
    return Image.fromarray(picture).resize((192, 192), scale)


def _kept(image: Image.Image, path: Path, recipe: dict[str, Any]) -> Artifact:
    with image:
        image.save(path)
        return Artifact(path, path.name, "image/png", recipe, *image.size)


_SURVIVES = Words(
    "The base model's VAE keeps {percent} % of **{concept}**.",
    "원본 모델의 VAE가 **{concept}** 결함을 {percent} % 보존합니다.",
)
_LOST = Words(
    "⚠ The base model's VAE keeps only {percent} % of **{concept}**: what it cannot see it cannot learn.",
    "⚠ 원본 모델의 VAE가 **{concept}** 결함을 {percent} %만 보존하여 제대로 학습하기 어렵습니다.",
)
_CLOSER = Words("`crop:{crop}` keeps {percent} %.", "`crop:{crop}`(으)로 하면 {percent} % 보존합니다.")
_CLOSER_MODE = Words(
    "`mode:defect crop:{crop}` keeps {percent} %.",
    "`mode:defect crop:{crop}`(으)로 하면 {percent} % 보존합니다.",
)
_NEARER = Words(
    "Photos taken from nearer, or a higher `resolution`, would help.",
    "더 가까이에서 찍은 사진이나 더 높은 `resolution`이 도움이 됩니다.",
)
