"""The networks that tell an object from its background, and how each is loaded.

Two families: ONNX files run by rembg's own session classes, and BRIA's RMBG-1.4, whose weights go into the IS-Net
class that IOPaint ships (the code on its hub page is not run). All take a square picture and give a mask of the same
square; shrinking the photo and growing the mask is done on other threads, in the way the network's own tool does it.
"""

from __future__ import annotations

import importlib.metadata
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from engines.background import lone
from engines.background.request import COSTS
from engines.models import catalogue, downloadable
from engines.models.catalogue import REMOVEBG
from engines.models.files import header
from engines.models.loading import file_hash, loaded_size
from engines.models.memory import Blueprint, Piece
from engines.words import Refusal, Words

NETWORK = "network"  # the role of the one piece
RMBG_ROW = 220_000_000  # bytes: a quarter of what a picture takes, as measured
Resampling = Image.Resampling


class Network(Protocol):
    def masks(self, pictures: Sequence[Image.Image]) -> list[Image.Image]:
        """RGB squares of the network's own side → masks ("L") of that size, white = object."""
        ...


@dataclass(frozen=True, slots=True)
class Design:
    """What is known of a network without loading it."""

    side: int  # pixels of the square it looks at
    rows: int  # of a step: more where several pictures at once would gain nothing, or take much memory
    session: tuple[str, str] | None = None  # rembg's module and class; None: RMBG-1.4
    row_bytes: int = 0  # of memory that a row takes during a step; 0 = as much for one picture as for all
    shrink: Resampling = Resampling.LANCZOS
    grow: Resampling = Resampling.LANCZOS
    libraries: tuple[str, ...] = ("rembg", "onnxruntime")


# An ONNX file takes one picture a call, so 8 rows: on a CPU nobody waits for more than one of them.
DESIGNS: Mapping[str, Design] = {
    "u2netp": Design(320, 8, ("u2netp", "U2netpSession")),
    "u2net": Design(320, 8, ("u2net", "U2netSession")),
    "isnet-general-use": Design(1024, 8, ("dis_general_use", "DisSession")),
    "birefnet-general": Design(1024, 8, ("birefnet_general", "BiRefNetSessionGeneral")),
    "rmbg-1.4": Design(
        1024, 4, None, RMBG_ROW, Resampling.BILINEAR, Resampling.BILINEAR, libraries=("iopaint", "torch")
    ),
}


def cost(name: str) -> float:
    """The work of one picture in row-steps."""
    return COSTS.get(name, 1.0)


def shrunk(name: str, photo: Image.Image) -> Image.Image:
    """An RGB photo as the network sees it."""
    design = DESIGNS[name]
    return photo.resize((design.side, design.side), design.shrink)


def grown(name: str, mask: Image.Image, size: tuple[int, int]) -> Image.Image:
    """The network's mask at the photo's size."""
    return mask.resize(size, DESIGNS[name].grow)


def import_libraries(name: str) -> None:
    """What loading this network needs. Slow the first time; on any thread but the event loop's."""
    design = DESIGNS[name]
    if design.session is None:
        lone.module("iopaint.plugins", "briarmbg")
    else:
        lone.module("rembg.sessions", design.session[0])


def versions(name: str) -> dict[str, str]:
    """What a recipe needs to be made again exactly."""
    return {lib: importlib.metadata.version(lib) for lib in ("defect-studio", *DESIGNS[name].libraries)}


Find = Callable[[str], Blueprint]


def finder(
    folder: Path | None,
    device: str,
    *,
    threads: int = 0,
    default: str = "",
    paths: Iterable[Path] = (),
) -> Find:
    """A model's name → what lies on disk: looked up, fetched where it is not here, checked by its sum.

    Args:
        folder: the models folder; None: only what is here already.
        device: as torch says it; RMBG-1.4 runs there, ONNX where the installed onnxruntime can.
        threads: CPU threads; 0 = as many as onnxruntime likes.
    """
    known = tuple(paths)

    def find(name: str) -> Blueprint:
        model = catalogue.find(name or default, REMOVEBG, folder, known)
        path = model.path
        if path is None:
            if folder is None:
                raise Refusal(_NOT_HERE(name=model.name))
            path = catalogue.fetch(model, folder)
        sum, wanted = file_hash(path), downloadable.named(model.name)
        if wanted is None or model.name not in DESIGNS:
            raise Refusal(_UNKNOWN(name=model.name))
        if sum != wanted.file.sha256:
            raise Refusal(_DAMAGED(name=model.name))
        return Blueprint(model.name, sum, (_piece(model.name, path, sum, device, threads),))

    return find


