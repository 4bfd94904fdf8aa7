"""Trainings whose process is killed again and again: what they end with, and how often they are answered."""

from __future__ import annotations

import asyncio
import random
import sqlite3
import time
from collections import Counter
from contextlib import closing
from dataclasses import dataclass, field
from multiprocessing.context import ForkServerContext
from pathlib import Path
from typing import Any, Self

import training_world as world
from kills import training_life
from kills.phases import Phases
from kills.training_life import DATA, MAP, MODELS, OPEN, PHASES, STEPS, WALL, Wall

from storage.store import Store

METHODS = ("lora", "full")  # in turns
AIMED = ("save", "step", "save", "begin", "save", "pack", "save", "record", "step", "send")
WEIGHTS = {"lora": "pytorch_lora_weights.safetensors", "full": "unet/diffusion_pytorch_model.safetensors"}
LOG = "training_log.csv"
PATIENCE = 300.0  # seconds for one life


@dataclass
class Report:
    kills: int
    trainings: int = 0
    lives: int = 0
    fell: Counter[str] = field(default_factory=Counter)  # phase → kills that fell into it
    states: Counter[str] = field(default_factory=Counter)
    different: list[str] = field(default_factory=list)  # models that are not what they would have been
    answers: Counter[int] = field(default_factory=Counter)  # job → messages that call its person
    twice: list[str] = field(default_factory=list)  # what stands on the wall more than once
    seconds: float = 0.0

    def __str__(self) -> str:
        fell = " ".join(f"{phase} {self.fell[phase]}" for phase in (*PHASES, "between"))
        return (
            f"{self.kills} kills ({fell}) in {self.lives} lives, {self.seconds:.0f} s; {self.trainings} trainings "
            f"{dict(self.states)}, {len(self.different)} with other bytes, answered {sorted(self.answers.values())}, "
            f"{len(self.twice)} said twice"
        )


class House:
    """A data folder and a models folder, lived in by one process after the other."""

    def __init__(self, folder: Path, bases: Path, server: ForkServerContext, broken: str = "") -> None:
        folder.mkdir()
        self.folder, self._server, self._broken = folder, server, broken
        self.models = world.house(folder / MODELS, bases)
        self.phases, self.steps = Phases(folder / MAP, PHASES), Phases(folder / STEPS, (STEPS,))
        self.trainings = 0

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.phases.close()
        self.steps.close()

    async def ask(self, steps: int, seed: int) -> None:
        """One training more in the queue, of the same data and with the same seed each time."""
        told, files = await asyncio.to_thread(world.data, self.folder / "photos", 2, 2, 2)
        async with await Store.open(self.folder / DATA) as store:
            blobs = {name: await store.blobs.put(path.read_bytes()) for name, path in files.items()}
            method = METHODS[self.trainings % len(METHODS)]
            request = world.train(save_as=f"nut-{self.trainings}", steps=steps, seed=seed, save_every=3, method=method,
                                  concepts=tuple(_stored(one, blobs) for one in told))  # fmt: skip
            await store.jobs.add(
                key=f"k{self.trainings}", person="wall:kim", name="Kim", platform=Wall.name, language="en",
                place={"platform": Wall.name, "channel": "c"}, command="train", request=request.to_json(),
                cost=1.0, inputs=request.blobs, now=time.time(),
            )  # fmt: skip
        self.trainings += 1

    def start(self) -> Any:
        self.phases.clear()  # what the last one was in when it was killed
        self.steps.clear()
        process = self._server.Process(target=training_life.live, args=(str(self.folder), self._broken))
        process.start()
        return process

    def live(self) -> int:
        """A whole life; how it ended."""
        process = self.start()
        process.join(PATIENCE)
        if process.exitcode is None:
            process.kill()
        process.join()
        return int(process.exitcode or 0)

    def rows(self, query: str) -> list[tuple[Any, ...]]:
        with closing(sqlite3.connect(f"file:{self.folder / DATA / 'studio.db'}?mode=ro", uri=True)) as db:
            return db.execute(query).fetchall()

    def model(self, number: int) -> tuple[bytes, bytes]:
        """The weights and the log of the `number`th training; empty where there is no model."""
        made = self.models / f"nut-{number}"
        if not made.is_dir():
            return b"", b""
        return (made / WEIGHTS[METHODS[number % len(METHODS)]]).read_bytes(), (made / LOG).read_bytes()


def _stored(concept: dict[str, Any], blobs: dict[str, str]) -> dict[str, Any]:
    """The same with stored files instead of names."""
    images = [{part: blobs[name] for part, name in one.items()} for one in concept["images"]]
    return {**concept, "images": images, "normals": [blobs[name] for name in concept["normals"]]}


async def campaign(
    house: House, whole: House, *, kills: int, seed: int, aimed: tuple[str, ...] = AIMED, steps: int = 15
) -> Report:
    """Kill `kills` times while trainings are worked on, one after the other, then let it finish in peace; each is
    compared with one in `whole` that nothing interrupted."""
    rng, told, began = random.Random(seed), Report(kills), time.monotonic()
    fallen = 0
    while fallen < kills:
        if not house.trainings or house.rows(OPEN)[0][0] == 0:
            await house.ask(steps, seed)
        process = house.start()
        told.lives += 1
        await _moment(house, process, rng, aimed[fallen // 2 % len(aimed)] if fallen % 2 else "")
        process.kill()
        process.join()
        if process.exitcode == 0:
            continue  # it was all done before
        if process.exitcode > 0:
            raise RuntimeError(f"a life ended by itself with status {process.exitcode}")
        told.fell.update(house.phases.now() or {"between"})
        fallen += 1
    status = await asyncio.to_thread(house.live)
    if status != 0:
        raise RuntimeError(f"the last life ended with status {status}")
    for _ in range(min(house.trainings, len(METHODS))):
        await whole.ask(steps, seed)
    await asyncio.to_thread(whole.live)
    told.trainings, told.seconds = house.trainings, time.monotonic() - began
    told.states = Counter(dict(house.rows("SELECT state, count(*) FROM jobs GROUP BY state")))
    posts = Wall(house.folder / WALL).posts()
    told.answers = Counter(post.job for post in posts if post.mention)
    told.twice = [key for key, times in Counter(post.key for post in posts).items() if times > 1]
    for number in range(house.trainings):
        same = whole.model(number % len(METHODS))
        if house.model(number) != same or not all(same):
            told.different.append(f"nut-{number}")
    return told


async def _moment(house: House, process: Any, rng: random.Random, phase: str) -> None:
    """Wait for the moment to kill: inside `phase`, or after a few steps, and then a moment."""
    deadline, steps = time.monotonic() + PATIENCE, rng.randint(1, 8)
    while not (phase in house.phases.now() if phase else house.steps.count(STEPS) >= steps):
        if process.exitcode is not None or time.monotonic() > deadline:
            return
        await asyncio.sleep(0.004)
    await asyncio.sleep(rng.uniform(0.0, 0.03))
