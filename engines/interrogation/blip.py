"""BLIP writes one sentence about a picture, through transformers, from a folder on this machine."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import torch
from PIL import Image

from engines.models.files import header
from engines.models.loading import digest, file_hash, loaded_size, one_at_a_time, placed
from engines.models.memory import Blueprint, Piece
from engines.words import Refusal, Words

WEIGHTS = "model.safetensors"
LONGEST = 32  # tokens


class Blip:
    def __init__(self, model: Any, processor: Any, device: str) -> None:
        self._model, self._processor, self._device = model, processor, device

    def moved(self, copy: Callable[[Any], Any], device: str) -> Blip:
        return Blip(copy(self._model), self._processor, device)

    @torch.inference_mode()
    def sentences(self, pictures: Sequence[Image.Image]) -> list[str]:
        """One for each picture."""
        seen = self._processor(images=list(pictures), return_tensors="pt").to(self._device)
        tokens = self._model.generate(pixel_values=seen["pixel_values"], max_new_tokens=LONGEST)
        said = self._processor.batch_decode(tokens, skip_special_tokens=True)
        return [" ".join(one.split()) for one in said]


def blueprint(name: str, folder: Path, device: str) -> Blueprint:
    """The one piece of a BLIP folder as transformers saves one, with role `blip`. Raises `Refusal`."""
    weights = folder / WEIGHTS
    if not weights.is_file():
        raise Refusal(_NOT_SAFE(name=name, file=WEIGHTS))
    hash = digest([b"blip", file_hash(weights).encode(), (folder / "config.json").read_bytes()])
    size = loaded_size(header(weights).values(), "float32")
    read, load = (partial(opened, folder, place) for place in ("cpu", device))
    return Blueprint(name, hash, (Piece("blip", hash, size, load, read=read),))


def opened(folder: Path, device: str) -> Blip:
    """The model in `folder`, loaded."""
    from transformers import AutoProcessor, BlipForConditionalGeneration

    with one_at_a_time:
        processor = AutoProcessor.from_pretrained(folder, local_files_only=True)
        model = BlipForConditionalGeneration.from_pretrained(
            folder, use_safetensors=True, local_files_only=True, dtype=torch.float32
        )
    return Blip(placed(model, device), processor, device)


_NOT_SAFE = Words(
    "The caption model `{name}` has no `{file}`. Other formats can carry programs and are not loaded.",
    "`{name}` 캡션 모델에 `{file}` 파일이 없습니다. 다른 형식은 프로그램을 담을 수 있어 불러오지 않습니다.",
)
