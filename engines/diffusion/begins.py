"""From a request to the first step: the photo read and cut, the prompt encoded, the noise drawn."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import torch
from PIL import Image

from engines import compose
from engines.compose import Patch
from engines.diffusion import latents, prompts
from engines.diffusion.latents import Encoded, Start
from engines.engine import Work
from engines.models.memory import Parts
from engines.requests import Diffusion, Img2Img, Inpaint, Txt2Img
from engines.words import Refusal, Words

LARGEST = 1.5  # an img2img picture has at most so many times the pixels the model was trained at


@dataclass(frozen=True, slots=True)
class Frame:
    """What the pictures begin from and where they go: the size made, and a photo or a patch of one."""

    size: tuple[int, int]  # width, height in pixels, as generated
    photo: Image.Image | None = None  # img2img: RGB at `size`
    patch: Patch | None = None  # inpainting


class Sizes(Protocol):
    """What a model makes: `Parts`, and the `Blueprint` they come from, know it."""

    @property
    def native(self) -> int: ...
    @property
    def scale(self) -> int: ...
    @property
    def multiple(self) -> int: ...


def framed(parts: Sizes, work: Work) -> tuple[Frame, list[Words]]:
    """The frame of a request, and sentences about sizes that had to change. Raises `Refusal`."""
    request = work.request
    if isinstance(request, Inpaint):
        return _hole(parts, work, request), []
    if isinstance(request, Img2Img):
        return _photo(parts, work, request)
    assert isinstance(request, Txt2Img)
    asked = (request.width or parts.native, request.height or parts.native)
    size = tuple(max(1, round(side / parts.scale)) * parts.scale for side in asked)
    return Frame((size[0], size[1])), [] if size == asked else [_RESIZED(size=_by(size))]


def _hole(parts: Sizes, work: Work, request: Inpaint) -> Frame:
    if not request.mask:
        raise Refusal(_NO_MASK)
    patch = compose.cut(
        _opened(work, request.image),
        _opened(work, request.mask),
        native=parts.native,
        multiple=parts.multiple,
        grow=request.grow,
        feather=request.feather,
        invert=request.invert,
    )
    return Frame(patch.size, patch=patch)


def _photo(parts: Sizes, work: Work, request: Img2Img) -> tuple[Frame, list[Words]]:
    photo = compose.flattened(_opened(work, request.image))
    width, height = photo.size
    own = parts.native * parts.native
    size = compose.fitted(width, height, min(max(width * height, own), LARGEST * own), parts.multiple)
    if size == photo.size:
        return Frame(size, photo), []
    return Frame(size, photo.resize(size, Image.Resampling.LANCZOS)), [_RESIZED(size=_by(size))]


def _opened(work: Work, blob: str) -> Image.Image:
    path: Path | None = work.files.get(blob)
    if path is None or not path.exists():
        raise Refusal(_NO_FILE)
    with Image.open(path) as picture:
        picture.load()
        return picture


def started(
    parts: Parts, request: Diffusion, scheduler: Any, frame: Frame, first: torch.Tensor
) -> tuple[tuple[torch.Generator, ...], Start]:
    """Each candidate's generator and beginning. `first` is the timestep the schedule is entered at, (1,)."""
    generators = tuple(latents.generator(seed) for seed in request.seeds)
    if frame.patch is not None:
        assert isinstance(request, Inpaint)
        starts = _holes(parts, request, scheduler, frame.patch, generators, first)
    elif frame.photo is not None:
        photo = Encoded(parts, latents.pixels(frame.photo))
        starts = [latents.from_photo(scheduler, own, photo, first) for own in generators]
    else:
        starts = [latents.from_noise(parts, scheduler, own, frame.size) for own in generators]
    return generators, latents.together(starts)


def _holes(
    parts: Parts,
    request: Inpaint,
    scheduler: Any,
    patch: Patch,
    generators: tuple[torch.Generator, ...],
    first: torch.Tensor,
) -> list[Start]:
    whole, bare = request.strength >= 1.0, parts.in_channels == 4
    picture, hole = latents.pixels(patch.picture), latents.hole(patch.mask)
    photo = Encoded(parts, picture) if bare or not whole else None
    holed = None if bare else Encoded(parts, picture * (hole < 0.5))
    mask = latents.shrunk(hole, parts.scale).to(parts.device, parts.unet.dtype)
    return [
        latents.from_hole(parts, scheduler, own, photo, holed, mask, None if whole else first)
        for own in generators
    ]


def told(
    parts: Parts, encoder: prompts.Prompts, request: Diffusion, guidance: float
) -> tuple[torch.Tensor, list[Words]]:
    """The rows of text (negatives first, where there is guidance), and what of it did not fit the model."""
    prompt = encoder.encode(parts, request.prompt).expand(len(request.seeds), -1, -1)
    prompt = prompts.shaken(prompt, parts.prompt_noise, request.seeds)
    notes = prompts.shortened(parts.tokenizer, "prompt", request.prompt)
    if guidance <= 1.0 or parts.unet.config.time_cond_proj_dim is not None:
        return prompt, notes
    negative = encoder.encode(parts, request.negative).expand(len(request.seeds), -1, -1)
    notes += prompts.shortened(parts.tokenizer, "negative", request.negative)
    return torch.cat([negative, prompt]), notes


def guidance_embedding(scale: torch.Tensor, width: int) -> torch.Tensor:
    """(n,) guidance − 1 → (n, width): sines and cosines, as latent consistency models were trained with."""
    half = width // 2
    pace = torch.exp(
        torch.arange(half, dtype=torch.float32) * -(torch.log(torch.tensor(10000.0)) / (half - 1))
    )
    angles = (scale.float() * 1000.0)[:, None] * pace[None, :]
    rows = torch.cat([torch.sin(angles), torch.cos(angles)], dim=1)
    return torch.nn.functional.pad(rows, (0, width % 2))


def _by(size: tuple[int, ...]) -> str:
    return f"{size[0]}×{size[1]}"


_RESIZED = Words(
    "The picture is made at {size}, a size that suits the model.",
    "모델에 알맞은 크기인 {size}(으)로 그림을 만듭니다.",
)
_NO_MASK = Words(
    "There is no mask. Attach one (white = change), give a PNG with transparent parts, or use mask:box=x,y,w,h.",
    "마스크가 없습니다. 마스크(흰색 = 바꿀 곳)나 투명한 부분이 있는 PNG를 첨부하거나 mask:box=x,y,w,h를 쓰십시오.",
)
_NO_FILE = Words(
    "The photo or mask is no longer stored here. Send it again.",
    "사진이나 마스크가 더 이상 저장되어 있지 않습니다. 다시 보내 주십시오.",
)
