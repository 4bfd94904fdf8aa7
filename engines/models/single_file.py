"""Models in one .safetensors file, as they are passed around: the original layout, without configuration or words.

The configuration comes from `engines.models.architectures`, CLIP's vocabulary from the open_clip package; diffusers
converts the weights. Nothing is looked up on a network.
"""

from __future__ import annotations

import gzip
import hashlib
import importlib.util
import json
import tempfile
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Any

from engines.models import architectures, catalogue, loading
from engines.models.architectures import Config
from engines.models.files import header
from engines.models.memory import Blueprint, Piece
from engines.words import Refusal, Words

PREFIXES = {
    "text_encoder": "cond_stage_model.",
    "vae": "first_stage_model.",
    "unet": "model.diffusion_model.",
}
BLOCK = 16 * 2**20  # bytes read at once


def file_blueprint(
    name: str,
    path: Path,
    device: str,
    dtype: str,
    shape: Callable[..., dict[str, Config]] = architectures.configs,
) -> Blueprint:
    """The pieces of a single file.

    Args:
        shape: family, UNet channels and v-prediction → configurations.

    Raises:
        Refusal: it is no Stable Diffusion 1.x or 2.x, or lacks its VAE or text encoder.
    """
    model = catalogue.look(path)
    if model is None:
        raise Refusal(_FOREIGN(name=name))
    tensors = header(path)
    channels = 4 if len(model.kinds) > 1 else 9
    parts = shape(model.base, channels, v_prediction=model.base == "sd2" and channels == 4 and velocity(path))
    hashes = prefix_hashes(path, tensors)
    pieces = [_tokenizer(model.base)]
    for role, prefix in PREFIXES.items():
        mine = [told for key, told in tensors.items() if key.startswith(prefix)]
        if not mine:
            raise Refusal(_LACKS(name=name, role=role))
        read = _reader(path, role, parts, channels, device, dtype)
        told = json.dumps([hashes[role], parts[role]], sort_keys=True)
        load = partial(_loaded, read, device)
        pieces.append(Piece(role, _sha(told), loading.loaded_size(mine, dtype), load, read=read))
    return loading.blueprint(name, tuple(pieces), parts["unet"], parts["vae"], parts["scheduler"])


def velocity(path: Path) -> bool:
    """Whether a Stable Diffusion 2 file predicts velocity. The file itself does not say.

    A .yaml of the same name beside it decides, as in other tools; else the name: the 512-pixel "base" models
    predict noise, the 768-pixel ones velocity.
    """
    beside = path.with_suffix(".yaml")
    if beside.is_file():
        said = beside.read_text(errors="replace").replace('"', "").replace("'", "")
        return "parameterization: v" in said
    return not any(word in path.stem.lower() for word in ("base", "512"))


def _loaded(read: Callable[[], Any], device: str) -> Any:
    return loading.placed(read(), device)


def _reader(
    path: Path, role: str, parts: Mapping[str, Config], channels: int, device: str, dtype: str
) -> Callable[[], Any]:
    def read() -> Any:
        import diffusers
        import torch

        kind = getattr(diffusers, architectures.index(channels)["_class_name"])
        others = {other: None for other in ("tokenizer", "scheduler", *PREFIXES) if other != role}
        with loading.one_at_a_time, torch.inference_mode(False), tempfile.TemporaryDirectory() as folder:
            architectures.write(Path(folder), dict(parts), channels)
            pipe = kind.from_single_file(
                str(path),
                config=folder,
                local_files_only=True,
                torch_dtype=getattr(torch, dtype),
                **others,
            )
            return loading.laid_out(getattr(pipe, role).to(getattr(torch, dtype)), role, device)

    return read


def _tokenizer(base: str) -> Piece:
    """CLIP's tokenizer. Stable Diffusion 1 pads with the end of the text, 2 with "!" (token 0)."""
    pad = "<|endoftext|>" if base == "sd1" else "!"
    spec = importlib.util.find_spec("open_clip")
    assert spec is not None
    assert spec.submodule_search_locations
    words = Path(spec.submodule_search_locations[0]) / "bpe_simple_vocab_16e6.txt.gz"

    def load() -> Any:
        from transformers import CLIPTokenizer

        vocab, merges = clip_words(words)
        return CLIPTokenizer(vocab=vocab, merges=merges, pad_token=pad, model_max_length=77)

    return Piece("tokenizer", _sha(f"clip {pad} {loading.file_hash(words)}"), 2 * words.stat().st_size, load)


def clip_words(path: Path) -> tuple[dict[str, int], list[tuple[str, str]]]:
    """CLIP's vocabulary and merges from the file that OpenAI published with it (github.com/openai/CLIP).

    Token numbers: 256 bytes, the same at a word's end, one token a merge, then start and end of the text.
    """
    with gzip.open(path, "rt", encoding="utf-8") as file:
        lines = file.read().split("\n")[1 : 49152 - 256 - 2 + 1]
    merges = [(left, right) for left, right in (line.split() for line in lines)]
    printable = [*range(33, 127), *range(161, 173), *range(174, 256)]
    rest = [byte for byte in range(256) if byte not in printable]
    signs = [chr(byte) for byte in printable] + [chr(256 + i) for i in range(len(rest))]
    words = [*signs, *(sign + "</w>" for sign in signs), *(left + right for left, right in merges)]
    words += ["<|startoftext|>", "<|endoftext|>"]
    return {word: number for number, word in enumerate(words)}, merges


_known: dict[tuple[str, int, int], dict[str, str]] = {}


def prefix_hashes(path: Path, tensors: Mapping[str, Any]) -> dict[str, str]:
    """Role → SHA-256 of its tensors, names, types and shapes; fine-tunes with the same VAE have the same hash."""
    stat = path.stat()
    key = (str(path.resolve()), stat.st_size, stat.st_mtime_ns)
    if key not in _known:
        _known[key] = {role: _hash_of(path, prefix, tensors) for role, prefix in PREFIXES.items()}
    return _known[key]


def _hash_of(path: Path, prefix: str, tensors: Mapping[str, Any]) -> str:
    whole = hashlib.sha256()
    with path.open("rb") as file:
        base = 8 + int.from_bytes(file.read(8), "little")
        for name in sorted(key for key in tensors if key.startswith(prefix)):
            told = tensors[name]
            start, end = told["data_offsets"]
            whole.update(f"{name} {told['dtype']} {told['shape']}\n".encode())
            file.seek(base + start)
            for at in range(start, end, BLOCK):
                whole.update(file.read(min(BLOCK, end - at)))
    return whole.hexdigest()


def _sha(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()


_FOREIGN = Words(
    "`{name}` is no single-file Stable Diffusion 1.x or 2.x model.",
    "`{name}`은(는) 단일 파일로 된 Stable Diffusion 1.x 또는 2.x 모델이 아닙니다.",
)
_LACKS = Words(
    "The file of the model `{name}` has no {role}; a full checkpoint is needed.",
    "`{name}` 모델 파일에 {role}이(가) 없습니다. 전체 체크포인트가 필요합니다.",
)
