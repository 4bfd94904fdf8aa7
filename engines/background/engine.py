"""The engine of `/removebg`: one step a picture.

Before the step, on other threads: the network's file fetched, its library imported, the photo decoded and shrunk.
After it, on other threads too: the mask grown, the picture composed and written. On the device: the network alone.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from PIL import Image

from engines import compose, recipe
from engines.background import networks
from engines.background.cutout import Bytes, cut_out, haze, share
from engines.background.networks import NETWORK
from engines.background.request import RemoveBackground
from engines.engine import Packing, Run, Work
from engines.events import Artifact
from engines.models.memory import Lease, Models
from engines.models.near import Near
from engines.prepared import Prepared
from engines.words import Refusal, Words

HAZY = 0.04  # of a picture: soft edges have less
KEPT = 32  # shrunk photos that wait for their step


@dataclass(frozen=True, slots=True)
class Seen:
    """A photo as the network sees it, and what has to be known of the photo itself."""

    small: Image.Image
    mode: str


@dataclass(slots=True, kw_only=True)
class Cutting(Run):
    """One photo on its way."""

    lease: Lease
    request: RemoveBackground
    seen: Seen | None
    mask: Image.Image | None = None  # of the network's side, once the step is made


class RemoveBackgrounds(Near):
    """The background remover on one device.

    Args:
        find: a model's name (empty: the default) → its network as it lies on disk; fetches it where it must.
    """

    def __init__(self, models: Models, find: networks.Find) -> None:
        super().__init__(models)
        self._find = find
        self._seen = Prepared[Seen](KEPT)

    def prepare(self, work: Work) -> None:
        """Off the device's thread: all that is slow and needs no device."""
        request = _asked(work)
        plan = self._find(request.model)
        self._models.expect(*self.named(work), plan)
        name = plan.name
        networks.import_libraries(name)
        self._seen.put(work, _look(work, name))

    def begin(self, work: Work) -> Cutting:
        request = _asked(work)
        seen = self._seen.take(work)
        lease = self._models.take(self._find(request.model))
        try:
            name = lease.parts.name
            return Cutting(
                work=work,
                total=1,
                key=(request.name, lease.parts.hash),
                rows=networks.DESIGNS[name].rows,
                row_bytes=networks.DESIGNS[name].row_bytes,
                cost=networks.cost(name),
                lease=lease,
                request=request,
                seen=seen or _look(work, name),
            )
        except BaseException:
            lease.close()
            raise

    def advance(self, runs: Sequence[Cutting]) -> None:
        """All pictures through the network; none has moved where it fails."""
        network: networks.Network = runs[0].lease.things[NETWORK]
        masks = network.masks([_waiting(run).small for run in runs])
        for run, mask in zip(runs, masks, strict=True):
            run.mask = mask
            run.done += 1

    def preview(self, run: Cutting) -> bytes | None:
        return None

    def finish(self, run: Cutting) -> Packing:
        assert run.mask is not None, "a run that made no step is not finished"
        mask, parts, mode = run.mask, run.lease.parts, _waiting(run).mode
        run.notes += _remarks(np.asarray(mask), mode, run.request)
        facts = {"model": parts.name, "hash": parts.hash, "versions": networks.versions(parts.name)}
        return lambda: (_written(run.work, run.request, mask, facts),)

    def suspend(self, run: Cutting) -> None:
        run.seen = run.mask = None
        run.lease.close()

    @property
    def waiting(self) -> int:
        """Shrunk photos kept for a step to come."""
        return len(self._seen)


def _asked(work: Work) -> RemoveBackground:
    assert isinstance(work.request, RemoveBackground), work.request
    return work.request


def _waiting(run: Cutting) -> Seen:
    assert run.seen is not None, "a suspended run cannot go on"
    return run.seen


def _look(work: Work, name: str) -> Seen:
    photo = _opened(work)
    return Seen(networks.shrunk(name, compose.flattened(photo)), photo.mode)


def _opened(work: Work) -> Image.Image:
    path = work.files.get(_asked(work).image)
    if path is None or not path.exists():
        raise Refusal(_NO_FILE)
    with Image.open(path) as photo:
        photo.load()
        return photo


def _remarks(mask: Bytes, mode: str, request: RemoveBackground) -> list[Words]:
    """What a person should know of the result."""
    notes, found = [], share(mask)
    if found < 0.002:
        notes.append(_NOTHING)
    elif found > 0.98:
        notes.append(_ALL)
    if haze(mask) > HAZY and not request.solid:
        notes.append(_HAZE)
    if mode == "I;16" and not request.mask_only:
        notes.append(_EIGHT_BITS)
    return notes


def _written(work: Work, request: RemoveBackground, mask: Image.Image, facts: Mapping[str, Any]) -> Artifact:
    photo = _opened(work)
    made = cut_out(photo, networks.grown(facts["model"], mask, photo.size), request)
    told = {
        "command": request.name,
        "request": dataclasses.replace(request, model=facts["model"]).to_json(),
        "width": made.width,
        "height": made.height,
        **facts,
    }
    name = f"{request.name}.png"
    path = recipe.write(work.folder / name, recipe.png(made, told))
    return Artifact(path, name, "image/png", told, made.width, made.height)


_NO_FILE = Words(
    "The photo is no longer stored here. Send it again.",
    "사진이 더 이상 저장되어 있지 않습니다. 다시 보내 주십시오.",
)
_NOTHING = Words(
    "Hardly anything stood out from the background, so little is left. Try another model, or a photo with a plain "
    "background.",
    "배경과 구별되는 물체를 거의 찾지 못해 남은 부분이 적습니다. 다른 모델을 쓰거나 배경이 단순한 사진을 사용해 보십시오.",
)
_ALL = Words(
    "Nearly all of the photo looks like the object, so almost nothing was removed.",
    "사진의 거의 전부가 물체로 보여서 지운 부분이 거의 없습니다.",
)
_HAZE = Words(
    "Part of the picture is neither quite the object nor quite the background, and looks hazy. `solid:yes` makes each "
    "pixel one or the other; a larger model, like `isnet-general-use`, sees more.",
    "물체인지 배경인지 뚜렷하지 않아 흐릿하게 남은 부분이 있습니다. `solid:yes` 를 쓰시면 픽셀마다 물체나 배경 중 하나로 "
    "정합니다. `isnet-general-use` 처럼 큰 모델은 더 정확하게 구별합니다.",
)
_EIGHT_BITS = Words(
    "The 16-bit grey values became 8-bit ones, stretched to the photo's own range: the result has transparency or "
    "colour. `mask_only:yes` gives a mask for the original.",
    "투명도나 색이 있는 결과이므로 16비트 밝기 값을 사진의 범위에 맞추어 8비트로 바꾸었습니다. `mask_only:yes` 를 "
    "쓰시면 원본에 쓸 마스크를 받을 수 있습니다.",
)
