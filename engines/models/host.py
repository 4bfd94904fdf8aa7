"""Models in main memory, for all devices of the process: from here a device has one with one copy, without the disk.

A piece comes here when it is read ahead or leaves a device (or is read for one, while there is room to spare). When
room is needed, copies of what a device has just taken go first, then what left its device longest ago. Known by
content and number format, so that every lane shares it. Any thread may call. Importing this loads no torch.
"""

from __future__ import annotations

import logging
from collections import OrderedDict
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from threading import Condition
from typing import Any

log = logging.getLogger(__name__)

Key = tuple[str, str]  # a piece's hash and its number format


def always() -> bool:
    return True


@dataclass(slots=True)
class _Kept:
    thing: Any
    size: int
    users: int = 0  # that copy it to a device now: it may not go


class HostCache:
    """Pieces in main memory under a byte budget.

    Args:
        budget: bytes; what is being read counts from the start.
        up: a piece in main memory and a device → a copy of it there.
        down: a piece anywhere → a copy of it here, in memory that is quick to copy from (pinned, for CUDA).
    """

    def __init__(self, budget: int, up: Callable[[Any, str], Any], down: Callable[[Any], Any]) -> None:
        self.budget = budget
        self._up = up
        self._down = down
        self._kept: OrderedDict[Key, _Kept] = OrderedDict()
        self._coming: dict[Key, int] = {}  # being read or copied here: bytes
        self._changed = Condition()

    def __contains__(self, key: Key) -> bool:
        return key in self._kept

    @property
    def used(self) -> int:
        """Bytes, with what is on its way here."""
        with self._changed:
            return self._used()

    def take(self, key: Key, size: int, read: Callable[[], Any], device: str) -> Any:
        """The piece on `device`: from here, else read from disk, and kept here where there is room for it."""
        kept = self._come(key, size, read, spare=True)
        if kept is None:
            return self._up(read(), device)
        try:
            return self._up(kept.thing, device)
        finally:
            self._let_go(kept)
            with self._changed:
                if self._kept.get(key) is kept:
                    self._kept.move_to_end(key, last=False)

    def fetch(
        self, key: Key, size: int, read: Callable[[], Any], wanted: Callable[[], bool] = always
    ) -> bool:
        """Whether the piece is here now, read ahead. Where nobody wants it any more, nothing of it stays."""
        if not wanted():
            return False
        kept = self._come(key, size, read, wanted)
        if kept is not None:
            self._let_go(kept)
        return kept is not None

    @contextmanager
    def reserved(self, keys: Iterable[Key]) -> Iterator[None]:
        """Within, what is here of `keys` does not go: it is about to be taken, when others have left the device."""
        with self._changed:
            found = [self._kept[key] for key in keys if key in self._kept]
            for kept in found:
                kept.users += 1
        try:
            yield
        finally:
            for kept in found:
                self._let_go(kept)

    def keep(self, key: Key, size: int, thing: Any) -> None:
        """A piece leaves its device: copied here unless it is, or has no room. Never raises for want of memory."""
        with self._changed:
            if key in self._kept:
                self._kept.move_to_end(key)
        with suppress(Exception):
            kept = self._come(key, size, lambda: thing)
            if kept is not None:
                self._let_go(kept)

    def clear(self) -> None:
        """Drop everything that nobody copies just now."""
        with self._changed:
            for key in [key for key, kept in self._kept.items() if not kept.users]:
                del self._kept[key]

    def check_integrity(self) -> None:
        """AssertionError where the books are wrong."""
        with self._changed:
            assert 0 <= self._used() <= self.budget, f"{self._used()} of {self.budget} bytes"
            assert not self._coming.keys() & self._kept.keys()
            assert all(kept.users >= 0 for kept in self._kept.values())

    def _come(
        self,
        key: Key,
        size: int,
        read: Callable[[], Any],
        wanted: Callable[[], bool] = always,
        *,
        spare: bool = False,
    ) -> _Kept | None:
        """The entry, in use, read where it must be; None where it has no room (`spare`: none to spare) or no use."""
        with self._changed:
            while key in self._coming:  # another thread reads it: once is enough
                self._changed.wait()
            if (kept := self._kept.get(key)) is not None:
                kept.users += 1
                self._kept.move_to_end(key)
                return kept
            if (spare and self._used() + size > self.budget) or not self._reserve(size):
                return None
            self._coming[key] = size
        kept = None
        try:
            thing = self._down(read())
            if wanted():
                kept = _Kept(thing, size, users=1)
        finally:
            with self._changed:
                del self._coming[key]
                if kept is not None:
                    self._kept[key] = kept
                self._changed.notify_all()
        return kept

    def _let_go(self, kept: _Kept) -> None:
        with self._changed:
            kept.users -= 1

    def _reserve(self, size: int) -> bool:
        """Make room, with the lock held; nothing goes where that would not be enough."""
        short = self._used() + size - self.budget
        idle = [key for key, kept in self._kept.items() if not kept.users]
        if short > sum(self._kept[key].size for key in idle):
            return False
        for key in idle:
            if short <= 0:
                break
            short -= self._kept.pop(key).size
        return True

    def _used(self) -> int:
        return sum(kept.size for kept in self._kept.values()) + sum(self._coming.values())
