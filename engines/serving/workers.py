"""A few threads for what needs no device. They never keep the process from ending."""

from __future__ import annotations

import logging
import queue
import threading
import time
from collections.abc import Callable

log = logging.getLogger(__name__)


class Workers:
    """Calls functions on `count` daemon threads, in the order given.

    Unlike `concurrent.futures`, a download that hangs does not hold up the end of the process.
    """

    def __init__(self, name: str, count: int) -> None:
        self._queue: queue.SimpleQueue[Callable[[], None] | None] = queue.SimpleQueue()
        self._threads = [
            threading.Thread(target=self._work, name=f"{name}-{i}", daemon=True) for i in range(count)
        ]

    def start(self) -> None:
        for thread in self._threads:
            thread.start()

    def do(self, job: Callable[[], None]) -> None:
        """Call `job` soon, on one of the threads."""
        self._queue.put(job)

    def stop(self) -> None:
        """End each thread after what it has in hand; jobs not begun are done before."""
        for _ in self._threads:
            self._queue.put(None)

    def join(self, timeout: float) -> bool:
        """Whether all threads have ended, waiting for them so many seconds at most."""
        deadline = time.monotonic() + timeout
        for thread in self._threads:
            thread.join(max(deadline - time.monotonic(), 0.0))
        return not any(thread.is_alive() for thread in self._threads)

    def _work(self) -> None:
        while (job := self._queue.get()) is not None:
            try:
                job()
            except BaseException:
                log.critical("a worker's job broke", exc_info=True)
            job = None  # keep nothing alive while waiting
