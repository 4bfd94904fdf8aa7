"""From a run's last step to its files: pieces on the device's thread, so that others step between, then the packing."""

from __future__ import annotations

import time
from dataclasses import replace

from engines import failures
from engines.engine import Ends, Made, Packing
from engines.events import Failed, Finished
from engines.serving.stepping import run_of
from engines.serving.tickets import Ticket
from engines.words import Words


def piece(ticket: Ticket) -> Made | None:
    """The next piece of the finish, the whole of it where the engine has no pieces. None: there is more to do.

    Raises whatever the engine raises.
    """
    engine, began = ticket.engine, time.monotonic()
    assert engine is not None
    try:
        if not isinstance(engine, Ends):
            return engine.finish(run_of(ticket))
        if ticket.ending is None:
            ticket.ending = engine.ending(run_of(ticket))
        try:
            next(ticket.ending)
        except StopIteration as end:
            ticket.ending = None
            made: Made = end.value
            return made
        return None
    finally:
        ticket.seconds += time.monotonic() - began


def drop(ticket: Ticket) -> None:
    """Leave a finish that was begun."""
    ending, ticket.ending = ticket.ending, None
    if ending is not None:
        ending.close()


def packed(packing: Packing, end: Finished, notes: list[Words]) -> Finished | Failed:
    """`end` with the files and the run's notes, or why there are none. On a packer's thread."""
    try:
        artifacts = packing()
        return replace(end, artifacts=artifacts, notes=tuple(notes))
    except BaseException as error:
        return failures.failed(error)
