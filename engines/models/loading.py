"""From a model on disk to its pieces: which files, their hash, their size in memory, and how each is loaded.

Safetensors only, nothing that runs code from a model's folder, nothing from a network. torch is imported by the
functions that load, never before.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
import os
import threading
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

from engines.models import catalogue, references, trained
from engines.models.files import Stamp, header
from engines.models.files import stamp as stamp_of
from engines.models.memory import Blueprint, Piece
from engines.words import Refusal, Words

# Two `from_pretrained` at once leave modules on the meta device: one load at a time in the whole process.
one_at_a_time = threading.Lock()

CLASSES = {
    "tokenizer": ("CLIPTokenizer", "CLIPTokenizerFast"),
    "text_encoder": ("CLIPTextModel",),
    "vae": ("AutoencoderKL",),
    "unet": ("UNet2DConditionModel",),
}
BYTES = {"float32": 4, "float16": 2, "bfloat16": 2}
Read = Callable[[str, str], Blueprint]


def reader(
    folder: Path | None,
    device: str,
    dtype: str,
    *,
    defaults: Mapping[str, str] | None = None,
    paths: Iterable[Path] = (),
) -> Read:
    """The `read` of `engines.models.memory.Models`: names looked up in the catalogue, fetched, hashed.

    Args:
        folder: the models folder; hub models are downloaded into it. None: only what is here already.
        device, dtype: where and as what the pieces are loaded.
        defaults: kind → name for a request without a model's name.
    """
    known = tuple(paths)
    seen: dict[Path, tuple[Stamp, Blueprint]] = {}

    def read(name: str, kind: str) -> Blueprint:
        said = name or (defaults or {}).get(kind, "")
        model = catalogue.find(said, kind, folder, known)
        path = model.path
        if path is None:
            if folder is None:
                raise Refusal(_NOT_HERE(name=model.name))
            path = catalogue.fetch(model, folder)
        stamp = stamp_of(path)
        base = read(model.base, kind) if model.lora else None
        if base is not None:
            stamp = (*stamp, (base.hash, 0, 0))
        if path not in seen or seen[path][0] != stamp:
            made = _blueprint(model.name, path, device, dtype, base)
            learnt = (*made.references, *references.read(path))  # a LoRA has its base's too
            noise = trained.prompt_noise(path)
            seen[path] = (stamp, dataclasses.replace(made, prompt_noise=noise, references=learnt))
        return seen[path][1]

    return read


def _blueprint(name: str, path: Path, device: str, dtype: str, base: Blueprint | None) -> Blueprint:
    if base is not None:
        from engines.models.lora_plan import lora_blueprint

        return lora_blueprint(name, path, base, dtype)
    if path.is_dir():
        return folder_blueprint(name, path, device, dtype)
    from engines.models.single_file import file_blueprint

    return file_blueprint(name, path, device, dtype)


def folder_blueprint(name: str, path: Path, device: str, dtype: str) -> Blueprint:
    """The pieces of a diffusers folder.

    Raises:
        Refusal: it holds another architecture, or weights that are not safetensors.
    """
    index = json.loads((path / "model_index.json").read_text())
    for role, classes in CLASSES.items():
        if (index.get(role) or [None, None])[1] not in classes:
            raise Refusal(_FOREIGN(name=name, role=role, found=str((index.get(role) or ["", "–"])[1])))
    unet, vae = _config(path / "unet"), _config(path / "vae")
    scheduler = _config(path / "scheduler", "scheduler_config.json")
    pieces = (
        _tokenizer(path / "tokenizer"),
        *(_module(name, path / role, role, device, dtype) for role in ("text_encoder", "vae", "unet")),
    )
    return blueprint(name, pieces, unet, vae, scheduler)


def blueprint(
    name: str,
    pieces: tuple[Piece, ...],
    unet: Mapping[str, Any],
    vae: Mapping[str, Any],
    scheduler: Mapping[str, Any],
) -> Blueprint:
    """Pieces and configurations → the facts that sampling needs."""
    scale = 2 ** (len(vae["block_out_channels"]) - 1)
    side = unet["sample_size"]
    told = json.dumps(scheduler, sort_keys=True).encode()
    return Blueprint(
        name=name,
        hash=digest([piece.hash.encode() for piece in pieces] + [told]),
        pieces=pieces,
        scheduler_config=scheduler,
        prediction_type=scheduler.get("prediction_type", "epsilon"),
        in_channels=unet["in_channels"],
        native=scale * (side if isinstance(side, int) else min(side)),
        scale=scale,
        multiple=scale * 2 ** (len(unet["block_out_channels"]) - 1),
    )


def import_libraries() -> None:
    """Import what any load needs (seconds), and keep the libraries from drawing progress bars on stderr."""
    import diffusers
    import transformers

    for logs in (diffusers.utils.logging, transformers.utils.logging):
        logs.disable_progress_bar()
    for role, (name, *_) in CLASSES.items():  # both libraries import their classes lazily
        getattr(transformers if role in ("tokenizer", "text_encoder") else diffusers, name)


def _tokenizer(folder: Path) -> Piece:
    files = sorted(p for p in folder.iterdir() if p.suffix in (".json", ".txt"))

    def load() -> Any:
        from transformers import CLIPTokenizer

        with one_at_a_time:
            return CLIPTokenizer.from_pretrained(folder, local_files_only=True)

    said = [p.name.encode() + b"\0" + p.read_bytes() for p in files]
    return Piece("tokenizer", digest([b"tokenizer", *said]), sum(map(len, said)), load)


def _module(name: str, folder: Path, role: str, device: str, dtype: str) -> Piece:
    files, variant = _weights(name, folder)
    config = _config(folder)
    told = json.dumps({k: v for k, v in config.items() if k not in _PASSING}, sort_keys=True)
    size = sum(loaded_size(header(file).values(), dtype) for file in files)

    def read() -> Any:
        import torch

        # whoever asks first, the weights serve trainings too: made in inference mode they could not
        with one_at_a_time, torch.inference_mode(False):
            return laid_out(_from_pretrained(folder, role, dtype, variant), role, device)

    def load() -> Any:
        return placed(read(), device)

    hashes = [file_hash(file).encode() for file in files]
    return Piece(role, digest([role.encode(), told.encode(), *hashes]), size, load, read=read)


_PASSING = ("_name_or_path", "_diffusers_version", "transformers_version", "torch_dtype", "dtype")


def _weights(name: str, folder: Path) -> tuple[list[Path], str | None]:
    """The weight files to load and their variant; full precision is preferred to half."""
    for variant in (None, "fp16"):
        dot = f".{variant}" if variant else ""
        for stem in ("diffusion_pytorch_model", "model"):
            if (whole := folder / f"{stem}{dot}.safetensors").is_file():
                return [whole], variant
            if (index := folder / f"{stem}.safetensors.index{dot}.json").is_file():
                names = set(json.loads(index.read_text())["weight_map"].values())
                return sorted(folder / Path(n).name for n in names), variant
    raise Refusal(_NOT_SAFE(name=name, role=folder.name))


def _from_pretrained(folder: Path, role: str, dtype: str, variant: str | None) -> Any:
    import torch

    common = {"use_safetensors": True, "local_files_only": True, "variant": variant}
    if role == "text_encoder":
        from transformers import CLIPTextModel

        return CLIPTextModel.from_pretrained(folder, dtype=getattr(torch, dtype), **common)
    import diffusers

    loaded = getattr(diffusers, CLASSES[role][0])
    return loaded.from_pretrained(folder, torch_dtype=getattr(torch, dtype), **common)


def placed(module: Any, device: str) -> Any:
    """The module on its device, for use without training."""
    import torch

    with torch.inference_mode(False):
        return module.to(device).eval().requires_grad_(False)


def laid_out(module: Any, role: str, device: str) -> Any:
    """The module with its weights in the order that suits the device: channels last for convolutions.

    On one core of a CPU a UNet row takes 30 ms then and 39 ms else (embedded model, float32).
    """
    import torch

    if role in ("unet", "vae") and device.startswith(("cuda", "cpu")):
        return module.to(memory_format=torch.channels_last)
    return module


def loaded_size(tensors: Iterable[Mapping[str, Any]], dtype: str) -> int:
    """Bytes that tensors of a safetensors header take once they are `dtype` (whole numbers keep their own)."""
    size = 0
    for tensor in tensors:
        start, end = tensor["data_offsets"]
        floating = tensor["dtype"].startswith(("F", "BF"))
        count = 1
        for side in tensor["shape"]:
            count *= side
        size += count * BYTES[dtype] if floating else end - start
    return size


def _config(folder: Path, file: str = "config.json") -> dict[str, Any]:
    read: dict[str, Any] = json.loads((folder / file).read_text())
    return read


_hashes: dict[tuple[str, int, int], str] = {}


def file_hash(path: Path) -> str:
    """SHA-256 of a file in hex; read once as long as its size and time stay."""
    real = path.resolve()
    stat = os.stat(real)
    key = (str(real), stat.st_size, stat.st_mtime_ns)
    if key not in _hashes:
        with real.open("rb") as file:
            _hashes[key] = hashlib.file_digest(file, "sha256").hexdigest()
    return _hashes[key]


def digest(parts: Iterable[bytes]) -> str:
    whole = hashlib.sha256()
    for part in parts:
        whole.update(len(part).to_bytes(8, "little") + part)
    return whole.hexdigest()


_NOT_HERE = Words(
    "The model `{name}` is not on this machine yet, and there is no models folder to fetch it into.",
    "`{name}` 모델이 아직 이 컴퓨터에 없으며, 내려받아 둘 모델 폴더도 없습니다.",
)
_FOREIGN = Words(
    "The model `{name}` is of an architecture that is not supported: its {role} is {found}. Stable Diffusion 1.x "
    "and 2.x are supported.",
    "`{name}` 모델은 지원하지 않는 구조입니다 ({role}: {found}). Stable Diffusion 1.x와 2.x를 지원합니다.",
)
_NOT_SAFE = Words(
    "The model `{name}` has no safetensors weights in its `{role}` folder. Other formats can carry programs and "
    "are not loaded; convert it to safetensors first.",
    "`{name}` 모델의 `{role}` 폴더에 safetensors 가중치가 없습니다. 다른 형식은 프로그램을 담을 수 있어 불러오지 "
    "않습니다. 먼저 safetensors로 변환해 주십시오.",
)
