"""The object in one photo, for a mask: the small background remover on the CPU, kept loaded beside the engines.

It never downloads: where its file is not here, there is no outline, and whoever asked must do without.
"""

from __future__ import annotations

import io
import logging
import threading
from dataclasses import dataclass, field
from pathlib import Path

from PIL import Image

from engines import compose
from engines.background import networks
from engines.background.networks import Network
from engines.models import downloadable, downloads

log = logging.getLogger(__name__)

NAME = "u2netp"


@dataclass(slots=True)
class Outliner:
    """Mutable: it loads its network when first asked, and keeps it. One picture at a time."""

    folder: Path  # the models folder
    threads: int = 1  # CPU threads: the others are for the devices
    _network: Network | None = None
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def outline(self, picture: bytes) -> bytes | None:
        """Blocks, so it is for a thread.

        Args:
            picture: one of our own files; about 640 pixels are enough, as the network looks at 320.

        Returns:
            A grey PNG of the picture's size, white = object; None where the network is not here or damaged.
        """
        with Image.open(io.BytesIO(picture)) as opened:
            photo = compose.flattened(opened)
        with self._lock:
            network = self._network = self._network or self._loaded()
            if network is None:
                return None
            (mask,) = network.masks([networks.shrunk(NAME, photo)])
        out = io.BytesIO()
        networks.grown(NAME, mask, photo.size).save(out, "PNG", compress_level=1)
        return out.getvalue()

    def _loaded(self) -> Network | None:
        known = downloadable.named(NAME)
        path = downloads.found(known, self.folder) if known else None
        if known is None or path is None:
            return None
        if not downloads.intact(known, path):
            log.error("%s is damaged: delete it and fetch %s again", path, NAME)
            return None
        networks.import_libraries(NAME)
        return networks.Onnx(NAME, path, threads=self.threads)
