"""Cleaning up: what the mask covers is taken out of the photo, region by region, everything else stays as it was.

A step is one crop (`engines.cleaning.regions`), so a photo with forty specks far apart can be cancelled between them and gives
way to others. Crops of one size, whoever they belong to, go through the network together.
"""

from __future__ import annotations

import importlib.metadata
from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from scipy import ndimage

from engines import compose, recipe
from engines.cleaning.menders import ROLE, Bytes, Mender
from engines.cleaning.regions import Region, Regions, regions, shrunk
from engines.compose import Bits, Box
from engines.engine import Packing, Run, Work
from engines.events import Artifact
from engines.models.memory import Blueprint, Lease, Models
from engines.models.near import Near
from engines.prepared import Prepared
from engines.requests import Cleanup as Asked
from engines.words import Refusal, Words

ROW = 512 * 512  # pixels that count as one row of a step
KEPT = 16  # photos read that wait to begin


@dataclass(frozen=True, slots=True)
class Sheet:
    """A photo, its mask, and the regions the mask falls into."""

    photo: Image.Image
    white: Bits
    regions: Regions
    levels: tuple[float, float]  # the photo's values that became 0 and 255


@dataclass(frozen=True, slots=True)
class Task:
    """One region as a mender takes it."""

    box: Box
    picture: Bytes  # (h, w, 3) at the size of the model
    hole: Bytes  # (h, w), 255 = to be filled
    soft: NDArray[np.float32]  # (height, width) of the box: how much of the new picture shows, 0..1


@dataclass(frozen=True, slots=True)
class Mend:
    """What takes the place of a part of the photo."""

    box: Box
    fresh: NDArray[np.float32]  # in the photo's own values
    soft: NDArray[np.float32]


@dataclass(slots=True, kw_only=True)
class Cleaning(Run):
    """One photo being cleaned."""

    lease: Lease
    request: Asked
    sheet: Sheet | None
    mends: list[Mend]

    @property
    def mender(self) -> Mender:
        mender: Mender = self.lease.things[ROLE]
        return mender


class Cleaner(Near):
    """The engine of cleanup on one device.

    Args:
        models: the device's models, shared with other engines.
        read: a model's name → what lies on disk; slow the first time.
    """

    def __init__(self, models: Models, read: Callable[[str], Blueprint]) -> None:
        super().__init__(models)
        self._read = read
        self._sheets = Prepared[Sheet](KEPT)

    def prepare(self, work: Work) -> None:
        """Import IOPaint, fetch the model, read photo and mask, off the device's thread."""
        request = _asked(work)
        self._models.expect(*self.named(work), self._read(request.model))
        self._sheets.put(work, sheet_of(work, request))

    def begin(self, work: Work) -> Cleaning:
        """The mask cut into regions, and the photo read, unless `prepare` did. Raises `Refusal` for a photo or mask that will not do."""
        request = _asked(work)
        sheet = self._sheets.take(work) or sheet_of(work, request)
        lease = self._models.take(self._read(request.model))
        total = len(sheet.regions.regions)
        run = Cleaning(work=work, total=total, lease=lease, request=request, sheet=sheet, mends=[])
        _turn(run, sheet)
        return run

    def advance(self, runs: Sequence[Cleaning]) -> None:
        """The next region of every run. All or none."""
        sheets = [_running(run) for run in runs]
        tasks = [
            task(sheet, sheet.regions.regions[run.done], run.request)
            for run, sheet in zip(runs, sheets, strict=True)
        ]
        made: list[Mend | None] = [None] * len(runs)
        for group in _alike(runs, tasks):
            mender = runs[group[0]].mender
            answers = mender.mend([tasks[i].picture for i in group], [tasks[i].hole for i in group])
            for i, answer in zip(group, answers, strict=True):
                made[i] = _mended(sheets[i], tasks[i], answer)
        for run, sheet, mend in zip(runs, sheets, made, strict=True):
            assert mend is not None
            run.mends = [*run.mends, mend]
            run.done += 1
            _turn(run, sheet)
        for run, one in zip(runs, tasks, strict=True):
            if _deeper(one.hole, run.mender.deep) and _COPIED not in run.notes:
                run.notes.append(_COPIED)

    def preview(self, run: Cleaning) -> bytes | None:
        """Nothing: the photo is soon done, and most of it is as it was."""
        return None

    def finish(self, run: Cleaning) -> Packing:
        """The photo put together and written, all of it elsewhere."""
        parts = run.lease.parts
        facts = {"model": parts.name, "hash": parts.hash, "versions": versions()}
        return partial(_packed, run.work, run.request, _running(run), run.mends, facts)

    def suspend(self, run: Cleaning) -> None:
        run.sheet, run.mends = None, []
        run.lease.close()


def sheet_of(work: Work, request: Asked) -> Sheet:
    """Photo and mask of a request. Raises `Refusal` where they do not fit, or nothing or everything is white."""
    if not request.mask:
        raise Refusal(_NO_MASK)
    photo, white = compose.matched(
        _opened(work, request.image), _opened(work, request.mask), invert=request.invert
    )
    if white.all():
        raise Refusal(_FULL)
    return Sheet(photo, white, regions(white, _reach(request)), compose.value_range(photo))


