"""Before a work joins its lane's line, on other threads: what it needs is fetched and hashed, then its model read.

Reading has threads of its own, so that however many cold models are asked for, works whose model is warm pass by, and
a device that has to load something itself waits for few others (`engines.models.loading.one_at_a_time`).
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from functools import partial

from engines import failures
from engines.engine import Prefetches, Prepares, Work
from engines.failures import out_of_memory
from engines.serving.tickets import Ticket
from engines.serving.workers import Workers

log = logging.getLogger(__name__)

FETCHERS, READERS = 4, 2  # threads
Done = Callable[[Ticket], None]


class Ahead:
    """The threads of one pool, for all its lanes."""

    def __init__(self) -> None:
        self._fetchers = Workers("fetch", FETCHERS)
        self._readers = Workers("read", READERS)

    def start(self) -> None:
        self._fetchers.start()
        self._readers.start()

    def stop(self) -> None:
        """End each thread after what it has in hand."""
        self._fetchers.stop()
        self._readers.stop()

    def prepare(self, ticket: Ticket, done: Done) -> None:
        """`prepare` and `prefetch` of its engine, where there are such; then `done`, on another thread.

        What went wrong is its `failure` then.
        """
        self._fetchers.do(partial(self._prepare, ticket, done))

    def _prepare(self, ticket: Ticket, done: Done) -> None:
        engine: object = ticket.engine
        try:
            if isinstance(engine, Prepares) and not ticket.cancelled:
                engine.prepare(ticket.work)
            if isinstance(engine, Prefetches) and not ticket.cancelled and not engine.ready(ticket.work):
                self._readers.do(partial(self._read, ticket, engine, done))
                return
        except BaseException as error:  # (some libraries' panics are no `Exception`)
            ticket.failure = failures.failed(error)
        done(ticket)

    def _read(self, ticket: Ticket, engine: Prefetches, done: Done) -> None:
        try:
            if not ticket.cancelled:
                read_ahead(engine, ticket.work, lambda: not ticket.cancelled)
        except BaseException as error:  # (some libraries' panics are no `Exception`)
            ticket.failure = failures.failed(error)
        done(ticket)


def read_ahead(engine: Prefetches, work: Work, wanted: Callable[[], bool]) -> None:
    """Bring the work's model nearer. For want of memory it is left to `begin`."""
    try:
        engine.prefetch(work, wanted)
    except Exception as error:
        if not out_of_memory(error):
            raise
        log.warning("job %d: no memory to read its model ahead", work.id)
