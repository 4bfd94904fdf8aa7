"""One device's thread: take commands, begin, choose who steps, advance them together, settle. No torch here.

What an engine raises fails its own work alone, be it no `Exception` (a library written in Rust panics with a
`BaseException`); there is nothing on this thread that such a thing is meant for.
"""

from __future__ import annotations

import logging
import queue
import threading
import time
from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import partial

from engines import failures
from engines.devices import Device, memory_free
from engines.engine import Packing, Prepares, Run
from engines.events import Failed, Finished, Progress, Started
from engines.requests import Request
from engines.serving import endings, giving
from engines.serving.ahead import Ahead
from engines.serving.budget import Budget
from engines.serving.line import Line
from engines.serving.makers import Factory, Makers
from engines.serving.scheduler import Scheduler
from engines.serving.stepping import run_of, shown, step
from engines.serving.tickets import Ticket
from engines.serving.workers import Workers
from engines.words import Words

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Pace:
    """How a lane works."""

    rows: int = 16  # rows of one step
    share: float = 0.1  # the least part that background runs get while people wait
    preview_every: int = 5  # steps between two previews; 0 = none
    seconds: float = 0.0  # that a step may take, learnt by measuring; 0 = any
    credit: float = 1000.0  # see `Scheduler`


class Lane:
    """A device, its engines and the runs on it. What begins with `_` belongs to its thread.

    Args:
        ahead: does what comes before `begin`. packers: threads for `Packing`.
        evict: makes the device's idle models leave; whether any did. Called on the lane's thread.
    """

    def __init__(
        self,
        device: Device,
        factories: Mapping[type[Request], Factory],
        pace: Pace,
        ahead: Ahead,
        packers: Workers,
        evict: Callable[[], bool] = lambda: False,
    ) -> None:
        self.device = device
        self.tickets: list[Ticket] = []  # all that are not over
        self._makers = Makers(device, factories)
        self._pace = pace
        self._ahead = ahead
        self._packers = packers
        self._evict = evict
        self._budget = Budget(pace.rows, pace.seconds, partial(memory_free, device))
        self._scheduler = Scheduler(pace.rows, None, pace.share, self._budget.allowed, pace.credit)
        self._inbox: queue.SimpleQueue[Ticket | None] = queue.SimpleQueue()  # None: only wake up
        self._line = Line()  # to begin
        self._running: dict[int, Ticket] = {}  # by id(run)
        self._ending: deque[Ticket] = deque()  # to finish
        self._ends_next = False  # whether it is the turn of those who end, where others wait to begin
        self._stopping = False
        self._step_seconds = 0.0  # of the last step
        self._thread = threading.Thread(target=self._live, name=f"lane-{device.name}", daemon=True)

    # ------------------------------------------------------------------ from the event loop

    def start(self) -> None:
        self._thread.start()

    @property
    def alive(self) -> bool:
        return self._thread.is_alive()

    def add(self, ticket: Ticket) -> None:
        """Take a work on."""
        self.tickets.append(ticket)
        self._inbox.put(ticket)

    def wake(self) -> None:
        """Look at the tickets: one was cancelled. From any thread."""
        self._inbox.put(None)

    def stop(self) -> None:
        """End after the step in hand."""
        self._stopping = True
        self.wake()

    def join(self, timeout: float) -> bool:
        """Whether the thread has ended, waiting for it so many seconds at most."""
        self._thread.join(timeout)
        return not self._thread.is_alive()

    @property
    def load(self) -> float:
        """Work in hand, in row-steps."""
        return sum(ticket.left for ticket in list(self.tickets))

    # ------------------------------------------------------------------ the thread

    def _live(self) -> None:
        """Tick until stopped. A bug in a tick fails what is in flight, is told, and the thread lives on."""
        self._makers.make_all()
        while not self._stopping:
            try:
                self._tick()
            except BaseException as error:
                log.critical("lane %s: a tick broke; its runs fail", self.device.name, exc_info=True)
                self._abandon(failures.failed(error))
        self._abandon(failures.STOPPED)

    def _tick(self) -> None:
        self._take()
        self._chores()
        tickets = [self._running[id(run)] for run in self._scheduler.choose()]
        if tickets:
            began = time.monotonic()
            self._step(tickets)
            self._step_seconds = time.monotonic() - began

    def _take(self) -> None:
        """New works in, cancelled ones out. Sleeps only where there is nothing to do."""
        idle = not (self._line.moves or self._ending or self._running)
        while not self._stopping:
            try:
                ticket = self._inbox.get(block=idle)
            except queue.Empty:
                break
            idle = False
            if ticket is not None and not ticket.cancelled and ticket.stage != "over":
                self._admit(ticket)
        for ticket in [t for t in list(self.tickets) if t.cancelled and t.stage != "packing"]:
            self._part(ticket)

    def _admit(self, ticket: Ticket) -> None:
        """Into the line; through `prepare` on another thread before, where the engine has that."""
        if ticket.failure is not None:
            self._part(ticket, ticket.failure)
            return
        if ticket.engine is None:
            try:
                ticket.engine = self._makers.engine(type(ticket.work.request))
            except BaseException as error:
                self._part(ticket, failures.failed(error))
                return
            if isinstance(ticket.engine, Prepares):
                self._ahead.prepare(ticket, self._inbox.put)
                return
        self._line.add(ticket)

    def _chores(self) -> None:
        """Begin and finish in turns: one piece a tick, more as long as that takes no longer than a step."""
        began = time.monotonic()
        while not self._stopping:
            begins = self._line.moves
            if self._ending and (self._ends_next or not begins):
                self._end(self._ending.popleft())
            elif begins:
                self._begin(self._line.take(self._scheduler.people))
            else:
                return
            self._ends_next = not self._ends_next
            if time.monotonic() - began >= self._step_seconds:
                return

    def _begin(self, ticket: Ticket) -> None:
        began = time.monotonic()
        try:
            run = self._begun(ticket)
        except BaseException as error:
            mates = [*self._running.values(), *self._ending]
            if giving.no_room(error) and mates:
                self._line.put_off(ticket, in_background=all(run_of(mate).background for mate in mates))
            else:
                self._part(ticket, failures.failed(error))
            return
        finally:
            ticket.seconds += time.monotonic() - began
        ticket.run, ticket.stage = run, "running"
        ticket.stream.tell(Started(self.device.name))
        self._running[id(run)] = ticket
        self._scheduler.join(run)
        self._settle(ticket)

    def _begun(self, ticket: Ticket) -> Run:
        """Its run; tried twice where there was no room and runs in the background could give some."""
        assert ticket.engine is not None
        try:
            return ticket.engine.begin(ticket.work)
        except BaseException as error:
            if not giving.no_room(error) or not giving.lend(self._running.values()):
                raise
        return ticket.engine.begin(ticket.work)  # outside of the handler, whose traceback holds tensors

    def _step(self, tickets: list[Ticket]) -> None:
        runs = [run_of(ticket) for ticket in tickets]
        key, rows = runs[0].key, sum(run.rows for run in runs)
        outcome = step(tickets, self._evict)
        for short in outcome.short:
            self._budget.short(key, short)
        if outcome.short:
            giving.lend(self._running.values())
        if len(outcome.moved) == len(tickets) and not outcome.short:
            self._budget.learn(key, rows, outcome.seconds)
        for ticket, failure in outcome.failed:
            self._part(ticket, failure)
        for ticket in outcome.moved:
            self._settle(ticket)

    def _settle(self, ticket: Ticket) -> None:
        """Tell how far it is; off to the finish where it is done."""
        run = run_of(ticket)
        preview = shown(ticket, self._pace.preview_every)
        ticket.stream.tell(Progress(run.done, run.total, run.note, preview, ticket.seconds))
        run.note = None
        if run.finished:
            self._halt(ticket)
            ticket.stage = "ending"
            self._ending.append(ticket)

    def _end(self, ticket: Ticket) -> None:
        """A piece of its finish; then it is others' turn."""
        try:
            made = endings.piece(ticket)
        except BaseException as error:
            self._part(ticket, failures.failed(error))
            return
        if made is None:
            self._ending.append(ticket)
            return
        notes, end = run_of(ticket).notes, Finished((), ticket.seconds)
        if isinstance(made, tuple):
            self._part(ticket, replace(end, artifacts=made, notes=tuple(notes)))
            return
        ticket.stage = "packing"
        self._release(ticket)
        self._packers.do(partial(self._pack, ticket, made, end, notes))

    def _pack(self, ticket: Ticket, packing: Packing, end: Finished, notes: list[Words]) -> None:
        """On a packer's thread."""
        event = endings.packed(packing, end, notes)
        self.tickets.remove(ticket)
        ticket.over(event)

    def _halt(self, ticket: Ticket) -> None:
        """No more steps for it."""
        if ticket.run is not None and self._running.pop(id(ticket.run), None) is not None:
            self._scheduler.leave(ticket.run)

    def _release(self, ticket: Ticket) -> None:
        """Give back what the run holds, once."""
        self._halt(ticket)
        endings.drop(ticket)
        run, ticket.run = ticket.run, None
        if run is None:
            return
        self._line.room(in_background=run.background)
        assert ticket.engine is not None
        run.cancelled = ticket.cancelled and not (ticket.held or self._stopping)
        try:
            ticket.engine.suspend(run)
        except BaseException:
            log.exception("suspending job %d failed", ticket.work.id)
        busy = self._line.wanted or self._ending
        if not busy and all(run_of(mate).background for mate in self._running.values()):
            giving.reclaim(self._running.values())

    def _part(self, ticket: Ticket, event: Finished | Failed | None = None) -> None:
        """It is over: out of every list, its memory back, the event told."""
        self._line.remove(ticket)
        if ticket in self._ending:
            self._ending.remove(ticket)
        self._release(ticket)
        if ticket in self.tickets:
            self.tickets.remove(ticket)
        ticket.over(event)

    def _abandon(self, event: Failed) -> None:
        """Everything in flight ends with `event`; what is being packed goes on."""
        for ticket in [t for t in list(self.tickets) if t.stage != "packing"]:
            self._part(ticket, event)