def task(sheet: Sheet, region: Region, request: Asked) -> Task:
    """A region's crop. All of the mask in it is unknown, but only the region's own part is put back.

    Raises `Refusal` where nothing in it is known.
    """
    left, top, right, bottom = region.box
    reach = _reach(request)
    x, y = max(0, left - reach), max(0, top - reach)  # white outside the crop may reach into it
    inside = np.s_[top - y : bottom - y, left - x : right - x]
    white = compose.grown(sheet.white[y : bottom + reach, x : right + reach], request.grow)
    soft = compose.softened(white, request.feather)[inside]
    size = shrunk(region.box)
    picture = compose.to_rgb(sheet.photo.crop(region.box), sheet.levels)
    if picture.size != size:
        picture = picture.resize(size, Image.Resampling.LANCZOS)
    hole = compose.pooled(soft > 0, size)
    if hole.all():
        raise Refusal(_FULL_GROWN(reach=reach))
    return Task(
        region.box, np.asarray(picture), hole.astype(np.uint8) * 255, soft * sheet.regions.owned(region)
    )


def _reach(request: Asked) -> int:
    """Pixels around the white that may change."""
    return request.grow + request.feather


def _mended(sheet: Sheet, done: Task, answer: Bytes) -> Mend:
    """The part of the answer that shows, and no more of it: forty of them are kept until the photo is done."""
    left, top, right, bottom = done.box
    picture, size = Image.fromarray(answer), (right - left, bottom - top)
    if picture.size != size:
        picture = picture.resize(size, Image.Resampling.BICUBIC)
    x0, y0, x1, y1 = compose.bounds(done.soft > 0)
    return Mend(
        (left + x0, top + y0, left + x1, top + y1),
        compose.from_rgb(picture.crop((x0, y0, x1, y1)), sheet.photo.mode, sheet.levels),
        done.soft[y0:y1, x0:x1].copy(),
    )


def _deeper(hole: Bytes, pixels: int) -> bool:
    """Whether some of the hole is farther than so many pixels from its edge; 0 = it does not matter."""
    return bool(pixels and ndimage.distance_transform_edt(hole).max() > pixels)


def _alike(runs: Sequence[Cleaning], tasks: Sequence[Task]) -> list[list[int]]:
    """Which of them go to one mender in one size."""
    groups: dict[Hashable, list[int]] = {}
    for i, (run, one) in enumerate(zip(runs, tasks, strict=True)):
        height, width = one.hole.shape
        groups.setdefault((id(run.mender), run.mender.padded(width, height)), []).append(i)
    return list(groups.values())


def _turn(run: Cleaning, sheet: Sheet) -> None:
    """With whom the run may share its next step, and how much of it that is."""
    if run.finished:
        return
    size = shrunk(sheet.regions.regions[run.done].box)
    alone = 0 if run.mender.together else id(run)
    run.key = (run.lease.parts.hash, alone, run.mender.padded(*size))
    run.rows, run.row_bytes = max(1, round(size[0] * size[1] / ROW)), run.mender.row_bytes


def _packed(
    work: Work, request: Asked, sheet: Sheet, mends: list[Mend], facts: dict[str, Any]
) -> tuple[Artifact, ...]:
    whole = np.array(sheet.photo)
    for mend in mends:
        left, top, right, bottom = mend.box
        compose.mix(whole[top:bottom, left:right], mend.fresh, mend.soft)
    picture = compose.image_of(whole, sheet.photo.mode)
    told = {
        "command": request.name,
        "request": replace(request, model=facts["model"]).to_json(),
        "width": picture.width,
        "height": picture.height,
        **facts,
    }
    name = f"{request.name}-{work.id}.png"
    path = recipe.write(work.folder / name, recipe.png(picture, told))
    return (Artifact(path, name, "image/png", told, picture.width, picture.height),)


def versions() -> dict[str, str]:
    """What a recipe needs to be made again exactly."""
    return {name: importlib.metadata.version(name) for name in ("defect-studio", "iopaint", "torch")}


def _opened(work: Work, blob: str) -> Image.Image:
    path = work.files.get(blob)
    if path is None or not path.exists():
        raise Refusal(_NO_FILE)
    with Image.open(path) as picture:
        picture.load()
        return picture


def _asked(work: Work) -> Asked:
    assert isinstance(work.request, Asked), work.request
    return work.request


def _running(run: Cleaning) -> Sheet:
    assert run.sheet is not None, "a suspended run cannot go on"
    return run.sheet


_FULL = Words(
    "The mask is white everywhere, so nothing of the photo is left to fill it from. Mark only what shall go.",
    "마스크가 전부 흰색이어서 채울 때 참고할 부분이 남지 않습니다. 지울 곳만 흰색으로 표시해 주십시오.",
)
_FULL_GROWN = Words(
    "Widened by {reach} pixels (grow and feather), the mask covers the whole photo, so nothing is left to fill it from. "
    "Use a smaller `grow` or `feather`.",
    "마스크를 {reach}픽셀(grow와 feather) 넓히면 사진 전체를 덮어 채울 때 참고할 부분이 남지 않습니다. `grow`나 "
    "`feather` 값을 줄여 주십시오.",
)
_COPIED = Words(
    "Part of the mask is wide; `cv2` can only copy the surface nearby there. `model:big-lama` makes up what belongs there.",
    "마스크에 넓은 부분이 있어 `cv2`는 가까운 표면을 복사해 채웠습니다. `model:big-lama`는 어울리는 모습을 새로 만들어 채웁니다.",
)
_NO_MASK = Words(
    "There is no mask. Attach one (white = take out), give a PNG with transparent parts, or use mask:box=x,y,w,h.",
    "마스크가 없습니다. 마스크(흰색 = 지울 곳)나 투명한 부분이 있는 PNG를 첨부하거나 mask:box=x,y,w,h를 써 주십시오.",
)
_NO_FILE = Words(
    "The photo or mask is no longer stored here. Send it again.",
    "사진이나 마스크가 더 이상 저장되어 있지 않습니다. 다시 보내 주십시오.",
)
