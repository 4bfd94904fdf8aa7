"""The models that fill holes in pictures: OpenCV's and LaMa (arXiv 2109.07161), both through IOPaint.

A mender takes crops with holes and gives them back whole. It stays loaded under the device's memory budget.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from engines.cleaning import iopaint_library
from engines.cleaning.copying import filled
from engines.models import catalogue, downloadable, downloads
from engines.models.memory import Blueprint, Piece
from engines.words import Refusal, Words

Bytes = NDArray[np.uint8]
ROLE = "mender"
LAMA_ROW = 400_000_000  # bytes, as measured with a network of its shape
NEAR = 2  # pixels around an unknown one that OpenCV makes it of
CELL, LEAST = 8, 32  # pixels of LaMa's coarsest cell, and of a side at least
SMALL = 1 << 20  # bytes told for a model without weights


class Mender(Protocol):
    """Fills holes."""

    together: bool  # whether several crops at once are less work than one after another
    deep: int  # pixels from the edge of a hole that it fills well; 0 = any
    row_bytes: int  # of memory that 512 × 512 pixels take at once; 0 = little

    def padded(self, width: int, height: int) -> tuple[int, int]:
        """The size at which a crop is worked on. Crops of one such size may go together."""
        ...

    def mend(self, pictures: Sequence[Bytes], holes: Sequence[Bytes]) -> list[Bytes]:
        """Each picture (h, w, 3; RGB) with its hole (h, w; 255 = unknown) filled. All are of one padded size."""
        ...


class OpenCV:
    """Colours are carried on into the hole from its edge: at once, good for what is small or thin.

    What is wide gets a copy of the surface nearby (`engines.cleaning.copying`).
    """

    together, deep, row_bytes = False, 16, 0

    def __init__(self, manager: Any) -> None:
        self._manager = manager

    def padded(self, width: int, height: int) -> tuple[int, int]:
        return width, height

    def mend(self, pictures: Sequence[Bytes], holes: Sequence[Bytes]) -> list[Bytes]:
        return [self._one(picture, hole) for picture, hole in zip(pictures, holes, strict=True)]

    def _one(self, picture: Bytes, hole: Bytes) -> Bytes:
        made: Bytes = self._manager(picture, hole, whole())
        return filled(picture, hole > 0, np.ascontiguousarray(made[..., ::-1]), self.deep)  # IOPaint's is BGR


class LaMa:
    """A network that carries patterns on, across large holes too. One forward for all crops."""

    together, deep, row_bytes = True, 0, LAMA_ROW

    def __init__(self, manager: Any) -> None:
        self._manager = manager

    def padded(self, width: int, height: int) -> tuple[int, int]:
        """Whole cells of its coarsest level, and several of them: it mirrors what is at the border."""
        wide, high = (max(LEAST, -(-side // CELL) * CELL) for side in (width, height))
        return wide, high

    def mend(self, pictures: Sequence[Bytes], holes: Sequence[Bytes]) -> list[Bytes]:
        import torch
        from iopaint.helper import norm_img, pad_img_to_modulo

        pad = functools.partial(pad_img_to_modulo, mod=CELL, min_size=LEAST)
        model = self._manager.model
        images = np.stack([norm_img(pad(one)) for one in pictures])
        masks = np.stack([norm_img(pad(one)) > 0 for one in holes]).astype(np.int64)
        # unless told not to, torch specialises the network anew for each size it sees; crops come in many
        with torch.inference_mode(), torch.jit.optimized_execution(False):  # type: ignore[attr-defined]
            answers = model.model(
                torch.from_numpy(images).to(model.device), torch.from_numpy(masks).to(model.device)
            )
            values = (answers * 255).clamp(0, 255).permute(0, 2, 3, 1).cpu().numpy().astype(np.uint8)
        return [made[: one.shape[0], : one.shape[1]] for made, one in zip(values, pictures, strict=True)]


@functools.cache
def whole() -> Any:
    """IOPaint's settings for a crop as it is: cropping and putting back are our own.

    OpenCV's way that carries edges on (Navier-Stokes) is IOPaint's own choice, too; from fewer pixels it smears less.
    """
    from iopaint.schema import HDStrategy, InpaintRequest

    return InpaintRequest(hd_strategy=HDStrategy.ORIGINAL, cv2_radius=NEAR)


def reader(folder: Path | None, device: str, default: str = "") -> Callable[[str], Blueprint]:
    """A model's name → what `engines.models.memory.Models.take` needs for it. Slow the first time: it may download.

    Args:
        folder: the models folder.
        default: the name where none is said; "" = the catalogue's.
    """

    def read(name: str) -> Blueprint:
        model = catalogue.find(name or default, catalogue.CLEANUP, folder)
        iopaint_library.imported()
        if model.built_in:
            return _opencv(model.name, device)
        download = downloadable.named(model.name)
        if download is None:
            raise Refusal(_FOREIGN(name=model.name))
        if folder is None:
            raise Refusal(_ABSENT(name=model.name))
        return _lama(download, model.path or catalogue.fetch(model, folder), device)

    return read


def _opencv(name: str, device: str) -> Blueprint:
    import cv2

    hash = f"opencv-{cv2.__version__}"
    piece = Piece(ROLE, hash, SMALL, lambda: OpenCV(iopaint_library.manager("cv2", "cpu")))
    return Blueprint(name, hash, (piece,))


def _lama(download: downloadable.Download, file: Path, device: str) -> Blueprint:
    def load() -> LaMa:
        """TorchScript can carry programs: only these very bytes are loaded, and no others."""
        if not downloads.intact(download, file):
            raise Refusal(_WRONG(name=download.name, file=f"{download.name}/{file.name}"))
        return LaMa(iopaint_library.manager("lama", device, file))

    hash = download.file.sha256
    return Blueprint(download.name, hash, (Piece(ROLE, hash, download.file.size, load),))


_FOREIGN = Words(
    "`{name}` is no model for cleaning up that can be used here.",
    "`{name}`은(는) 여기에서 지우기에 쓸 수 있는 모델이 아닙니다.",
)
_ABSENT = Words(
    "The model `{name}` is not on this machine yet. An administrator can bring it with "
    "`defect-studio models fetch {name}`; `model:cv2` works without it.",
    "`{name}` 모델이 아직 이 컴퓨터에 없습니다. 관리자가 `defect-studio models fetch {name}` 명령으로 내려받을 수 "
    "있습니다. `model:cv2`는 내려받지 않아도 쓸 수 있습니다.",
)
_WRONG = Words(
    "The file {file} in the models folder is not the one it should be (its SHA-256 is another), so it is not loaded. "
    "An administrator should delete it and run `defect-studio models fetch {name}`; `model:cv2` works meanwhile.",
    "모델 폴더의 {file} 파일이 원래 파일과 달라서(SHA-256 불일치) 불러오지 않았습니다. 관리자가 파일을 지우고 "
    "`defect-studio models fetch {name}` 명령을 실행해야 합니다. 그동안 `model:cv2`를 쓸 수 있습니다.",
)
