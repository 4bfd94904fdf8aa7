"""The devices as the event loop sees them: hand over a work, read its events, close to cancel. No torch here."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import AsyncGenerator, Callable, Mapping, Sequence
from contextlib import aclosing, suppress
from dataclasses import dataclass
from functools import partial

from engines import failures
from engines.devices import Device, memory_used, model_budget
from engines.engine import Work
from engines.events import Event
from engines.models.memory import Models
from engines.models.room import Resident
from engines.requests import Request
from engines.serving.ahead import Ahead
from engines.serving.lane import Lane, Pace
from engines.serving.makers import Factory
from engines.serving.placing import Placing
from engines.serving.serves import NEWCOMERS
from engines.serving.streams import Stream
from engines.serving.tickets import Ticket
from engines.serving.workers import Workers

log = logging.getLogger(__name__)

PATIENCE = 2.0  # seconds that closing waits for the step in hand; a device may be loading a model for longer


@dataclass(frozen=True, slots=True)
class Held:
    """One work on a device, for people who look."""

    device: str
    job: int
    person: str
    command: str
    stage: str
    step: int
    total: int


@dataclass(frozen=True, slots=True)
class DeviceStatus:
    """One device as it is now, for people who look. Sizes in bytes, 0 = unknown."""

    name: str
    label: str
    alive: bool
    used: int  # see `devices.memory_used`
    total: int
    budget: int  # that models may take
    resident: tuple[Resident, ...]
    works: tuple[Held, ...]


class Pool:
    """Runs works on devices, one thread each.

    Args:
        engines: request class → what makes its engine on a device; classes with the same maker share one engine.
            Called on the device's thread.
        devices: one lane each.
        slots: works in flight a device that make sense; `room` tells what is left of them.
        models: device name → its models, None before they are there.
    """

    def __init__(
        self,
        engines: Mapping[type[Request], Factory],
        devices: Sequence[Device],
        *,
        slots: int = 8,
        pace: Pace | None = None,
        models: Callable[[str], Models | None] = lambda name: None,
    ) -> None:
        if not devices:
            raise ValueError("a pool needs a device")
        self._slots = slots
        self._models = models
        self._ahead = Ahead()
        self._packers = Workers("pack", 2)
        self._lanes = [
            Lane(
                device, engines, pace or Pace(), self._ahead, self._packers, partial(self._evict, device.name)
            )
            for device in devices
        ]
        self._placing = Placing()
        self._open = False

    async def start(self) -> None:
        """Start the threads. Returns at once: works handed over wait until the engines are there."""
        self._ahead.start()
        self._packers.start()
        for lane in self._lanes:
            lane.start()
        self._open = True

    async def stop(self, grace: float) -> None:
        """Finish the step in hand, suspend every run, end the threads; `grace` seconds at most.

        Whatever is in flight then ends with `Failed` of code "stopped". Results being written are waited for.
        """
        if not self._open:
            return
        self._open = False
        deadline = time.monotonic() + grace
        for lane in self._lanes:
            lane.stop()
        for lane in self._lanes:
            left = max(deadline - time.monotonic(), 0.0)
            if not await asyncio.to_thread(lane.join, left):
                log.critical("lane %s is still in a step after %.1f s; left behind", lane.device.name, grace)
        self._ahead.stop()
        self._packers.stop()
        await asyncio.to_thread(self._packers.join, max(deadline - time.monotonic(), 0.0))
        for lane in self._lanes:
            for ticket in list(lane.tickets):
                ticket.cancelled = True
                ticket.over(failures.STOPPED)

    @property
    def width(self) -> int:
        """How many works in flight make sense, on all devices together."""
        return self._slots * len(self._lanes)

    def room(self, *, newcomers: bool = False) -> int:
        """How many more works it makes sense to hand over now; `newcomers`: of people who have none here."""
        if not self._open:
            return 0
        seats = self._slots * (NEWCOMERS if newcomers else 1)
        return sum(max(0, seats - len(lane.tickets)) for lane in self._lanes)

    def alive(self) -> dict[str, bool]:
        """Whether each device's thread lives; none of them does before `start` and after `stop`."""
        return {lane.device.name: lane.alive for lane in self._lanes}

    def running(self) -> list[Held]:
        """What every device holds now."""
        return [_held(lane.device, t) for lane in self._lanes for t in list(lane.tickets)]

    def status(self) -> list[DeviceStatus]:
        """Every device as it is now. Nothing waits for a step in hand; from any thread."""
        return [self._status(lane) for lane in self._lanes]

    def _status(self, lane: Lane) -> DeviceStatus:
        device, models = lane.device, self._models(lane.device.name)
        return DeviceStatus(
            name=device.name,
            label=device.label,
            alive=lane.alive,
            used=memory_used(device),
            total=device.memory,
            budget=(models.budget if models else model_budget(device)) or 0,
            resident=models.resident() if models else (),
            works=tuple(_held(device, ticket) for ticket in list(lane.tickets)),
        )

    def hold(self, job: int) -> None:
        """Closing this job's run from now on is no cancelling: it keeps a checkpoint, to go on from another day."""
        for lane in self._lanes:
            for ticket in list(lane.tickets):
                ticket.held = ticket.held or ticket.work.id == job

    async def run(self, work: Work) -> AsyncGenerator[Event, None]:
        """`Started`, the newest `Progress` each time, then exactly one `Finished` or `Failed`.

        Use it as `async with aclosing(pool.run(work)) as events`: closing it early cancels the run within a tick,
        and returns when nothing touches `work.folder` any more (or after `PATIENCE` seconds).
        """
        if not self._open:
            yield failures.STOPPED
            return
        loop = asyncio.get_running_loop()
        stream, gone = Stream(loop), asyncio.Event()

        def is_gone() -> None:
            with suppress(RuntimeError):  # the loop is closed
                loop.call_soon_threadsafe(gone.set)

        ticket = Ticket(work, stream, is_gone)
        lane = self._place(work)
        lane.add(ticket)
        try:
            async with aclosing(stream.events()) as events:
                async for event in events:
                    yield event
        finally:
            ticket.cancelled = True
            if not gone.is_set():
                lane.wake()
                with suppress(TimeoutError):  # (wait_for of Python 3.11 can lose a cancellation)
                    async with asyncio.timeout(PATIENCE):
                        await gone.wait()

    def _place(self, work: Work) -> Lane:
        """Where it will be done first."""
        lanes = {lane.device.name: lane for lane in self._lanes}
        loads = {name: lane.load for name, lane in lanes.items()}
        resident = {name: self._resident(name) for name in lanes}
        held = {name: len(lane.tickets) for name, lane in lanes.items()}
        return lanes[self._placing.choose(work.request, loads, resident, held=held, seats=self._slots)]

    def _evict(self, device: str) -> bool:
        """Whether models that nobody used have left the device. On its thread."""
        models = self._models(device)
        return models is not None and models.clear()

    def _resident(self, device: str) -> set[str]:
        """Names of the models in a device's memory."""
        models = self._models(device)
        return {model.name for model in models.resident()} if models else set()


def _held(device: Device, ticket: Ticket) -> Held:
    run = ticket.run
    done, total = (run.done, run.total) if run else (0, 0)
    command = type(ticket.work.request).name
    return Held(device.name, ticket.work.id, ticket.work.person, command, ticket.stage, done, total)
