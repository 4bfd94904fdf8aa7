"""What is said about jobs, exactly once: rows in the store drive it, the platforms' answers settle them.

`sending` is committed before a platform is called and `sent` after; between the two nobody knows, so the outbox
looks before it repeats. The answer is an edit of the job's own message where that can be: harmless to repeat.
"""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import logging
import random
import shutil
import time
from collections import Counter
from collections.abc import Callable, Mapping
from pathlib import Path

from bot.answers import replies
from bot.answers.interrogated import is_words
from bot.answers.living import Living, becomes
from bot.many.bundles import pack, tighter
from bot.many.parcel import Shrink
from bot.talk import Gone, Limits, Message, Place, Platform, TooLarge, Unreachable
from bot.waiting import Forecast
from engines.events import Progress
from storage import StorageError
from storage.deliveries import Delivery
from storage.jobs import OPEN, Job
from storage.store import Store

log = logging.getLogger(__name__)

ODD = 8  # so many unforeseen failures of one message are enough
WIDTH = 8  # so many jobs' messages are under way at once on one platform
PAUSE = 5.0  # seconds before trying again what the disk refused
LONGEST = 60.0  # seconds between two tries
GIVE_UP = 3 * 86400.0  # seconds after the first try
SKEW = 120.0  # seconds by which a platform's clock may differ from ours
EXPORTS = "exports"  # folder beside the database
ALONE = 30.0  # seconds after which the rows are looked at again though nobody called