def _piece(name: str, path: Path, sum: str, device: str, threads: int) -> Piece:
    hash = f"{device}:{sum}"
    if DESIGNS[name].session is not None:
        size = int(path.stat().st_size * 1.5)
        return Piece(NETWORK, hash, size, lambda: Onnx(name, path, device, threads))
    size = loaded_size(header(path).values(), "float32")
    return Piece(NETWORK, hash, size, lambda: Rmbg.read(path, device), read=lambda: Rmbg.read(path))


class Onnx:
    """An ONNX file in rembg's session class, which never downloads: it is given our file."""

    def __init__(self, name: str, path: Path, device: str = "cpu", threads: int = 0) -> None:
        import onnxruntime  # type: ignore[import-untyped]

        session = DESIGNS[name].session
        assert session is not None
        found = getattr(lone.module("rembg.sessions", session[0]), session[1])
        ours = type("Ours", (found,), {"download_models": classmethod(_given_file)})
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = threads
        options.enable_cpu_mem_arena = False  # else it keeps half a gigabyte for a network of 5 MB
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")  # others need the cores
        wanted = ["CUDAExecutionProvider"] if device.startswith("cuda") else []
        there = onnxruntime.get_available_providers()
        providers = [*(p for p in wanted if p in there), "CPUExecutionProvider"]
        self._session = ours(name, options, file=str(path), providers=providers)

    def masks(self, pictures: Sequence[Image.Image]) -> list[Image.Image]:
        """One after the other: the files are made for one picture a call."""
        with np.errstate(all="ignore"):  # a picture without any object divides by zero in there
            return [self._session.predict(picture)[0] for picture in pictures]


def _given_file(cls: Any, /, *args: Any, file: str, **more: Any) -> Any:
    return file


class Rmbg:
    """BRIA's RMBG-1.4: really a batch."""

    def __init__(self, network: Any, device: str = "cpu") -> None:
        import torch

        self._network = network
        self._device = torch.device(device)

    @classmethod
    def read(cls, path: Path, device: str = "cpu") -> Rmbg:
        """From its file. Raises `Refusal` where that holds another network's weights."""
        import torch
        from safetensors.torch import load_file

        with torch.device("meta"):  # no numbers by chance that are thrown away at once
            network = lone.module("iopaint.plugins", "briarmbg").BriaRMBG()
        try:
            network.load_state_dict(load_file(path, device="cpu"), assign=True)
        except RuntimeError as error:
            raise Refusal(_FOREIGN(file=path.name)) from error
        return cls(network.to(device).eval().requires_grad_(False), device)

    def moved(self, copy: Callable[[Any], Any], device: str) -> Rmbg:
        return Rmbg(copy(self._network), device)

    def masks(self, pictures: Sequence[Image.Image]) -> list[Image.Image]:
        import torch

        with torch.inference_mode():
            rows = torch.stack([torch.from_numpy(np.array(picture)) for picture in pictures])
            seen = rows.permute(0, 3, 1, 2).to(self._device, torch.float32) / 255.0 - 0.5
            said = self._network(seen)[0][0][:, 0]
            low, high = said.amin((1, 2), keepdim=True), said.amax((1, 2), keepdim=True)
            share = (said - low) / (high - low).clamp_min(1e-8)
            values: NDArray[np.uint8] = (share * 255).to(torch.uint8).cpu().numpy()
        return [Image.fromarray(one) for one in values]


_NOT_HERE = Words(
    "The model `{name}` is not on this machine yet, and there is no models folder to fetch it into.",
    "`{name}` 모델이 아직 이 컴퓨터에 없으며, 내려받아 둘 모델 폴더도 없습니다.",
)
_UNKNOWN = Words(
    "The model `{name}` cannot remove backgrounds here.", "`{name}` 모델로는 배경을 제거할 수 없습니다."
)
_DAMAGED = Words(
    "The file of the model `{name}` is not the one it should be (wrong SHA-256), so it is not used. Ask an administrator "
    "to delete it and to run `defect-studio models fetch {name}`.",
    "`{name}` 모델의 파일이 원본과 다르므로(SHA-256 불일치) 사용하지 않습니다. 관리자에게 파일을 지우고 "
    "`defect-studio models fetch {name}` 명령을 실행해 달라고 요청해 주십시오.",
)
_FOREIGN = Words(
    "The file {file} does not hold the weights of RMBG-1.4.", "{file} 파일은 RMBG-1.4의 가중치가 아닙니다."
)
