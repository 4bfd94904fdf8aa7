"""One Ray actor as the pool sees it: whether it lives, what it holds, and runs that are handed to it."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncGenerator, Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, replace
from types import MappingProxyType
from typing import Any, Literal

import ray
from ray.exceptions import ActorDiedError, RayActorError, RayError, RayTaskError

from engines.engine import Work
from engines.events import Event, Progress
from engines.serving.outpost import Outpost, Report
from engines.serving.pool import DeviceStatus, Held
from engines.serving.ray_cluster import Seat
from engines.serving.serves import Serves
from engines.serving.streams import Stream

log = logging.getLogger(__name__)

LOOK = 1.0  # seconds between two looks at an actor
DEAF = 15.0  # seconds without an answer, after which it gets no new works
UNREAD = 2  # events that an actor sends ahead of their reading

State = Literal["starting", "up", "down", "dead"]


class Lost(Exception):
    """The actor is gone, or out of reach: what it was doing has to be done again."""


@dataclass(eq=False, slots=True)
class Ticket:
    """A work from its handing over to its end. Mutable; of the event loop alone."""

    work: Work
    stream: Stream
    post: Post | None = None
    held: bool = False  # closing it is no cancelling
    begun: bool = False  # on the post where it is now
    step: int = 0
    total: int = 0
    first: int = 0  # the step that this attempt told first
    deaths: int = 0  # of actors that were working on it, without getting on

    @property
    def left(self) -> float:
        """What is still to be done, in row-steps."""
        part = (self.total - self.step) / self.total if self.total else 1.0
        return self.work.request.cost * part


class Post:
    """One actor. Of the event loop alone.

    Args:
        open: makes the actor's own pool, over there.
        changed: called when it goes up or down.
        more: further options of the actor.
    """

    def __init__(
        self,
        name: str,
        seat: Seat,
        open: Callable[[], Serves],
        changed: Callable[[], None],
        more: Mapping[str, Any] = MappingProxyType({}),
    ) -> None:
        self.name = name
        self.state: State = "starting"
        self.tickets: list[Ticket] = []
        self.report: Report | None = None
        self._changed = changed
        self._doubted = (
            ""  # a life that was out of reach: it may still be working on what is done elsewhere now
        )
        made: Any = ray.remote(Outpost)
        self.actor: Any = made.options(
            num_gpus=seat.gpus, num_cpus=seat.cpus, max_restarts=-1, max_task_retries=0, **more
        ).remote(open)

    @property
    def life(self) -> str:
        return self.report.life if self.report else ""

    async def watch(self) -> None:
        """Look at it until it is dead for good: it never came to life, or was killed. Restarting it is Ray's work."""
        while self.state != "dead":
            try:
                async with asyncio.timeout(DEAF):
                    self._hear(await self.actor.report.remote())
            except ActorDiedError as error:
                self._turn("dead")
                log.critical("%s cannot work: %s", self.name, error)
            except TimeoutError:
                if self.state == "up":
                    self._turn("down")
            except RayActorError:
                self._turn("down")
            except Exception:
                log.exception("%s gave no report", self.name)
            await asyncio.sleep(LOOK)

    def _hear(self, report: Report) -> None:
        if report.life == self._doubted:
            ray.kill(self.actor, no_restart=False)  # Ray starts it anew, without what it was doing
            return
        if report.life != self.life:
            log.info("%s is on %s, process %d", self.name, report.host, report.process)
        self.report = report
        self._turn("up")

    def doubt(self, life: str) -> None:
        """In that life of its it was lost from sight."""
        self._doubted = life
        if self.life == life:
            self._turn("down")

    def _turn(self, state: State) -> None:
        if state != self.state:
            self.state = state
            if state != "dead":
                log.log(logging.INFO if state == "up" else logging.WARNING, "%s is %s", self.name, state)
            self._changed()

    def take(self, ticket: Ticket) -> None:
        """It is going to work on this, from nothing or a checkpoint."""
        ticket.post, ticket.begun, ticket.step, ticket.total, ticket.first = self, False, 0, 0, -1
        self.tickets.append(ticket)

    async def run(self, ticket: Ticket, work: Work) -> AsyncGenerator[Event, None]:
        """Its events, from over there. `Lost` when the actor is. Whoever ends early calls `let_go`."""
        options = {"num_returns": "streaming", "_generator_backpressure_num_objects": UNREAD}
        coming = self.actor.run.options(**options).remote(work)
        try:
            async for ref in coming:
                event: Event = await ref
                if isinstance(event, Progress):
                    ticket.step, ticket.total = event.step, event.total
                    ticket.first = event.step if ticket.first < 0 else ticket.first
                yield event
        except RayTaskError:
            raise
        except RayError as error:
            raise Lost from error
        finally:
            if ticket.held:
                await self.hold(work.id)
            ray.cancel(coming)  # nothing, where it has ended

    async def let_go(self, work: Work) -> bool:
        """After `run` was closed early: whether nothing touches the work's folder any more."""
        with suppress(RayError):
            return bool(await self.actor.gone.remote(work))
        return False

    async def hold(self, job: int) -> None:
        with suppress(RayError):
            await self.actor.hold.remote(job)

    async def stop(self, grace: float) -> None:
        with suppress(RayError):
            await self.actor.stop.remote(grace)

    def kill(self) -> None:
        """For good."""
        self.state = "dead"
        with suppress(RayError):
            ray.kill(self.actor)

    # ------------------------------------------------------------------ for people who look

    @property
    def load(self) -> float:
        return sum(ticket.left for ticket in self.tickets)

    @property
    def resident(self) -> set[str]:
        """Names of the models in its memory, when it last told."""
        return {model.name for model in self.report.status.resident} if self.report else set()

    def works(self) -> list[Held]:
        return [_held(self.name, ticket) for ticket in list(self.tickets)]

    def status(self) -> DeviceStatus:
        """As it was when it last told."""
        report, works = self.report, tuple(self.works())
        alive = self.state in ("starting", "up")
        if report is None:
            return DeviceStatus(self.name, "", alive, 0, 0, 0, (), works)
        told = report.status
        label = f"{told.label} ({report.host})"
        return replace(told, name=self.name, label=label, alive=alive and told.alive, works=works)


def _held(name: str, ticket: Ticket) -> Held:
    stage = "running" if ticket.begun else "waiting"
    work = ticket.work
    return Held(name, work.id, work.person, type(work.request).name, stage, ticket.step, ticket.total)
