"""Works that are to begin on a lane, and those of them that found no room."""

from __future__ import annotations

from collections import deque
from collections.abc import Collection

from engines.serving.affinity import next_of
from engines.serving.tickets import Ticket


class Line:
    """Belongs to the lane's thread.

    Who found no room beside people's runs is first in line, and nobody passes until one of those has ended: else it
    might wait for ever. Where only runs in the background are in the way, which take an hour, it stands aside until one
    of them has ended, and others go on.
    """

    def __init__(self) -> None:
        self._next: deque[Ticket] = deque()
        self._aside: list[Ticket] = []
        self._held_up = False  # the first one found no room

    @property
    def moves(self) -> bool:
        """Whether somebody can be taken."""
        return bool(self._next) and not self._held_up

    @property
    def wanted(self) -> bool:
        """Whether anybody waits for more than the end of a run in the background."""
        return bool(self._next)

    def add(self, ticket: Ticket) -> None:
        """To its end."""
        self._next.append(ticket)

    def take(self, at_work: Collection[str]) -> Ticket:
        """Who begins now; `at_work` are people who have a run on the device."""
        return next_of(self._next, at_work)

    def put_off(self, ticket: Ticket, *, in_background: bool) -> None:
        """It found no room; `in_background`: nothing else is in its way."""
        if in_background:
            self._aside.append(ticket)
        else:
            self._next.appendleft(ticket)
            self._held_up = True

    def remove(self, ticket: Ticket) -> None:
        """It is not to begin any more, if it was."""
        if ticket in self._aside:
            self._aside.remove(ticket)
        elif ticket in self._next:
            self._next.remove(ticket)
            self._held_up = False  # it may have been the one in the way

    def room(self, *, in_background: bool) -> None:
        """A run has ended; `in_background`: there."""
        self._held_up = False
        if in_background:
            self._next.extendleft(reversed(self._aside))
            self._aside.clear()