class Outbox:
    def __init__(
        self,
        store: Store,
        platforms: Mapping[str, Platform],
        *,
        clock: Callable[[], float] = time.time,
        shrink: Shrink | None = None,
        settle: float = 2.0,
        rng: random.Random | None = None,
        forecast: Forecast | None = None,
    ) -> None:
        """`settle`: seconds before a look for a message of unknown fate; a platform shows none at once."""
        self._store = store
        self._platforms = platforms
        self.limits = lambda place: platforms[place.platform].limits(place)  # what a message there can carry
        self._clock = clock
        self._shrink = shrink
        self._settle = settle
        self._rng = rng or random.Random()
        self._living = Living(store, platforms, clock=clock, renewed=self.wake, forecast=forecast)
        self._woken = {name: asyncio.Event() for name in platforms}
        self._failed: Counter[tuple[int, str]] = Counter()  # how often the platform could not be reached
        self._odd: Counter[tuple[int, str]] = Counter()  # how often it failed in a way that nobody foresaw
        self._gone: set[tuple[int, str]] = set()  # told once already that nobody is there

    def show(self, job_id: int, progress: Progress | None = None, eta: float | None = None) -> None:
        """News of how a job goes, `eta` seconds before its end: shown soon, the newest only, or not at all."""
        self._living.show(job_id, progress, eta)

    def wake(self) -> None:
        """Something may be to be said."""
        for woken in self._woken.values():
            woken.set()

    async def take_back(self, job_id: int) -> None:
        """Take away the message that shows a job's results, wherever it was said: soon, and surely."""
        if await self._store.deliveries.add_removal(job_id, self._clock()):
            self.wake()

    async def run(self) -> None:
        """Until cancelled. What was under way then is looked for at the next start."""
        await self._store.deliveries.hasten(self._clock())
        for left in self._exports().glob("ds-*"):  # what a killed process was packing
            await asyncio.to_thread(shutil.rmtree, left, ignore_errors=True)
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(self._living.run())
            for name, platform in self._platforms.items():
                tasks.create_task(self._lane(name, platform))

    async def _lane(self, name: str, platform: Platform) -> None:
        """One platform's deliveries, so that a slow one holds up nobody else."""
        started, busy = self._clock(), set[int]()
        left = False  # whether the last look found more than could be taken

        async def deliver(job: int) -> None:
            over = False
            try:
                over = await self._deliver(job, platform, started)
            except Exception:
                log.exception("could not deliver job %d", job)
                await asyncio.sleep(PAUSE)
            finally:
                busy.discard(job)
                if left or not over:
                    self._woken[name].set()

        async with asyncio.TaskGroup() as tasks:
            while True:
                self._woken[name].clear()
                now = self._clock()
                found, later = await self._store.deliveries.look(now, 2 * WIDTH + 2 * len(busy), name)
                waiting = dict.fromkeys(due.job for due in found)
                taken = [job for job in waiting if job not in busy][: WIDTH - len(busy)]
                left = len(waiting) > len(taken)
                busy.update(taken)
                for job in taken:
                    tasks.create_task(deliver(job))
                with contextlib.suppress(TimeoutError):  # (wait_for of Python 3.11 can lose a cancellation)
                    async with asyncio.timeout(min((later or now + ALONE) - now, ALONE)):
                        await self._woken[name].wait()

    async def _deliver(self, job_id: int, platform: Platform, started: float) -> bool:
        """All that is to be said of one job, in order, until something has to wait; whether all of it was."""
        deliveries, job = await self._store.together.told(job_id)
        if job is None:
            return True
        for delivery in deliveries:
            if delivery.state not in ("pending", "sending"):
                continue
            later = await self._try(job, delivery, platform, started)
            if later is not None:
                await self._postpone(job_id, later)
                return False
        return True

    async def _postpone(self, job_id: int, due: float) -> None:
        """Nothing of this job is said before `due`: what comes second must not overtake what comes first."""
        rows = self._store.deliveries
        for row in await rows.of(job_id):
            if row.state in ("pending", "sending") and row.due < due:
                await rows.retry(job_id, row.kind, due, self._clock(), uncertain=row.state == "sending")

    async def _try(self, job: Job, delivery: Delivery, platform: Platform, started: float) -> float | None:
        """Settle one delivery, or say when to try again."""
        now = self._clock()
        if delivery.due > now:
            return delivery.due
        if delivery.state == "sending" and now < started + self._settle:
            return started + self._settle  # of the life before: give the platform time to show it
        say = {"status": self._status, "result": self._result, "removal": self._removal}[delivery.kind]
        try:
            await say(job, delivery, platform)
        except Gone as gone:
            return await self._nobody_there(delivery, gone)
        except Unreachable as error:
            log.info("job %d: %s cannot be reached: %s", job.id, platform.name, error)
            return await self._later(delivery, error.retry_after, uncertain=error.uncertain)
        except TooLarge as error:
            log.warning("job %d: too large for %s: %s", job.id, platform.name, error)
            return await self._later(delivery, 0.0, uncertain=False)
        except StorageError:
            raise  # no fault of what was to be said
        except Exception:
            log.exception("job %d: %s broke", job.id, platform.name)
            return await self._odd_again(delivery)
        self._failed.pop((job.id, delivery.kind), None)
        return None

    async def _odd_again(self, delivery: Delivery) -> float | None:
        """A bug, or a platform that refuses what we say: try some times, the answer without its files at last."""
        which = (delivery.job, delivery.kind)
        self._odd[which] += 1
        if self._odd[which] < ODD:
            return await self._later(delivery, 0.0, uncertain=True)
        log.error("job %d: its %s was given up", *which)
        del self._odd[which]
        await self._store.deliveries.dead(*which, self._clock())
        return None

    async def _nobody_there(self, delivery: Delivery, gone: Gone) -> float | None:
        which = (delivery.job, delivery.kind)
        if which not in self._gone:
            self._gone.add(which)
            return await self._later(delivery, 0.0, uncertain=delivery.state == "sending")
        log.warning("job %d: nobody there to be told its %s: %s", *which, gone)
        self._gone.discard(which)
        await self._store.deliveries.dead(*which, self._clock())
        return None

    async def _later(self, delivery: Delivery, at_least: float, *, uncertain: bool) -> float | None:
        """Put it off, longer each time in this life; give it up after days."""
        now, which = self._clock(), (delivery.job, delivery.kind)
        self._failed[which] += 1
        if self._failed[which] > 10 and now - delivery.since > GIVE_UP:
            log.error("job %d: its %s was given up", delivery.job, delivery.kind)
            await self._store.deliveries.dead(delivery.job, delivery.kind, now)
            return None
        backoff = min(LONGEST, 0.5 * 2.0 ** min(self._failed[which], 20)) * self._rng.uniform(0.5, 1.0)
        due = now + max(at_least, backoff, self._settle if uncertain else 0.0)
        await self._store.deliveries.retry(delivery.job, delivery.kind, due, now, uncertain=uncertain)
        return due

    async def _status(self, job: Job, delivery: Delivery, platform: Platform) -> None:
        """The living message: posted once, unless the job has ended before it was."""
        deliveries, place = self._store.deliveries, Place.from_json(job.place)
        key = f"ds{job.id}s"
        if found := await _find(platform, place, key, delivery):
            await self._pointed(job, delivery, platform, found)
            await deliveries.sent(job.id, "status", found, self._clock())
        elif job.state not in OPEN:
            await deliveries.dead(job.id, "status", self._clock())
        else:
            message = await self._living.message(job)
            await deliveries.sending(job.id, "status", self._clock())
            posted = await platform.post(place, message, key)
            await self._pointed(job, delivery, platform, posted)
            await deliveries.sent(job.id, "status", posted, self._clock())
            self._living.posted(job.id, message)
            return
        self._living.show(job.id)

    async def _pointed(self, job: Job, delivery: Delivery, platform: Platform, posted: str) -> None:
        """The message before this one, too old to be edited often, is so once more: it says where it goes on."""
        if delivery.message not in ("", posted):
            with contextlib.suppress(Exception):
                await platform.edit(Place.from_json(job.place), delivery.message, replies.goes_on(job))

    async def _result(self, job: Job, delivery: Delivery, platform: Platform) -> None:
        """The answer: the living message becomes it; where that is gone or too old, it is posted anew."""
        deliveries, place = self._store.deliveries, Place.from_json(job.place)
        self._living.forget(job.id)
        said = await _find(platform, place, f"ds{job.id}r", delivery)
        status = await deliveries.get(job.id, "status")
        old = becomes(job, status, platform.limits(place), self._clock())
        if not said:
            await deliveries.sending(job.id, "result", self._clock())
            async with self._living.locks[job.id]:
                said = await self._say_till_it_fits(job, platform, place, old)
            self._living.locks.pop(job.id, None)
        if status and status.message not in ("", said):
            with contextlib.suppress(Exception):  # the old one, with its bar, is needless now
                await platform.delete(place, status.message)
        await deliveries.sent(job.id, "result", said, self._clock())

    async def _removal(self, job: Job, delivery: Delivery, platform: Platform) -> None:
        """A person wants the results gone: taking away what is gone already is harmless, so this may be repeated."""
        deliveries, place = self._store.deliveries, Place.from_json(job.place)
        await deliveries.sending(job.id, "removal", self._clock())
        for message in {said.message for said in await deliveries.of(job.id) if said.message}:
            await platform.delete(place, message)
        await deliveries.sent(job.id, "removal", "", self._clock())

    async def _say_till_it_fits(self, job: Job, platform: Platform, place: Place, old: str) -> str:
        """The message's id, `old` where that can be edited. Where its limits allow what is refused, send less."""
        limits = platform.limits(place)
        if self._odd[job.id, "result"] >= ODD // 2:
            limits = dataclasses.replace(limits, files=0)
        folder = self._exports() / f"ds-{job.id}"  # few answers need it
        while True:
            try:
                message = await self._answer(job, limits, folder)
                with contextlib.suppress(Gone):
                    if old:
                        await platform.edit(place, old, message)
                        return old
                return await platform.post(place, message, f"ds{job.id}r")
            except TooLarge:
                if not message.files:
                    raise
                limits = tighter(limits, message)
            finally:
                if folder.exists():
                    await asyncio.to_thread(shutil.rmtree, folder, ignore_errors=True)

    def _exports(self) -> Path:
        """Where archives are packed: on the data folder's disk, for they may be larger than memory."""
        (folder := self._store.folder / EXPORTS).mkdir(exist_ok=True)
        return folder

    async def _answer(self, job: Job, limits: Limits, folder: Path) -> Message:
        results = await self._store.results.of(job.id)
        shown = [replies.Shown(result, self._store.blobs.path(result.blob)) for result in results]
        message = replies.answer(job, shown, limits=limits)
        shown = [one for one in shown if not is_words(one.result)]
        return await pack(message, shown, limits, folder, self._shrink, job.language)


async def _find(platform: Platform, place: Place, key: str, delivery: Delivery) -> str | None:
    """The look before repeating: a message that may have been posted before. `Unreachable` where one cannot know."""
    if delivery.state != "sending":
        return None
    try:
        return await platform.find(place, key, delivery.since - SKEW)
    except Unreachable as error:
        raise Unreachable(str(error), retry_after=error.retry_after, uncertain=True) from error
