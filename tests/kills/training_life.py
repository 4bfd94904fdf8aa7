"""One life of a queue with trainings in it: the real store, dispatcher, outbox, pool and trainer, and a chat on disk.

It ends by itself when nothing is left to do or to say. Meanwhile it tells in which phase it is.
"""

from __future__ import annotations

import asyncio
import functools
import json
import os
import random
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
import training_world as world
from kills.phases import Phases

import bot.answers.outbox
from bot.dispatcher import Dispatcher
from bot.talk import Limits, Message, Place
from engines.devices import Device
from engines.models.loading import import_libraries
from engines.requests import Train
from engines.serving.pool import Pool
from engines.training import checkpoints, ticks
from engines.training.engine import DreamBooth
from storage.jobs import Jobs
from storage.store import Store

torch.set_num_threads(1)
import_libraries()

PHASES = ("begin", "step", "save", "pack", "record", "send")
DATA, MODELS, WALL, MAP, STEPS = "data", "models", "wall", "phases", "steps"  # in the house's folder
OPEN = (
    "SELECT (SELECT count(*) FROM jobs WHERE state IN ('queued', 'running'))"
    " + (SELECT count(*) FROM deliveries WHERE state IN ('pending', 'sending'))"
)


@dataclass(frozen=True)
class Post:
    """A message that stands on the wall, as it was posted."""

    id: str
    key: str
    job: int
    kind: str
    mention: str


class Wall:
    """A chat that outlives the process: what is posted is there, and posted twice it is there twice."""

    name = "wall"

    def __init__(self, path: Path, phases: Phases | None = None) -> None:
        self._path, self._phases = path, phases

    def limits(self, place: Place) -> Limits:
        return Limits(file_bytes=10**8, files=10, message_bytes=10**8, edit_every=0.2, text=4000)

    async def serve(self, desk: object) -> None:
        await asyncio.Event().wait()

    async def post(self, place: Place, message: Message, key: str) -> str:
        assert self._phases is not None
        with self._phases.inside("send"):
            await asyncio.sleep(random.uniform(0.0, 0.02))
            post = Post(os.urandom(6).hex(), key, message.job, message.kind, message.mention)
            with self._path.open("a") as wall:
                wall.write(json.dumps(asdict(post)) + "\n")
            await asyncio.sleep(random.uniform(0.0, 0.1))  # for as long nobody knows that it was said
        return post.id

    async def edit(self, place: Place, message_id: str, message: Message) -> None:
        pass

    async def find(self, place: Place, key: str, since: float) -> str | None:
        return next((post.id for post in self.posts() if post.key == key), None)

    async def delete(self, place: Place, message_id: str) -> None:
        pass

    def posts(self) -> list[Post]:
        lines = self._path.read_text().splitlines() if self._path.exists() else []
        return [Post(**json.loads(line)) for line in lines]


def live(folder: str, broken: str = "") -> None:
    """In a process of its own, until there is nothing left to do."""
    house = Path(folder)
    phases, steps = Phases(house / MAP, PHASES), Phases(house / STEPS, (STEPS,))
    phases.clear()
    watch(phases)
    count(steps)
    if broken:
        BROKEN[broken]()
    asyncio.run(_life(house, phases))


def watch(phases: Phases) -> None:
    """Tell when it is inside; saving takes a little longer than it does, so that kills fall between its files."""

    def inside(owner: Any, name: str, phase: str) -> None:
        method = getattr(owner, name)

        @functools.wraps(method)
        def watched(*args: Any, **more: Any) -> Any:
            with phases.inside(phase):
                return method(*args, **more)

        setattr(owner, name, watched)

    inside(DreamBooth, "begin", "begin")
    inside(ticks, "tried", "step")
    inside(checkpoints, "save", "save")
    finish, record, sync = DreamBooth.finish, Jobs.finish, checkpoints.sync_file

    def finished(self: DreamBooth, run: Any) -> Any:
        packing = finish(self, run)

        def packed() -> Any:
            with phases.inside("pack"):
                return packing()

        return packed

    async def recorded(*args: Any, **more: Any) -> Any:
        with phases.inside("record"):
            await asyncio.sleep(random.uniform(0.0, 0.02))
            made = await record(*args, **more)
            await asyncio.sleep(random.uniform(0.0, 0.02))
            return made

    def synced(path: Path) -> None:
        time.sleep(random.uniform(0.0, 0.02))
        sync(path)

    DreamBooth.finish = finished  # type: ignore[method-assign]
    Jobs.finish = recorded  # type: ignore[method-assign]
    checkpoints.sync_file = synced


def count(steps: Phases) -> None:
    """How many steps this life has taken."""
    tried = ticks.tried

    def counted(run: Any) -> Any:
        made = tried(run)
        steps.add(STEPS, run.timeline.at(run.done).kind == "learn")
        return made

    ticks.tried = counted


async def _life(house: Path, phases: Phases) -> None:
    trainer = world.engine(house / MODELS)
    async with await Store.open(house / DATA) as store:
        pool = Pool({Train: lambda device: trainer}, [Device("cpu", "a tiny base")])
        outbox = bot.answers.outbox.Outbox(store, {Wall.name: Wall(house / WALL, phases)}, settle=0.1)
        dispatcher = Dispatcher(store, pool, outbox, crashes=1000)
        await pool.start()
        work = [asyncio.create_task(part) for part in (dispatcher.run(), outbox.run())]
        try:
            while await store.database.read(lambda db: db.execute(OPEN).fetchone()[0]):  # noqa: ASYNC110
                await asyncio.sleep(0.1)
        finally:
            await pool.stop(10.0)
            for task in work:
                task.cancel()
            await asyncio.gather(*work, return_exceptions=True)


# What the campaign must notice: the code broken on purpose.


def forgets_the_optimizer() -> None:
    """It goes on from the weights alone."""
    checkpoints.restore_optimizer = lambda optimizer, tensors: None


def repeats() -> None:
    """An outbox that repeats without looking."""

    async def never(*_: Any) -> None:
        return None

    bot.answers.outbox._find = never  # type: ignore[assignment]


BROKEN: dict[str, Callable[[], None]] = {"forgets the optimizer": forgets_the_optimizer, "repeats": repeats}
