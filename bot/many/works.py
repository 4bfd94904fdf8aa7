"""Many at once: the pool, as the dispatcher sees it, where a work of many parts runs like one.

Each part is a run of its own, so engines and scheduler know nothing of this. Only some are in flight at a time:
one of every job, and a few more that all jobs share. What is finished is kept (`bot.many.part_files`); what fails is
named in the end and fails nobody else.
"""

from __future__ import annotations

import asyncio
import dataclasses
import logging
import shutil
from collections.abc import AsyncGenerator, Iterator
from contextlib import aclosing, asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

from bot.answers.telling import failures_told, notes_told
from bot.many.assembly import Assembly, assembled
from bot.many.part_files import Made, keep, kept
from engines import failures
from engines.engine import Work
from engines.events import Event, Failed, Finished, Progress, Started
from engines.request import Part
from engines.serving.serves import NEWCOMERS
from engines.serving.streams import Stream
from engines.words import Words

log = logging.getLogger(__name__)

PARTS = "parts"  # the folder of finished parts in a job's own


class Pool(Protocol):
    """What a dispatcher needs of `engines.serving.pool.Pool`."""

    def run(self, work: Work) -> AsyncGenerator[Event, None]: ...

    def room(self, *, newcomers: bool = False) -> int: ...

    def hold(self, job: int) -> None: ...


@dataclass(slots=True)
class _Course:
    """One job on its way. Mutable; of the event loop alone."""

    work: Work
    parts: tuple[Part, ...]
    stream: Stream
    made: dict[int, Made] = field(default_factory=dict)
    steps: dict[int, tuple[int, int]] = field(default_factory=dict)  # of parts in flight and over: done, all
    seconds: dict[int, float] = field(default_factory=dict)  # on the device in this life, by part
    stopped: Failed | None = None  # the pool was stopped
    started: bool = False

    def tell(self, preview: bytes | None = None) -> None:
        """How far the whole is: steps of all parts, those to come guessed from those that are known."""
        guess = max((all for _, all in self.steps.values()), default=1)
        over = len(self.made.keys() - self.steps.keys())  # in an earlier life, or before a first step
        unknown = len(self.parts) - len(self.steps)
        done = sum(done for done, _ in self.steps.values()) + over * guess
        whole = sum(all for _, all in self.steps.values()) + unknown * guess
        note = _PICTURES(done=len(self.made), n=len(self.parts))
        self.stream.tell(Progress(done, whole, note, preview, self.used))

    @property
    def used(self) -> float:
        """Seconds on the device in this life."""
        return sum(self.seconds.values())

    def end(self, index: int, made: Made) -> None:
        self.made[index] = made
        if index in self.steps:
            self.steps[index] = (self.steps[index][1],) * 2
        self.tell()


