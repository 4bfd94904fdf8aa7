"""Which phase a process is in, in a file that outlives it: one byte a phase, how often it is inside."""

from __future__ import annotations

import mmap
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

PHASES = ("accept", "queued", "begin", "step", "record", "send")


class Phases:
    def __init__(self, path: Path, names: tuple[str, ...] = PHASES) -> None:
        self._names = names
        if not path.exists():
            path.write_bytes(bytes(len(names)))
        self._file = path.open("r+b")
        self._map = mmap.mmap(self._file.fileno(), len(names))

    def clear(self) -> None:
        self._map[:] = bytes(len(self._names))

    def add(self, phase: str, count: int) -> None:
        at = self._names.index(phase)
        self._map[at] = min(max(self._map[at] + count, 0), 255)

    @contextmanager
    def inside(self, phase: str) -> Iterator[None]:
        self.add(phase, 1)
        try:
            yield
        finally:
            self.add(phase, -1)

    def count(self, phase: str) -> int:
        """How often it is inside; where only `add` is called, how often it has been, up to 255."""
        return self._map[self._names.index(phase)]

    def now(self) -> set[str]:
        """The phases that it is inside now; those that it was in when it was killed."""
        return {phase for phase, count in zip(self._names, self._map[:], strict=True) if count}

    def close(self) -> None:
        self._map.close()
        self._file.close()
