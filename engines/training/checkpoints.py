"""Checkpoints that can be trusted: whole or not there, and everything needed to go on exactly.

Written into a folder of another name, synced, with a manifest of SHA-256, then renamed. The newest valid one wins; old
ones go last. Tensors are safetensors, the rest JSON: nothing in them can run.
"""

from __future__ import annotations

import errno
import hashlib
import json
import os
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file

from engines.words import Refusal, Words

PREFIX = "checkpoint-"  # the dispatcher keeps a work folder that holds one
PART = ".saving-"
MANIFEST, STATE, WEIGHTS, OPTIMIZER = (
    "manifest.json",
    "state.json",
    "weights.safetensors",
    "optimizer.safetensors",
)
SPARE = 64 * 2**20  # bytes left free on the disk


class NoRoom(Refusal):
    """The disk has no room for what must be kept."""

    code = "disk"


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """All that a training needs to go on."""

    step: int
    state: dict[str, Any]  # JSON
    weights: Mapping[str, torch.Tensor]
    optimizer: Mapping[str, torch.Tensor]


def save(folder: Path, checkpoint: Checkpoint, keep: int) -> Path:
    """Put `checkpoint` into `folder/checkpoint-<step>` and delete all but the `keep` newest.

    Raises:
        NoRoom: the disk is too full; what was there before is still there.
    """
    final, part = folder / f"{PREFIX}{checkpoint.step:06}", folder / f"{PART}{checkpoint.step:06}"
    need_room(folder, size(checkpoint))
    shutil.rmtree(part, ignore_errors=True)
    part.mkdir()
    try:
        _write(part, checkpoint)
        if (
            final.exists()
        ):  # an earlier one of this step that was not valid, or it would have been gone on from
            shutil.rmtree(final)
        os.rename(part, final)
        sync_folder(folder)
    except (OSError, SafetensorError) as error:
        shutil.rmtree(part, ignore_errors=True)
        if full(error):
            raise NoRoom(_NO_ROOM(need=_mib(size(checkpoint)), free=_mib(_free(folder)))) from error
        raise
    for old in _numbered(folder)[keep:]:
        shutil.rmtree(old, ignore_errors=True)
    return final


def full(error: Exception) -> bool:
    """Whether the disk was too full; safetensors tells it in words only."""
    if isinstance(error, OSError):
        return error.errno in (errno.ENOSPC, errno.EDQUOT)
    return isinstance(error, SafetensorError) and any(
        f"code: {n}" in str(error) for n in (errno.ENOSPC, errno.EDQUOT)
    )


def _write(part: Path, checkpoint: Checkpoint) -> None:
    save_file(_plain(checkpoint.weights), part / WEIGHTS)
    save_file(_plain(checkpoint.optimizer), part / OPTIMIZER)
    (part / STATE).write_text(json.dumps({"step": checkpoint.step, **checkpoint.state}))
    hashes = {name: _hash(part / name) for name in (STATE, WEIGHTS, OPTIMIZER)}
    (part / MANIFEST).write_text(json.dumps(hashes, indent=1))
    for path in part.iterdir():
        sync_file(path)
    sync_folder(part)


def newest(folder: Path) -> Checkpoint | None:
    """The newest valid checkpoint in `folder`; what is broken or half-written is passed over."""
    for part in folder.glob(f"{PART}*"):
        shutil.rmtree(part, ignore_errors=True)
    path = newest_path(folder)
    if path is None:
        return None
    state = json.loads((path / STATE).read_text())
    return Checkpoint(state.pop("step"), state, load_file(path / WEIGHTS), load_file(path / OPTIMIZER))


def newest_path(folder: Path) -> Path | None:
    """Where the newest valid checkpoint is."""
    return next((path for path in _numbered(folder) if valid(path)), None)


def valid(path: Path) -> bool:
    """Whether everything in a checkpoint is as its manifest says."""
    try:
        hashes = json.loads((path / MANIFEST).read_text())
        return set(hashes) == {STATE, WEIGHTS, OPTIMIZER} and all(
            _hash(path / name) == hash for name, hash in hashes.items()
        )
    except (OSError, ValueError):
        return False


def size(checkpoint: Checkpoint) -> int:
    """Bytes on disk, about."""
    return sum(t.nbytes for t in (*checkpoint.weights.values(), *checkpoint.optimizer.values()))


def need_room(folder: Path, bytes: int) -> None:
    """`NoRoom` where the disk of `folder` has no room for so much."""
    free = _free(folder)
    if free < bytes + SPARE:
        raise NoRoom(_NO_ROOM(need=_mib(bytes + SPARE), free=_mib(free)))


def _free(folder: Path) -> int:
    return shutil.disk_usage(folder).free


def _numbered(folder: Path) -> list[Path]:
    """Checkpoints, newest first."""
    found = [p for p in folder.glob(f"{PREFIX}*") if p.name.removeprefix(PREFIX).isdigit()]
    return sorted(found, key=lambda path: int(path.name.removeprefix(PREFIX)), reverse=True)


def _plain(tensors: Mapping[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    return {name: tensor.detach().to("cpu").contiguous().clone() for name, tensor in tensors.items()}


def _hash(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def sync_file(path: Path) -> None:
    """Its bytes are on the disk when this returns."""
    with path.open("rb") as file:
        os.fsync(file.fileno())


def sync_folder(path: Path) -> None:
    """Its names are on the disk when this returns."""
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


# ------------------------------------------------------------------ the optimizer as tensors


def optimizer_tensors(optimizer: torch.optim.Optimizer) -> dict[str, torch.Tensor]:
    """An optimizer's state, "<parameter>.<name>" → tensor."""
    state = optimizer.state_dict()["state"]
    return {
        f"{index}.{name}": torch.as_tensor(value)
        for index, values in state.items()
        for name, value in values.items()
    }


def restore_optimizer(optimizer: torch.optim.Optimizer, tensors: Mapping[str, torch.Tensor]) -> None:
    """Put back what `optimizer_tensors` gave; the settings stay the optimizer's own."""
    state: dict[int, dict[str, torch.Tensor]] = {}
    for key, tensor in tensors.items():
        index, _, name = key.partition(".")
        state.setdefault(int(index), {})[name] = tensor
    optimizer.load_state_dict({**optimizer.state_dict(), "state": state})


def _mib(size: int) -> str:
    return f"{size / 2**30:.1f} GiB" if size >= 2**30 else f"{size / 2**20:.0f} MiB"


_NO_ROOM = Words(
    "The disk has no room for a checkpoint: {need} are needed, {free} are free. The last one is kept. Free some space, "
    "then start again.",
    "디스크에 체크포인트를 저장할 공간이 없습니다. {need}가 필요한데 {free}만 남아 있습니다. 마지막 체크포인트는 남아 있습니다. "
    "공간을 확보한 뒤 다시 시작해 주십시오.",
)