class Many:
    """Stands before a pool. `width`: works in flight that make sense on all devices together."""

    def __init__(self, pool: Pool, width: int = 8) -> None:
        self._pool = pool
        self._width = width
        self._seats = asyncio.Semaphore(width)  # for parts beyond the first of each job
        self._extra = 0  # of them taken
        self._jobs = 0

    def room(self, *, newcomers: bool = False) -> int:
        """How many more jobs it makes sense to hand over: the further parts of those in hand take no one's place.

        `newcomers`: of people who have none in hand.
        """
        room = self._pool.room(newcomers=newcomers)
        if not self._extra:
            return room
        width = self._width * (NEWCOMERS if newcomers else 1)
        return max(0, min(room + self._extra, width - self._jobs))

    def hold(self, job_id: int) -> None:
        """As the pool's own."""
        self._pool.hold(job_id)

    async def run(self, work: Work) -> AsyncGenerator[Event, None]:
        """As the pool's own `run`. Closing it early ends all parts within a tick."""
        self._jobs += 1
        try:
            parts = work.request.parts
            async with aclosing(self._many(work, parts) if parts else self._pool.run(work)) as events:
                async for event in events:
                    yield event
        finally:
            self._jobs -= 1

    async def _many(self, work: Work, parts: tuple[Part, ...]) -> AsyncGenerator[Event, None]:
        course = _Course(work, parts, Stream(asyncio.get_running_loop()))
        task = asyncio.create_task(self._to_the_end(course))
        try:
            async with aclosing(course.stream.events()) as events:
                async for event in events:
                    yield event
        finally:
            task.cancel()
            await asyncio.wait({task})

    async def _to_the_end(self, course: _Course) -> None:
        """Always tells an end."""
        try:
            course.stream.tell(await self._all(course))
        except* Exception as group:
            error: BaseException = group
            while isinstance(error, BaseExceptionGroup):
                error = error.exceptions[0]
            course.stream.tell(failures.failed(error))

    async def _all(self, course: _Course) -> Finished | Failed:
        await asyncio.to_thread(_recall, course)
        to_do = iter([i for i in range(len(course.parts)) if i not in course.made])
        if course.made:
            course.tell()
        async with asyncio.TaskGroup() as tasks:
            for seat in range(min(self._width, len(course.parts))):
                tasks.create_task(self._seat(course, to_do, first=seat == 0))
        if course.stopped:
            return dataclasses.replace(course.stopped, seconds=course.used)
        made = tuple(course.made[i] for i in range(len(course.parts)))
        failed = [one for one in made if one.failure]
        if len(failed) == len(made):
            return Failed(failures_told(failed, len(made)), failed[0].code or "error", seconds=course.used)
        artifacts = await asyncio.to_thread(assembled, Assembly(course.work, made))
        notes = (*([failures_told(failed, len(made))] if failed else []), *notes_told(made))
        return Finished(artifacts, course.used, notes)

    async def _seat(self, course: _Course, to_do: Iterator[int], first: bool) -> None:
        """One part after the other, as long as there are any."""
        while not course.stopped:
            async with self._sitting(first):
                index = next(to_do, None)
                if index is None or course.stopped:
                    return
                await self._part(course, index)

    @asynccontextmanager
    async def _sitting(self, first: bool) -> AsyncGenerator[None, None]:
        """A job's first seat is its own; the others are shared by all jobs, whoever waited longest first."""
        if first:
            yield
            return
        async with self._seats:
            self._extra += 1
            try:
                yield
            finally:
                self._extra -= 1

    async def _part(self, course: _Course, index: int) -> None:
        part, folder = course.parts[index], _folder(course.work, index)
        await asyncio.to_thread(_emptied, folder)
        files = {name: course.work.files[name] for name in part.request.blobs}
        work = dataclasses.replace(course.work, request=part.request, folder=folder, files=files)
        end = await self._followed(course, index, work)
        course.seconds[index] = max(end.seconds, course.seconds.get(index, 0.0))
        if isinstance(end, Finished):
            made = Made(part, end.artifacts, end.notes)
        elif end.code == "stopped":
            course.stopped = end
            return
        else:
            log.warning("job %d: %s failed: %s\n%s", work.id, part.name, end.reason.en, end.trace)
            made = Made(part, failure=end.reason, code=end.code)
        await asyncio.to_thread(keep, folder, made)
        course.end(index, made)

    async def _followed(self, course: _Course, index: int, work: Work) -> Finished | Failed:
        try:
            async with aclosing(self._pool.run(work)) as events:
                async for event in events:
                    match event:
                        case Started() if not course.started:
                            course.started = True
                            course.stream.tell(event)
                        case Progress():
                            course.steps[index] = (event.step, event.total)
                            course.seconds[index] = event.seconds
                            course.tell(event.preview)
                        case Finished() | Failed():
                            return event
        except Exception as error:
            log.exception("job %d: %s broke", work.id, course.parts[index].name)
            return failures.failed(error)
        return failures.failed(RuntimeError("the pool told no end"))


def _folder(work: Work, index: int) -> Path:
    return work.folder / PARTS / f"{index:04d}"


def _recall(course: _Course) -> None:
    """What an earlier life finished."""
    for i, part in enumerate(course.parts):
        if made := kept(_folder(course.work, i), part):
            course.made[i] = made


def _emptied(folder: Path) -> None:
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)


_PICTURES = Words("{done} of {n} done", "{n}개 중 {done}개 완료")
