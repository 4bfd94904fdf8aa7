"""The pool over Ray actors, one for each GPU of a cluster; `pool` is the same on this machine's own devices.

Starting, placing, watching and restarting the actors, and carrying the events, are Ray's work. Ours is what Ray
cannot know: which actor holds which model, and that a work whose actor was lost is done again, from its checkpoint,
and answered once (`attempts`).
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import AsyncGenerator, Callable, Coroutine
from contextlib import aclosing
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import ParamSpec, TypeVar

import ray

from engines import failures
from engines.engine import Work
from engines.events import Event, Failed, Finished, Progress, Started
from engines.serving import attempts, ray_cluster
from engines.serving.placing import Placing
from engines.serving.pool import PATIENCE, DeviceStatus, Held
from engines.serving.ray_cluster import Cluster, Seat
from engines.serving.ray_post import Lost, Post, Ticket
from engines.serving.serves import NEWCOMERS, Serves
from engines.serving.streams import Stream
from engines.words import Words

log = logging.getLogger(__name__)

P = ParamSpec("P")
T = TypeVar("T")

DEATHS = 3  # actors that may die of one work before it is taken for the cause
PROVED = 50  # steps after which a work was not what its actor died of
ASIDE = 1.5  # seconds of the grace that Ray's own shutting down may take


class RayPool:
    """Runs works on a cluster. Works' folders and files, and the models, lie where all its machines see them.

    Args:
        open: makes an actor's own pool, with one device; called over there, so it is pickled.
        cluster: which one, and how many actors where there are no GPUs.
        slots: works in flight on an actor that make sense.
    """

    def __init__(self, open: Callable[[Seat], Serves], cluster: Cluster, *, slots: int = 8) -> None:
        self._make = open
        self._cluster = cluster
        self._slots = slots
        self._posts: list[Post] = []
        self._placing = Placing()
        self._waiting = 0  # works that no actor has yet
        self._changed = asyncio.Event()  # an actor went up or down
        self._tasks: set[asyncio.Task[None]] = set()
        self._runs: dict[Ticket, asyncio.Task[None]] = {}
        self._joined = False  # we joined the cluster, so we leave it
        self._open = False

    async def start(self) -> None:
        """Join the cluster and ask for the actors; `Refusal` where that cannot be."""
        self._joined = await asyncio.to_thread(ray_cluster.connect, self._cluster)
        ray_cluster.keep_signals()
        for number, seat in enumerate(await asyncio.to_thread(ray_cluster.seats, self._cluster)):
            more = ray_cluster.willing(self._cluster)
            post = Post(f"ray:{number}", seat, partial(self._make, seat), self._news, more)
            self._posts.append(post)
            self._keep(post.watch())
        self._open = True

    async def stop(self, grace: float) -> None:
        """As `Pool.stop`. The actors end; so does the cluster, where it was started here."""
        if not self._open:
            return
        self._open = False
        deadline = time.monotonic() + grace
        await self._suspend(max(grace - ASIDE, grace / 2))
        for ticket in list(self._runs):
            ticket.stream.tell(failures.STOPPED)
        for task in self._tasks:
            task.cancel()
        for post in self._posts:
            post.kill()
        if self._tasks:
            await asyncio.wait(self._tasks, timeout=max(deadline - time.monotonic(), 0.1))
        if self._joined:
            await asyncio.to_thread(ray.shutdown)

    async def _suspend(self, grace: float) -> None:
        """Every actor that has something in hand ends it; those runs end by themselves then."""
        self._changed.set()
        asked = [asyncio.create_task(post.stop(grace)) for post in self._posts if post.tickets]
        ends = {*asked, *self._runs.values()}
        late = (await asyncio.wait(ends, timeout=grace))[1] if ends else set()
        for task in late & set(asked):
            task.cancel()
        if late:
            log.critical("some actors were still in a step after %.1f s; left behind", grace)

    @property
    def width(self) -> int:
        return self._slots * len(self._posts)

    def room(self, *, newcomers: bool = False) -> int:
        """How many more works it makes sense to hand over now; `newcomers`: of people who have none here."""
        if not self._open:
            return 0
        there = [post for post in self._posts if post.state in ("starting", "up")]
        seats = self._slots * (NEWCOMERS if newcomers else 1)
        return max(0, sum(max(0, seats - len(post.tickets)) for post in there) - self._waiting)

    def alive(self) -> dict[str, bool]:
        """Whether each actor lives; those that Ray is starting are given the benefit of the doubt."""
        return {post.name: self._open and post.state in ("starting", "up") for post in self._posts}

    def running(self) -> list[Held]:
        return [held for post in self._posts for held in post.works()]

    def status(self) -> list[DeviceStatus]:
        return [post.status() for post in self._posts]

    def hold(self, job: int) -> None:
        for ticket in list(self._runs):
            ticket.held = ticket.held or ticket.work.id == job

    async def run(self, work: Work) -> AsyncGenerator[Event, None]:
        """As `Pool.run`. A work whose actor is lost is done again on another one: `Started` comes again."""
        if not self._open:
            yield failures.STOPPED
            return
        ticket = Ticket(_absolute(work), Stream(asyncio.get_running_loop()))
        task = self._runs[ticket] = self._keep(self._see_through(ticket))
        task.add_done_callback(lambda _: self._runs.pop(ticket, None))  # it may be cancelled before it begins
        try:
            async with aclosing(ticket.stream.events()) as events:
                async for event in events:
                    yield event
        finally:
            task.cancel()
            await asyncio.wait({task}, timeout=PATIENCE + 1)

    # ------------------------------------------------------------------ one work

    async def _see_through(self, ticket: Ticket) -> None:
        """One attempt after the other, until one comes to an end."""
        end: Finished | Failed | None = None
        try:
            while end is None:
                placed = await self._placed(ticket)
                end = placed if isinstance(placed, Failed) else await self._attempt(ticket, placed)
                if end is None and ticket.deaths >= DEATHS:
                    end = Failed(_DEADLY(n=DEATHS))
        except Exception as error:
            end = failures.failed(error)
        finally:
            self._leave(ticket)
        ticket.stream.tell(end)

    async def _placed(self, ticket: Ticket) -> Post | Failed:
        """The actor where it will be done first, once there is one that answers; or why there will be none."""
        self._waiting += 1
        try:
            while not (up := {post.name: post for post in self._posts if post.state == "up"}):
                if not self._open:
                    return failures.STOPPED
                if all(post.state == "dead" for post in self._posts):
                    return Failed(_NOBODY)
                self._changed.clear()
                await self._changed.wait()
        finally:
            self._waiting -= 1
        if not self._open:
            return failures.STOPPED
        loads = {name: post.load for name, post in up.items()}
        resident = {name: post.resident for name, post in up.items()}
        held = {name: len(post.tickets) for name, post in up.items()}
        name = self._placing.choose(ticket.work.request, loads, resident, held=held, seats=self._slots)
        up[name].take(ticket)
        return up[name]

    async def _attempt(self, ticket: Ticket, post: Post) -> Finished | Failed | None:
        """How it ended; None where the actor was lost."""
        life = post.life
        folder = await _surely(attempts.opened, ticket.work.folder)
        sent = replace(ticket.work, folder=folder)
        try:
            async with aclosing(post.run(ticket, sent)) as events:
                async for event in events:
                    if isinstance(event, Finished | Failed):
                        return await _surely(_accepted, folder, event)
                    self._tell(ticket, event)
            raise RuntimeError("an actor told no end")
        except Lost as error:
            log.warning("job %d: %s was lost: %s", ticket.work.id, post.name, str(error.__cause__)[:200])
            post.doubt(life)
            ticket.deaths += ticket.begun
            return None
        except asyncio.CancelledError:
            if await post.let_go(sent) and folder.is_dir():
                await _surely(attempts.accepted, folder)
            raise
        finally:
            self._leave(ticket)

    def _tell(self, ticket: Ticket, event: Event) -> None:
        match event:
            case Started():
                ticket.begun = True
                event = Started(ticket.post.name if ticket.post else event.device)
            case Progress() if event.step - ticket.first >= PROVED:
                ticket.deaths = 0
        ticket.stream.tell(event)

    def _leave(self, ticket: Ticket) -> None:
        if ticket.post is not None:
            ticket.post.tickets.remove(ticket)
            ticket.post = None

    # ------------------------------------------------------------------ tasks

    def _keep(self, work: Coroutine[object, object, None]) -> asyncio.Task[None]:
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return task

    def _news(self) -> None:
        self._changed.set()


async def _surely(function: Callable[P, T], *args: P.args, **more: P.kwargs) -> T:
    """On a thread, to its end: who is cancelled meanwhile waits for that."""
    task = asyncio.ensure_future(asyncio.to_thread(function, *args, **more))
    try:
        return await asyncio.shield(task)
    except asyncio.CancelledError:
        await asyncio.wait({task})
        raise


def _absolute(work: Work) -> Work:
    """Other machines have another working folder."""
    files = {name: path.resolve() for name, path in work.files.items()}
    return replace(work, folder=work.folder.resolve(), files=files)


def _accepted(folder: Path, event: Finished | Failed) -> Finished | Failed:
    """The attempt in hand came to an end: what it left becomes the work's."""
    if isinstance(event, Finished):
        return replace(event, artifacts=attempts.accepted(folder, event.artifacts))
    attempts.accepted(folder)
    return event


_DEADLY = Words(
    "The process that worked on this died {n} times, so it is not tried again. Try a smaller picture or model, or tell "
    "an administrator the job's number.",
    "이 작업을 처리하던 프로세스가 {n}번 종료되어 더 이상 시도하지 않습니다. 그림이나 모델을 줄여 보시거나 관리자에게 작업 "
    "번호를 알려 주십시오.",
)
_NOBODY = Words(
    "No machine of the cluster can work just now. Please tell an administrator; the log says why.",
    "지금은 클러스터에서 작업할 수 있는 장치가 없습니다. 관리자에게 알려 주십시오. 원인은 로그에 있습니다.",
)
