"""Who has nothing on the device begins first, then whose model is there already; nobody is passed over often.

A switch of models costs seconds; so works that wait take a work of the model at hand before them, and a hog's works one
of a newcomer, `BOUND` times at most each. The order of one person's works of one model never changes, and nobody waits
for ever (tests/test_affinity.py).
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import Protocol

from engines.engine import Prefetches
from engines.serving.tickets import Ticket

BOUND = 4  # times that one work is passed over


class Line(Protocol):
    """What `collections.deque` and `list` both are."""

    def __len__(self) -> int: ...
    def __getitem__(self, at: int, /) -> Ticket: ...
    def __delitem__(self, at: int, /) -> None: ...


def choose(ready: Sequence[bool], passed: Sequence[int], bound: int = BOUND) -> int:
    """Who of a line begins: the first whose model is ready, unless somebody before it was passed over too often.

    Args:
        ready: whether each one's model is on the device, the longest waiting first; not empty.
        passed: how often each was passed over.
    """
    for at, warm in enumerate(ready):
        if warm:
            return at
        if passed[at] >= bound:
            break
    return 0


def next_of(line: Line, at_work: Collection[str] = (), bound: int = BOUND) -> Ticket:
    """Take out of the line who begins now; those before it have been passed over once more.

    `at_work`: people who have a run on the device.
    """
    tickets = [line[at] for at in range(len(line))]
    new = [ticket.work.person not in at_work for ticket in tickets]
    first = new if at_work and any(new) else [_ready(ticket) for ticket in tickets]
    at = choose(first, [ticket.passed for ticket in tickets], bound)
    for ticket in tickets[:at]:
        ticket.passed += 1
    del line[at]
    return tickets[at]


def _ready(ticket: Ticket) -> bool:
    """Engines that cannot tell are never in another's way: for them the line is a line."""
    engine: object = ticket.engine
    return not isinstance(engine, Prefetches) or engine.ready(ticket.work)
