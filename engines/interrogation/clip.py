"""A CLIP from a folder as open_clip saves one: pictures and phrases to unit vectors of one space.

The embedded CLIP and any other are opened by the same code. Safetensors only, nothing from a network.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import open_clip
import torch
from PIL import Image

from engines.models.files import header
from engines.models.loading import digest, file_hash, loaded_size, one_at_a_time, placed
from engines.models.memory import Blueprint, Piece
from engines.words import Refusal, Words

CONFIG, WEIGHTS = "open_clip_config.json", "open_clip_model.safetensors"
DTYPE = "float32"  # half precision saves little here, and rounds the ranking


def _no_news(record: logging.LogRecord) -> bool:
    """open_clip tells every step of a load through the root logger."""
    return record.levelno >= logging.WARNING or "open_clip" not in record.pathname


logging.getLogger().addFilter(_no_news)


class Clip:
    """A loaded CLIP. Vectors are float32 of length 1."""

    def __init__(self, model: Any, look: Any, tokenizer: Any, device: str) -> None:
        """`look` turns a PIL picture into the model's tensor; `tokenizer` a list of texts into whole numbers."""
        self.model, self.device = model, device
        self._look, self._tokenizer = look, tokenizer
        self.context = int(tokenizer.context_length)
        self._causal = isinstance(model, open_clip.CLIP) and model.attn_mask is not None
        self._causal = self._causal and getattr(model, "text_pool_type", "") == "argmax"

    def moved(self, copy: Callable[[Any], Any], device: str) -> Clip:
        return Clip(copy(self.model), self._look, self._tokenizer, device)

    def tokens(self, texts: Sequence[str]) -> torch.Tensor:
        """(n, context); zeros after the end, as open_clip's own tokenizer has it."""
        rows = self._tokenizer(list(texts))
        after = torch.arange(rows.shape[1])[None] > rows.argmax(1, keepdim=True)
        return torch.where(after, 0, rows) if self._causal else rows

    def full(self, text: str) -> bool:
        """Whether a text fills the context, so that more words would not be read."""
        return bool(self.tokens([text])[0, -1] != 0)

    @torch.inference_mode()
    def of_texts(self, texts: Sequence[str]) -> torch.Tensor:
        """(n, width). What follows the longest text's end is not computed: a causal tower does not look there."""
        rows = self.tokens(texts)
        if not self._causal:
            return _unit(self.model.encode_text(rows.to(self.device)))
        ends = rows.argmax(1)  # the end has the highest number
        length = int(ends.max()) + 1
        rows, model = rows[:, :length].to(self.device), self.model
        x = model.token_embedding(rows) + model.positional_embedding[:length]
        x = model.ln_final(model.transformer(x, attn_mask=model.attn_mask[:length, :length]))
        x = x[torch.arange(len(rows), device=x.device), ends.to(x.device)]
        projection = model.text_projection
        if projection is not None:
            x = projection(x) if isinstance(projection, torch.nn.Linear) else x @ projection
        return _unit(x)

    def pixels(self, picture: Image.Image) -> torch.Tensor:
        """(3, side, side), as the model wants to see it."""
        seen: torch.Tensor = self._look(picture)
        return seen

    @torch.inference_mode()
    def of_pictures(self, pixels: Sequence[torch.Tensor]) -> torch.Tensor:
        """(n, width)."""
        return _unit(self.model.encode_image(torch.stack(list(pixels)).to(self.device)))


def _unit(vectors: torch.Tensor) -> torch.Tensor:
    return torch.nn.functional.normalize(vectors.float(), dim=-1)


def blueprint(name: str, folder: Path, device: str) -> Blueprint:
    """The one piece of an open_clip folder, with role `clip`. Its width is `width_of(folder)`.

    Raises:
        Refusal: it has no safetensors weights, or its configuration cannot be read.
    """
    if not (folder / WEIGHTS).is_file():
        raise Refusal(_NOT_SAFE(name=name, file=WEIGHTS))
    width_of(folder)
    told = [path.name.encode() + b"\0" + path.read_bytes() for path in _settings(folder)]
    hash = digest([b"clip", file_hash(folder / WEIGHTS).encode(), *told])
    size = loaded_size(header(folder / WEIGHTS).values(), DTYPE)
    read, load = (partial(opened, folder, place) for place in ("cpu", device))
    return Blueprint(name, hash, (Piece("clip", hash, size, load, read=read),))


def opened(folder: Path, device: str) -> Clip:
    """The CLIP in `folder`, loaded."""
    name = f"local-dir:{folder}"
    with one_at_a_time:
        model, _, look = open_clip.create_model_and_transforms(name, precision="fp32", device="cpu")
        tokenizer = open_clip.get_tokenizer(name)
    return Clip(placed(model, device), look, tokenizer, device)


def width_of(folder: Path) -> int:
    """Numbers of one vector."""
    try:
        return int(json.loads((folder / CONFIG).read_text())["model_cfg"]["embed_dim"])
    except (OSError, ValueError, KeyError, TypeError):
        raise Refusal(_BROKEN(name=folder.name, file=CONFIG)) from None


def _settings(folder: Path) -> list[Path]:
    return sorted(path for path in folder.iterdir() if path.suffix in (".json", ".txt"))


_NOT_SAFE = Words(
    "The model `{name}` has no `{file}`. Other formats can carry programs and are not loaded.",
    "`{name}` 모델에 `{file}` 파일이 없습니다. 다른 형식은 프로그램을 담을 수 있어 불러오지 않습니다.",
)
_BROKEN = Words(
    "The model `{name}` cannot be used: its `{file}` is missing or damaged. Put the folder there anew.",
    "`{name}` 모델을 쓸 수 없습니다. `{file}` 파일이 없거나 손상되었습니다. 폴더를 다시 넣어 주십시오.",
)
