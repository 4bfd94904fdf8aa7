"""IOPaint inside this process, without its side effects: its import, and its models from files that were checked.

Left alone, IOPaint sets environment variables that slow oneDNN down, silences every UserWarning, looks for models in
the caches of whoever runs it, downloads what it misses, and where a file is broken deletes it and ends the process.
"""

from __future__ import annotations

import importlib
import importlib.util
import os
import sys
import threading
import types
import warnings
from pathlib import Path
from typing import Any

from engines.words import Refusal, Words

_one_at_a_time = threading.Lock()


def imported() -> None:
    """Import what `manager` needs: seconds the first time, so never on the event loop or a device's thread."""
    with _one_at_a_time:
        if "iopaint.model_manager" in sys.modules:
            return
        if (
            importlib.util.find_spec("imghdr") is None
        ):  # gone since Python 3.13; only IOPaint's web server needs it
            sys.modules["imghdr"] = types.ModuleType("imghdr")
        before = dict(os.environ)
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                importlib.import_module("iopaint.model_manager")
        finally:
            for name in set(os.environ) | set(before):
                if name not in before:
                    del os.environ[name]
                elif os.environ.get(name) != before[name]:
                    os.environ[name] = before[name]
        from loguru import logger

        logger.disable("iopaint")  # it tells stderr of every load


def manager(name: str, device: str, file: Path | None = None) -> Any:
    """IOPaint's `ModelManager` for the model `name` on `device`.

    Args:
        file: for "lama": TorchScript. It can carry programs, so whoever calls has checked what it is.

    Raises:
        Refusal: torch cannot read the file.
    """
    imported()
    import torch
    from iopaint.model import lama
    from iopaint.model_manager import ModelManager
    from iopaint.schema import ModelInfo, ModelType

    known = {name: ModelInfo(name=name, path=name, model_type=ModelType.INPAINT)}

    def scan_models(self: Any) -> list[Any]:
        """What there is, told instead of searched for."""
        self.available_models = known
        return list(known.values())

    def load(url: str, to: Any, sum: str) -> Any:
        """The given file, in place of IOPaint's loader."""
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", FutureWarning)  # torch would like to be rid of TorchScript
            return torch.jit.load(file, map_location="cpu").to(to)  # type: ignore[no-untyped-call]

    resident = type("Resident", (ModelManager,), {"scan_models": scan_models})
    with _one_at_a_time:
        plain, lama.load_jit_model = lama.load_jit_model, load
        try:
            return resident(name, torch.device(device))
        except RuntimeError as error:
            if file is None or "memory" in str(error):
                raise
            raise Refusal(_BROKEN(name=name)) from error
        finally:
            lama.load_jit_model = plain


_BROKEN = Words(
    "The file of the model `{name}` cannot be loaded by this release of torch. Please tell an administrator.",
    "`{name}` 모델 파일을 이 버전의 torch로 불러올 수 없습니다. 관리자에게 알려 주십시오.",
)
