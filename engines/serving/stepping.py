"""One step for several runs, so that one bad request does not fail its batch-mates."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from engines import failures
from engines.engine import Run
from engines.events import Failed
from engines.serving.scheduler import cost
from engines.serving.tickets import Ticket

log = logging.getLogger(__name__)


@dataclass(slots=True)
class Outcome:
    """What a step came to."""

    moved: list[Ticket] = field(default_factory=list)
    failed: list[tuple[Ticket, Failed]] = field(default_factory=list)
    seconds: float = 0.0  # of the engine
    short: list[int] = field(default_factory=list)  # rows of each step that the memory was not enough for


def step(tickets: Sequence[Ticket], evict: Callable[[], bool] = lambda: False) -> Outcome:
    """Advance all by one step; where that fails, in halves (memory) or each alone, until only the guilty is left.

    `evict`: makes models leave that nobody uses; whether any did, so that the step is worth another try as it is.
    """
    outcome, began = Outcome(), time.monotonic()
    _step(tickets, outcome, evict)
    outcome.seconds = time.monotonic() - began
    return outcome


def _step(tickets: Sequence[Ticket], outcome: Outcome, evict: Callable[[], bool]) -> None:
    failure = _advance(tickets)
    if failure is not None and failure.code == "memory" and evict():
        failure = _advance(tickets)
    if failure is None:
        outcome.moved += tickets
    elif len(tickets) == 1:
        outcome.failed.append((tickets[0], failure))
    elif failure.code == "memory":
        half = len(tickets) // 2
        outcome.short.append(sum(run_of(ticket).rows for ticket in tickets))
        _step(tickets[:half], outcome, evict)
        _step(tickets[half:], outcome, evict)
    else:
        log.warning("a step of %d runs failed (%s); each steps alone", len(tickets), failure.code)
        for ticket in tickets:
            _step([ticket], outcome, evict)


def _advance(tickets: Sequence[Ticket]) -> Failed | None:
    """Call the engine. What it raised comes as text: a traceback would keep the batch's tensors alive."""
    runs = [run_of(ticket) for ticket in tickets]
    engine = tickets[0].engine
    assert engine is not None
    began, before = time.monotonic(), [run.done for run in runs]
    try:
        engine.advance(runs)
        if any(run.done <= done for run, done in zip(runs, before, strict=True)):
            raise RuntimeError(f"{type(engine).__name__}.advance did not move a run on")
    except BaseException as error:
        if len(tickets) == 1:  # else its mates are not to pay for it
            tickets[0].seconds += time.monotonic() - began
        return failures.failed(error)
    spent, whole = time.monotonic() - began, sum(map(cost, runs))
    for ticket, run in zip(tickets, runs, strict=True):
        ticket.seconds += spent * cost(run) / whole
    return None


def shown(ticket: Ticket, every: int) -> bytes | None:
    """A preview, every so many steps (0 = never) and where the last one was read."""
    run = run_of(ticket)
    if not every or not run.done or run.done % every or run.finished or not ticket.stream.wants_preview:
        return None
    assert ticket.engine is not None
    try:
        return ticket.engine.preview(run)
    except BaseException:
        log.exception("no preview of job %d", ticket.work.id)
        return None


def run_of(ticket: Ticket) -> Run:
    """The run of a ticket that has begun."""
    assert ticket.run is not None
    return ticket.run
