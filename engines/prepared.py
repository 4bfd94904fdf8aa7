"""What `prepare` made of works on other threads, until `begin` takes it on the device's."""

from __future__ import annotations

import threading
from collections import OrderedDict
from pathlib import Path
from typing import Generic, TypeVar

from engines.engine import Work

T = TypeVar("T")


class Prepared(Generic[T]):
    """A few things by their works; beyond `most` the oldest is forgotten, and `begin` makes it anew. Any thread."""

    def __init__(self, most: int) -> None:
        self._most = most
        self._lock = threading.Lock()
        self._kept: OrderedDict[tuple[int, Path], T] = OrderedDict()

    def __len__(self) -> int:
        return len(self._kept)

    def put(self, work: Work, thing: T) -> None:
        with self._lock:
            self._kept[work.id, work.folder] = thing
            while len(self._kept) > self._most:
                self._kept.popitem(last=False)

    def take(self, work: Work) -> T | None:
        """Once; None where it was not made, or is forgotten."""
        with self._lock:
            return self._kept.pop((work.id, work.folder), None)
