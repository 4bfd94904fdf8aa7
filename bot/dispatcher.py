"""From the queue to the devices and back: claim, run, record. One task per job; a crash of one never ends another."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable, Mapping
from contextlib import aclosing, suppress
from functools import partial
from pathlib import Path
from typing import Protocol

from bot import leftovers
from bot.job_work import work_of
from bot.many.works import Many, Pool
from bot.waiting import Forecast, Pace, speed_of
from engines.events import Failed, Finished, Progress, Started
from engines.words import Words
from storage import Full, StorageError
from storage.jobs import CRASHES, Job
from storage.results import NewResult
from storage.store import Store

log = logging.getLogger(__name__)

LOOK = 2.0  # seconds after which the pool's room is looked at again though nobody called
PAUSE = 5.0  # seconds before trying again what the disk refused
PROVED = 50  # steps after which a run's earlier crashes are forgiven
RETOLD = 15.0  # seconds after which those who wait are told anew how long, though nobody was claimed
FURTHER = 20  # so many at the head of the queue are told then
IN_LINE = 3  # so many people at the head of the queue see their place change


class Shows(Protocol):
    """What the dispatcher tells `bot.answers.outbox.Outbox`."""

    def wake(self) -> None: ...

    def show(self, job_id: int, progress: Progress | None = None, eta: float | None = None) -> None: ...


class Dispatcher:
    def __init__(
        self,
        store: Store,
        pool: Pool,
        outbox: Shows,
        *,
        clock: Callable[[], float] = time.time,
        crashes: int = CRASHES,
        width: int = 8,
        keep: float = 0.0,
        weights: Mapping[str, float] | None = None,
        forecast: Forecast | None = None,
    ) -> None:
        """`width`: works in flight that make sense on all devices together. `keep`: seconds after which results
        are let go of, 0 = never. `weights`: of departments, for their people's shares of the devices."""
        self._keep = keep
        self._weights = weights or {}
        self._store = store
        self._forecast = forecast
        self._retold = 0.0
        self._on: dict[int, str] = {}  # job → the kind of its device
        self._used: dict[int, float] = {}  # job → seconds of a device since it was claimed
        self._pool = Many(pool, width)
        self._outbox = outbox
        self._clock = clock
        self._crashes = crashes
        self._woken = asyncio.Event()
        self._tasks: dict[int, asyncio.Task[None]] = {}
        self._arriving: set[int] = set()  # claimed, and not yet in the pool's own count
        self._paused = set[asyncio.Task[None]]()  # their jobs' owners halted them; the folders stay
        self._stopping = False
        self._closed = False  # the pool was stopped: claim no more
        self._empty = False  # nobody waited at the last claim, and nobody came since

    def wake(self) -> None:
        """Something may be in the queue."""
        self._empty = False
        self._woken.set()

    def cancel(self, job_id: int) -> None:
        """Stop the job if it runs; the device lets go of it within a tick. Harmless otherwise."""
        if (task := self._tasks.get(job_id)) and task not in self._paused:
            task.cancel()
        elif self._forecast:
            self._forecast.over(job_id)

    def pause(self, job_id: int) -> None:
        """Halt the job if it runs: its run is suspended, and writes a checkpoint. Its row says `paused` already."""
        if (task := self._tasks.get(job_id)) and task not in self._paused:
            self._pool.hold(job_id)
            self._paused.add(task)
            task.cancel()
        self.news(job_id)

    def news(self, job_id: int) -> None:
        """Its state changed: its message is to say so."""
        self._outbox.show(job_id)

    async def run(self) -> None:
        """Until cancelled; then what runs goes back into the queue, and costs no attempt."""
        for job in await self._store.jobs.recover(self._clock(), self._crashes):
            log.warning("job %d was running when the bot died: %s", job.id, job.state)
        self._outbox.wake()
        try:
            async with asyncio.TaskGroup() as tasks:
                tasks.create_task(leftovers.tidy(self._store, self._tasks, self._keep, self._clock))
                try:
                    await self._keep_claiming(tasks)
                finally:
                    self._stopping = True
        finally:
            await self._store.jobs.release_all(self._clock(), self._used)

    async def _keep_claiming(self, tasks: asyncio.TaskGroup) -> None:
        while True:
            self._woken.clear()
            await self._claim(tasks)
            with suppress(TimeoutError):  # (wait_for of Python 3.11 can lose a cancellation)
                async with asyncio.timeout(LOOK):
                    await self._woken.wait()

    async def _claim(self, tasks: asyncio.TaskGroup) -> None:
        try:
            (seats, newcomers), claimed = self._room(), list[Job]()
            if seats + newcomers:
                self._empty = seats > 0  # unless somebody comes meanwhile
                claimed = await self._store.jobs.claim_for(self._clock(), seats, newcomers)
            self._empty = self._empty and len(claimed) < seats
            for job in claimed:
                self._take(tasks, job)
            moved = claimed and not self._empty  # those who wait move up
            if moved or self._clock() - self._retold > RETOLD:
                self._retold = self._clock()
                for waiting in await self._store.jobs.line(IN_LINE if moved else FURTHER):
                    self._outbox.show(waiting.id)
        except Exception:
            log.exception("could not claim a job")

    def _take(self, tasks: asyncio.TaskGroup, job: Job) -> None:
        """Begin it: where it was resumed while it still paused, once its checkpoint is written."""
        before = self._tasks.get(job.id)
        self._arriving.add(job.id)
        self._tasks[job.id] = task = tasks.create_task(self._work(job, before))
        # a callback, for a task that is cancelled before its first step never gets to a `finally`
        task.add_done_callback(partial(self._over, job.id, before))

    def _room(self) -> tuple[int, int]:
        """Seats for whoever is next, and further ones for people who have nothing in hand (docs/decisions/0022)."""
        if self._closed:
            return 0, 0
        seats, all = (self._pool.room(newcomers=some) - len(self._arriving) for some in (False, True))
        return max(seats, 0), max(all - max(seats, 0), 0)

    async def _work(self, job: Job, before: asyncio.Task[None] | None) -> None:
        try:
            if before:
                await asyncio.wait({before})
            await self._follow(job)
        except asyncio.CancelledError:
            if self._stopping:
                raise
            paused = asyncio.current_task() in self._paused
            await self._attempt(job, self._halted(job, paused))
            if paused:
                return  # its folder stays
        except Exception:
            log.exception("job %d broke", job.id)
            await self._attempt(job, self._settle(job, Failed(_BUG(id=job.id))))
        finally:
            self._outbox.wake()
            if not self._empty:
                self._woken.set()  # there may be room
        if not self._closed:
            await self._attempt(job, leftovers.over(self._store, job.id, self._folder(job)))

    async def _halted(self, job: Job, paused: bool) -> None:
        """Its owner paused or cancelled it."""
        now = self._clock()
        if paused:
            self._outbox.show(job.id)
        else:
            await self._store.jobs.cancel(job.id, now=now)  # mostly recorded already
        await self._store.jobs.spent(job.id, self._used.get(job.id, 0.0), now)

    def _over(self, job_id: int, before: asyncio.Task[None] | None, me: asyncio.Task[None]) -> None:
        """Task `me` does nothing more for the job; one before it, or one that came since, may."""
        self._paused.discard(me)
        self._on.pop(job_id, None)
        if not self._stopping:
            self._used.pop(job_id, None)
        if self._forecast:
            self._forecast.over(job_id)
        if self._tasks[job_id] is not me:
            return
        del self._tasks[job_id]
        if before and not before.done():
            self._tasks[job_id] = before
        if job_id in self._arriving:  # it never got to the pool: its seat is free
            self._arriving.discard(job_id)
            self._woken.set()

    async def _attempt(self, job: Job, last: Awaitable[object]) -> None:
        """A job's last act: even where this fails, the others go on. It is queued again at the next start."""
        try:
            await last
        except Exception:
            log.exception("job %d could not be ended", job.id)

    def _folder(self, job: Job) -> Path:
        return self._store.folder / "work" / str(job.id)

    async def _follow(self, job: Job) -> None:
        """One job from the first step to the record."""
        now = await self._store.jobs.get(job.id)
        if now is None or now.state != "running":
            return  # cancelled in the very moment of the claim
        weight = self._weights.get(job.department, 1.0)
        work = await work_of(self._store, job, self._folder(job), weight)
        if isinstance(work, Failed):
            return await self._settle(job, work)
        pace = Pace()
        self._arriving.discard(job.id)  # from here on the pool counts it itself
        async with aclosing(self._pool.run(work)) as events:
            async for event in events:
                match event:
                    case Started():
                        self._on[job.id] = event.device.partition(":")[0]
                        self._outbox.show(job.id)
                    case Progress():
                        self._count(job, event)
                        await self._prove(job, pace, event)
                        eta = pace.left(event, self._clock())
                        self._outbox.show(job.id, event, eta)
                        if self._forecast:
                            self._forecast.heard(job.id, event, eta)
                    case Finished() | Failed():
                        self._count(job, event)
                        return await self._settle(job, event)
        raise RuntimeError("the pool told no end")

    def _count(self, job: Job, event: Progress | Finished | Failed) -> None:
        """What it has used. (A work that is done anew on another machine tells of that one alone.)"""
        self._used[job.id] = max(event.seconds, self._used.get(job.id, 0.0))

    async def _prove(self, job: Job, pace: Pace, progress: Progress) -> None:
        """A long run that got on is not what the bot died of."""
        if job.attempts and pace.first and progress.step == pace.first[1] + PROVED:
            await self._store.jobs.proved(job.id)

    async def _settle(self, job: Job, event: Finished | Failed) -> None:
        """Record how it ended. Where the disk is full the job fails, as soon as even that can be written."""
        while True:
            try:
                return await self._record(job, event)
            except Full:
                log.exception("no room to record job %d", job.id)
                event = Failed(_DISK, "disk")
            except StorageError:
                log.exception("job %d has no result to record", job.id)
                event = Failed(_BUG(id=job.id))
            await asyncio.sleep(PAUSE)

    async def _record(self, job: Job, event: Finished | Failed) -> None:
        jobs, now, used = self._store.jobs, self._clock(), self._used.get(job.id, 0.0)
        if isinstance(event, Finished):
            results = [
                NewResult(await self._store.blobs.put_file(a.path, move=True), a.name, a.media, a.recipe, a.width, a.height)
                for a in event.artifacts
            ]  # fmt: skip
            notes = [[note.en, note.ko] for note in event.notes]
            weight, device = self._weights.get(job.department, 1.0), self._on.get(job.id, "")
            whole = (job.seconds or 0.0) + event.seconds
            # what a crash lost is not known
            speed = None if job.attempts else speed_of(job, weight, device, whole)
            await jobs.finish(job.id, results=results, notes=notes, seconds=event.seconds, now=now, speed=speed)  # fmt: skip
            if self._forecast:
                self._forecast.over(job.id, well=True)
        elif event.code == "stopped":
            self._closed = True
            await jobs.release(job.id, now, used)
        else:
            if event.trace:
                log.error("job %d failed: %s\n%s", job.id, event.reason.en, event.trace)
            error = {"en": event.reason.en, "ko": event.reason.ko, "code": event.code}
            shown = await leftovers.shown(self._store, self._folder(job), f"{job.command}-{job.id}")
            await jobs.fail(job.id, error=error, seconds=used, now=now, results=shown)


_BUG = Words(
    "An error we did not expect; the log has it under #{id}. Please try again.",
    "예상하지 못한 오류가 발생했습니다. 기록에서 #{id} 번으로 찾을 수 있습니다. 다시 시도해 주십시오.",
)
_DISK = Words(
    "There is no room left on the bot's disk. Please tell its administrator, then try again.",
    "봇의 저장 공간이 부족합니다. 관리자에게 알린 뒤 다시 시도해 주십시오.",
)
