"""A job's one living message while it waits and runs: the newest news, not too often, and only what changed."""

from __future__ import annotations

import asyncio
import dataclasses
import logging
from collections import defaultdict
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from bot.answers import replies
from bot.talk import Gone, Limits, Message, Place, Platform, TooLarge, Unreachable
from bot.waiting import Forecast
from engines.events import Progress
from storage.deliveries import Delivery
from storage.jobs import OPEN, Job
from storage.store import Store

log = logging.getLogger(__name__)

IDLE = 60.0  # seconds without news after which a painter goes home


@dataclass(slots=True)
class _News:
    """What is to be shown of one job. Mutable: newer news replace older ones."""

    progress: Progress | None = None
    eta: float | None = None
    fresh: asyncio.Event = field(default_factory=asyncio.Event)
    painted: bool = False  # has a painter
    last: Message | None = None  # what the message says now

    def hear(self, progress: Progress | None, eta: float | None) -> None:
        if progress is not None:
            kept = self.progress.preview if self.progress else None  # the newest picture is not to be lost
            self.progress = dataclasses.replace(progress, preview=progress.preview or kept)
            self.eta = eta
        self.fresh.set()


class Living:
    """The one throttle. Edits may be lost: the answer, which may not, is the outbox's business."""

    def __init__(
        self,
        store: Store,
        platforms: Mapping[str, Platform],
        *,
        clock: Callable[[], float],
        renewed: Callable[[], None] = lambda: None,
        forecast: Forecast | None = None,
    ) -> None:
        """`renewed` is told when a message grew too old to be edited, and one is to be posted in its place."""
        self._renewed = renewed
        self._forecast = forecast
        self.locks: defaultdict[int, asyncio.Lock] = defaultdict(
            asyncio.Lock
        )  # one speaker per job's message
        self._store = store
        self._platforms = platforms
        self._clock = clock
        self._news: dict[int, _News] = {}
        self._paused: dict[str, float] = {}  # platform → when it may be edited on again
        self._tasks: asyncio.TaskGroup | None = None

    def show(self, job_id: int, progress: Progress | None = None, eta: float | None = None) -> None:
        """News of a job; without `progress`, its state or place in line may have changed."""
        news = self._news.setdefault(job_id, _News())
        news.hear(progress, eta)
        self._start(job_id, news)

    def forget(self, job_id: int) -> None:
        """The job ended: nothing that was heard before is painted any more."""
        if news := self._news.pop(job_id, None):
            news.fresh.set()  # its painter sees that it is forgotten

    async def run(self) -> None:
        try:
            async with asyncio.TaskGroup() as self._tasks:
                for job_id, news in self._news.items():
                    self._start(job_id, news)
                await asyncio.Event().wait()
        finally:
            self._tasks = None

    def posted(self, job_id: int, message: Message) -> None:
        """What the message says now."""
        self._news.setdefault(job_id, _News()).last = message

    def _start(self, job_id: int, news: _News) -> None:
        if self._tasks and not news.painted:
            news.painted = True
            self._tasks.create_task(self._paint(job_id, news))

    async def _paint(self, job_id: int, news: _News) -> None:
        """Make edits as news come, until there are none for a while, or none are wanted."""
        last = 0.0
        try:
            while self._news.get(job_id) is news and await _heard(news.fresh):
                target = await self._target(job_id)
                if target is None:
                    return
                if (wait := self._wait(target, last)) > 0:
                    await asyncio.sleep(wait)
                    continue  # much may have happened meanwhile
                news.fresh.clear()
                if not await self._edit(target, news):
                    return
                last = self._clock()
        except Exception:
            log.exception("could not show how job %d goes", job_id)
        finally:
            news.painted = False

    async def _target(self, job_id: int) -> _Target | None:
        """The job and its message; None where there is nothing to be edited any more."""
        rows, job = await self._store.together.told(job_id)
        said = next((row for row in rows if row.kind == "status"), None)
        if job is None or said is None or said.state == "dead" or job.state not in OPEN:
            return None
        if (platform := self._platforms.get(job.platform)) is None:
            return None
        place = Place.from_json(job.place)
        target = _Target(job, platform, place, said, platform.limits(place))
        if target.too_old(now := self._clock()):
            await self._anew(target, now)
            return None
        return target

    async def _anew(self, target: _Target, now: float) -> None:
        """A long run's message is too old to be edited: the outbox posts another, at most one each `edit_age`."""
        before = now - target.limits.edit_age
        if target.job.state == "running" and await self._store.deliveries.renew(target.job.id, before, now):
            self._renewed()

    async def message(self, job: Job) -> Message:
        """What the job's message is to say now."""
        news = self._news.get(job.id) or _News()
        if job.state != "queued":
            return replies.status(job, progress=news.progress, eta=news.eta)
        ahead = await self._store.jobs.ahead(job.id)
        wait = await self._forecast.told(job.id) if self._forecast else None
        return replies.status(job, ahead=ahead, wait=wait, progress=news.progress, eta=news.eta)

    def _wait(self, target: _Target, last: float) -> float:
        """Seconds until the message may be edited."""
        now, every = self._clock(), target.limits.edit_every
        if target.said.state != "sent":
            return max(every, 0.1)
        return max(max(last, target.said.since) + every, self._paused.get(target.job.platform, 0.0)) - now

    async def _edit(self, target: _Target, news: _News) -> bool:
        """One edit, if it would change anything. False when the message is gone."""
        job = target.job
        message = await self.message(job)
        if message == news.last:
            return True
        async with self.locks[job.id]:
            if self._news.get(job.id) is not news:
                return False
            try:
                await target.platform.edit(target.place, target.said.message, message)
            except Gone:
                return False
            except (Unreachable, TooLarge) as error:
                pause = getattr(error, "retry_after", 0.0)
                self._paused[job.platform] = self._clock() + max(pause, target.limits.edit_every)
                return True
        news.last = message
        return True


@dataclass(frozen=True, slots=True)
class _Target:
    job: Job
    platform: Platform
    place: Place
    said: Delivery
    limits: Limits

    def too_old(self, now: float) -> bool:
        return self.said.since > 0 and now - self.said.since > self.limits.edit_age


def becomes(job: Job, status: Delivery | None, limits: Limits, now: float) -> str:
    """The living message that may become the answer, "" where there is none. An edit notifies nobody."""
    if replies.calls(job) or status is None or status.state != "sent":
        return ""
    return status.message if now - status.since <= limits.edit_age else ""


async def _heard(fresh: asyncio.Event) -> bool:
    try:
        async with asyncio.timeout(IDLE):
            await fresh.wait()
    except TimeoutError:
        return False
    return True
