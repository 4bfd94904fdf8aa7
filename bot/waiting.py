"""How long a job still has to wait: the fair order played forward, with speeds learnt from the jobs before.

`ends` is a pure function: people share the devices by weight (generalised processor sharing: Parekh and Gallager,
1993), a person's jobs share that person's part, and as one ends the next in line takes its place.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from bot.locale.numbers import about
from engines.serving.serves import NEWCOMERS
from storage.speeds import Speed

if TYPE_CHECKING:
    from engines.events import Progress
    from engines.words import Words
    from storage.jobs import Job
    from storage.store import Store

FRESH = 1.0  # seconds for which a forecast is good
LINE = 200  # so many waiting jobs are played forward; who is behind them is told the place alone
LEAST = 0.5  # seconds: of shorter waits nothing is learnt
HEED = 0.1  # how much the newest job says about how late they are
SHARE = 0.1  # of the devices, for background work while people wait
BACKGROUND = ("train",)
Pair = tuple[float, float]  # row-steps, seconds


@dataclass(frozen=True, slots=True)
class Task:
    """What is left of a job."""

    id: int
    person: str
    seconds: float  # of one device
    weight: float = 1.0
    background: bool = False


def ends(
    hand: Sequence[Task], line: Sequence[Task], *, slots: int, devices: int = 1, share: float = SHARE
) -> dict[int, float]:
    """Seconds until each task ends: those in hand share `devices`, those in line follow in order into `slots`.

    Who has nothing in hand finds a further seat, as with the dispatcher.
    """
    left = {task.id: max(task.seconds, 0.0) for task in hand}
    active, waiting = list(hand), list(line)
    now, ended = 0.0, dict[int, float]()
    while active or waiting:
        while (task := _next(active, waiting, slots)) is not None:
            waiting.remove(task)
            active.append(task)
            left[task.id] = max(task.seconds, 0.0)
        speed = rates(active, devices, share)
        spent = min(left[task.id] / speed[task.id] for task in active)
        now += spent
        for task in active:
            left[task.id] -= spent * speed[task.id]
        over = [task for task in active if left[task.id] <= 1e-9 * max(task.seconds, 1.0)]
        ended |= {task.id: now for task in over}
        active = [task for task in active if task.id not in ended]
    return ended


def _next(active: Sequence[Task], waiting: Sequence[Task], slots: int) -> Task | None:
    """Who of the line takes a seat now."""
    if len(active) < max(slots, 1):
        return next(iter(waiting), None)
    people = {task.person for task in active}
    newcomers = (task for task in waiting if task.person not in people)
    return next(newcomers, None) if len(active) < NEWCOMERS * slots else None


def rates(active: Sequence[Task], devices: int, share: float) -> dict[int, float]:
    """Devices that each task has at once, 1 at most. All are in use while there are tasks enough."""
    front = [task for task in active if not task.background]
    back = [task for task in active if task.background]
    for_back = devices * (share if front else 1.0)
    given = _shared(front, devices - for_back if back else devices)
    return given | _shared(back, max(for_back, min(len(back), devices - sum(given.values()))))


def _shared(tasks: Sequence[Task], devices: float) -> dict[int, float]:
    """By people's weights; what a person's few jobs cannot use goes to the others (water-filling)."""
    jobs = Counter(task.person for task in tasks)
    weights = {task.person: task.weight for task in tasks}
    parts, free = dict[str, float](), devices
    while weights:
        unit = free / sum(weights.values())
        full = [person for person, weight in weights.items() if unit * weight >= jobs[person]]
        for person in full or list(weights):
            parts[person] = float(jobs[person]) if full else unit * weights[person]
            free -= parts[person]
            del weights[person]
        free = max(free, 1e-9)
    return {task.id: parts[task.person] / jobs[task.person] for task in tasks}


@dataclass(frozen=True, slots=True)
class Known:
    """Seconds of a device for a row-step, by kind of work, then by command, then by anything at all."""

    exact: Mapping[tuple[str, str, str], float]
    command: Mapping[str, float]
    any: float | None

    def of(self, job: Job) -> float | None:
        kind = (job.command, str(job.request.get("model") or ""), size_of(job))
        return self.exact.get(kind) or self.command.get(job.command) or self.any


def known(learnt: Iterable[tuple[tuple[str, str, str], float, float]]) -> Known:
    """From (command, model, size), row-steps and seconds."""
    exact: defaultdict[tuple[str, str, str], list[Pair]] = defaultdict(list)
    command: defaultdict[str, list[Pair]] = defaultdict(list)
    every: list[Pair] = []
    for kind, row_steps, seconds in learnt:
        for group in (exact[kind], command[kind[0]], every):
            group.append((row_steps, seconds))
    return Known(
        {kind: _mean(pairs) for kind, pairs in exact.items()},
        {name: _mean(pairs) for name, pairs in command.items()},
        _mean(every) if every else None,
    )


def _mean(pairs: Sequence[Pair]) -> float:
    """Seconds for a row-step, over all of them."""
    return sum(seconds for _, seconds in pairs) / sum(row_steps for row_steps, _ in pairs)


def size_of(job: Job) -> str:
    """Of the pictures it asks for: WxH, "" where that is the model's own or a photo's."""
    width, height = job.request.get("width"), job.request.get("height")
    return f"{width}x{height}" if width and height else ""


@dataclass(slots=True)
class Pace:
    """How long a run has still to go, from the steps it made so far. Mutable."""

    first: tuple[float, int] | None = None

    def left(self, progress: Progress, now: float) -> float | None:
        """Seconds, or None while nobody can tell. Loading a model counts for nothing: it comes before step 1."""
        if self.first is None or progress.step < self.first[1]:
            self.first = (now, progress.step)
        since, start = self.first
        made = progress.step - start
        return (now - since) / made * (progress.total - progress.step) if made > 0 else None


def speed_of(job: Job, weight: float, device: str, seconds: float) -> Speed:
    """What a finished job teaches. `weight` of its department, `device` its kind, `seconds` of the device."""
    model = str(job.request.get("model") or "")
    return Speed(device, job.command, model, size_of(job), job.cost * weight, seconds)


class Forecast:
    """When the jobs that wait and run will have ended. Mutable: it hears how far those at work are."""

    def __init__(
        self,
        store: Store,
        *,
        clock: Callable[[], float],
        slots: int = 8,
        devices: int = 1,
        weights: Mapping[str, float] | None = None,
    ) -> None:
        """`slots`: works in flight on all devices together. `weights`: of departments."""
        self._store, self._clock = store, clock
        self._slots, self._devices, self._weights = slots, devices, weights or {}
        self._left: dict[int, float] = {}  # part of a running job that is still to be done
        self._own: dict[int, float] = {}  # what a running job itself says is left, in seconds
        self._ends: dict[int, float] = {}
        self._told: dict[
            int, tuple[float, float]
        ] = {}  # of a job: when it was first told, and what was worked out
        self._late = 1.0  # how much longer the last jobs took than was worked out for them
        self._at = float("-inf")

    def heard(self, job_id: int, progress: Progress, eta: float | None) -> None:
        """How far a job at work is, and how many seconds its own pace leaves."""
        self._left[job_id] = 1.0 - progress.step / max(progress.total, 1)
        if eta is not None:
            self._own[job_id] = eta

    def over(self, job_id: int, *, well: bool = False) -> None:
        """It neither waits nor runs any more. Only one that ended `well` shows how true what was told was."""
        self._left.pop(job_id, None)
        self._own.pop(job_id, None)
        told = self._told.pop(job_id, None)
        if well and told and told[1] > LEAST:
            ratio = min(max((self._clock() - told[0]) / told[1], 0.25), 4.0)
            self._late *= (ratio / self._late) ** HEED
        self._at = float("-inf")

    def changed(self) -> None:
        """The line is another one: what was worked out before is stale."""
        self._at = float("-inf")

    async def seconds(self, job_id: int) -> float | None:
        """Until it ends; None where nobody can tell."""
        now = self._clock()
        if not 0 <= now - self._at < FRESH:
            self._ends, self._at = await self._played(), now
        end = self._ends.get(job_id)
        if end is None:
            return None
        self._told.setdefault(job_id, (now, end))
        return max(0.0, end * self._late - (now - self._at))

    async def told(self, job_id: int) -> Words | None:
        """The same in words that claim no more than is known."""
        seconds = await self.seconds(job_id)
        return None if seconds is None else about(seconds)

    async def _played(self) -> dict[int, float]:
        learnt, running, waiting = await self._store.together.work(LINE)
        speed = known(((s.command, s.model, s.size), s.row_steps, s.seconds) for s in learnt)
        hand = [self._task(job, speed) for job in running]
        line = [self._task(job, speed) for job in waiting]
        if None in hand:
            return {}
        sure: list[Task] = []
        for task in line:  # behind one of unknown length nobody can tell
            if task is None:
                break
            sure.append(task)
        return ends([task for task in hand if task], sure, slots=self._slots, devices=self._devices)

    def _task(self, job: Job, speed: Known) -> Task | None:
        weight, pace = self._weights.get(job.department, 1.0), speed.of(job)
        background = job.command in BACKGROUND
        if pace is not None:
            seconds = job.cost * weight * pace * self._left.get(job.id, 1.0)
        elif job.id in self._own:
            seconds = self._own[job.id] / max(len(self._left), 1)
        else:
            return None
        return Task(job.id, job.person, seconds, weight, background)
