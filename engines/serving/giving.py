"""Memory of runs in the background for people who wait, and back."""

from __future__ import annotations

import logging
from collections.abc import Iterable

from engines import failures
from engines.engine import Busy, GivesWay
from engines.serving.stepping import run_of
from engines.serving.tickets import Ticket

log = logging.getLogger(__name__)


def no_room(error: BaseException) -> bool:
    """Whether a run did not begin for want of memory, so that it may later."""
    return isinstance(error, Busy) or failures.out_of_memory(error)


def lend(tickets: Iterable[Ticket]) -> bool:
    """Ask the running runs in the background for memory; whether there is more now."""
    given = 0
    for ticket in tickets:
        engine: object = ticket.engine
        if isinstance(engine, GivesWay) and run_of(ticket).background and not ticket.lent:
            try:
                given += engine.lend(run_of(ticket))
                ticket.lent = True
            except BaseException:
                log.exception("job %d could not give memory away", ticket.work.id)
    return given > 0


def reclaim(tickets: Iterable[Ticket]) -> None:
    """Nobody waits any more: who gave memory away takes it back."""
    for ticket in tickets:
        engine: object = ticket.engine
        if ticket.lent and isinstance(engine, GivesWay):
            try:
                ticket.lent = not engine.reclaim(run_of(ticket))
            except BaseException:
                log.exception("job %d could not take its memory back", ticket.work.id)
