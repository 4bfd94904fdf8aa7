"""The tiny decoder (TAESD, github.com/madebyollin/taesd, MIT) for previews: where it lies, and its one piece.

It knows the latents of Stable Diffusion 1 and 2 and turns them into pictures in a twentieth of the VAE's work.
"""

from __future__ import annotations

import json
import logging
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

from engines.models import loading
from engines.models.files import header
from engines.models.memory import Blueprint, Parts, Piece

log = logging.getLogger(__name__)

ROLE = "tiny"
NAME = "madebyollin/taesd"  # on the hub
FILES = ("config.json", "diffusion_pytorch_model.safetensors")
SCALE, CHANNELS, FACTOR = 8, 4, 0.18215  # of the latents it was made for


def suits(parts: Parts) -> bool:
    """Whether a model's latents are those that the tiny decoder knows."""
    config = parts.vae.config
    factor = abs(config.scaling_factor - FACTOR) < 1e-3
    return factor and parts.scale == SCALE and config.latent_channels == CHANNELS


class Decoder:
    """Finds the tiny decoder, once: a folder that is named, one in the models folder, or the hub's.

    Args:
        said: a folder, or a name on the hub; "" = the one in the models folder, if there is one.
        folder: the models folder.
        device, dtype: where and as what it is loaded.
    """

    def __init__(
        self,
        said: str,
        folder: Path | None,
        device: str,
        dtype: str,
        download: Callable[[str, Path], None] | None = None,
    ) -> None:
        self._said, self._folder = said, folder
        self._device, self._dtype = device, dtype
        self._download = download or _from_hub
        self._looked = False
        self.plan: Blueprint | None = None  # None: there is none, or nobody has looked yet

    def prepare(self) -> None:
        """Look for it, on a thread that may wait for a network. Where there is none it is told in one line."""
        if self._looked:
            return
        self._looked = True
        try:
            path = self._found()
            self.plan = None if path is None else blueprint(path, self._device, self._dtype)
        except Exception as error:  # whatever a network can do, or a foreign folder
            log.warning("no tiny decoder (%s: %s); previews stay coarse", type(error).__name__, error)

    def _found(self) -> Path | None:
        if self._said and complete(Path(self._said).expanduser()):
            return Path(self._said).expanduser()
        if self._folder is None:
            return None
        goal = self._folder / (self._said or NAME).rpartition("/")[2]
        if not complete(goal) and self._said:
            self._download(self._said, goal)
        return goal if complete(goal) else None


def complete(folder: Path) -> bool:
    return all((folder / name).is_file() for name in FILES)


def blueprint(folder: Path, device: str, dtype: str) -> Blueprint:
    """A model of one piece. `ValueError` where the folder holds something else."""
    config, file = folder / FILES[0], folder / FILES[1]
    kind = json.loads(config.read_text()).get("_class_name")
    if kind != "AutoencoderTiny":
        raise ValueError(f"{folder.name} holds {kind}, no AutoencoderTiny")

    def read() -> Any:
        import diffusers
        import torch

        with loading.one_at_a_time, torch.inference_mode(False):
            made = diffusers.AutoencoderTiny.from_pretrained(
                folder, use_safetensors=True, local_files_only=True, torch_dtype=getattr(torch, dtype)
            )
            return loading.laid_out(made, "vae", device)

    hash = loading.digest([ROLE.encode(), config.read_bytes(), loading.file_hash(file).encode()])
    size = loading.loaded_size(header(file).values(), dtype)
    piece = Piece(ROLE, hash, size, lambda: loading.placed(read(), device), read=read)
    return Blueprint(NAME, hash, (piece,))


def _from_hub(name: str, goal: Path) -> None:
    """The two files of a hub's model into `goal`, whole or not at all."""
    from huggingface_hub import snapshot_download

    part = goal.with_name(f".{goal.name}.part")
    snapshot_download(name, allow_patterns=list(FILES), local_dir=part)
    if not complete(part):
        raise FileNotFoundError(f"{name} has no safetensors")
    shutil.rmtree(part / ".cache", ignore_errors=True)
    os.replace(part, goal)
