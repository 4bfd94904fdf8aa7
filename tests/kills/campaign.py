"""Many lives of one studio: people ask, the process is killed at random moments, and the books are read at the end."""

from __future__ import annotations

import asyncio
import json
import os
import random
import signal
import sqlite3
import subprocess
import sys
import time
from collections import Counter
from contextlib import closing, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from kills.phases import PHASES, Phases
from kills.town import Town, Verdict


@dataclass
class Report:
    verdict: Verdict
    asked: int = 0
    kills: int = 0
    fell: Counter[str] = field(default_factory=Counter)  # phase → kills that fell into it
    unfinished: int = 0  # jobs and deliveries left open at the end
    states: dict[str, int] = field(default_factory=dict)  # of all jobs on disk
    seconds: float = 0.0
    exit_status: int | None = None
    exit_seconds: float = 0.0

    def __str__(self) -> str:
        fell = " ".join(f"{phase} {self.fell[phase]}" for phase in (*PHASES, "idle"))
        v = self.verdict
        return (
            f"{self.kills} kills ({fell}) in {self.seconds:.0f} s; {self.asked} asked, {len(v.promised)} promised, "
            f"{sum(self.states.values())} on disk, {len(v.answered)} answered, {len(v.lost)} lost, {len(v.twice)} twice, "
            f"{len(v.mentioned_twice)} mentioned twice"
        )


class Program:
    """`process.py`, imported once: from it every life is forked. `with Program() as program`."""

    def __enter__(self) -> Program:
        path = Path(__file__).with_name("process.py")
        self._process = subprocess.Popen(
            [sys.executable, "-W", "ignore", str(path)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        return self

    def __exit__(self, *_: object) -> None:
        self._process.communicate()

    def start(self, life: dict[str, str]) -> int:
        """Begin a life; its process id."""
        assert self._process.stdin is not None
        self._process.stdin.write(json.dumps(life) + "\n")
        self._process.stdin.flush()
        return self.told("started")

    def told(self, what: str) -> int:
        assert self._process.stdout is not None
        word, value = self._process.stdout.readline().split()
        assert word == what
        return int(value)


class Studio:
    """One data folder, life after life."""

    def __init__(self, program: Program, folder: Path, town: Town, broken: str = "") -> None:
        self._life = {
            "folder": str(folder), "phases": str(folder / "phases"), "broken": broken, **town.addresses,
        }  # fmt: skip
        self._program = program
        self.phases = Phases(folder / "phases")
        self.database = folder / "data" / "studio.db"
        self.pid = 0

    async def __aenter__(self) -> Studio:
        return self

    async def __aexit__(self, *_: object) -> None:
        if self.pid:
            await self.end(signal.SIGKILL)
        self.phases.close()

    async def start(self) -> None:
        self.pid = await asyncio.to_thread(self._program.start, self._life)

    async def end(self, how: signal.Signals) -> int:
        """Its exit status."""
        pid, self.pid = self.pid, 0
        with suppress(ProcessLookupError):  # ended by itself: its status tells
            os.kill(pid, how)
        return await asyncio.to_thread(self._program.told, "ended")

    async def until(self, phase: str, seconds: float = 4.0) -> bool:
        """Wait until it is inside `phase`; False when it was not within `seconds`."""
        deadline = time.monotonic() + seconds
        while phase not in self.phases.now():
            if time.monotonic() > deadline:
                return False
            await asyncio.sleep(0.001)
        return True

    def ask(self, query: str) -> list[tuple[Any, ...]]:
        """Look into its database, from outside."""
        with closing(sqlite3.connect(f"file:{self.database}?mode=ro", uri=True, timeout=10.0)) as db:
            return db.execute(query).fetchall()

    async def settled(self, seconds: float) -> int:
        """Wait until nothing is left to do or to say; how much is left after `seconds`."""
        open_still = (
            "SELECT (SELECT count(*) FROM jobs WHERE state IN ('queued', 'running'))"
            " + (SELECT count(*) FROM deliveries WHERE state IN ('pending', 'sending'))"
        )
        deadline = time.monotonic() + seconds
        while True:
            await asyncio.sleep(0.3)
            ((count,),) = await asyncio.to_thread(self.ask, open_still)
            if count == 0 or time.monotonic() > deadline:
                return int(count)


async def campaign(
    program: Program,
    folder: Path,
    town: Town,
    *,
    kills: int,
    seed: int,
    broken: str = "",
    patience: float = 60.0,
) -> Report:
    """Kill `kills` times while people ask, then let it finish in peace and stop it politely.

    `patience`: seconds that the last life has for all that is left.
    """
    rng, began = random.Random(seed), time.monotonic()
    async with Studio(program, folder, town, broken) as studio:
        fell = await _lives(studio, town, rng, kills)
        await studio.start()
        unfinished = await studio.settled(patience)
        stopped = time.monotonic()
        status = await studio.end(signal.SIGTERM)
        exit_seconds = time.monotonic() - stopped
        states = dict(studio.ask("SELECT state, count(*) FROM jobs GROUP BY state"))
    town.write(folder / "books.json")
    took = time.monotonic() - began
    return Report(town.verdict(), town.asked, kills, fell, unfinished, states, took, status, exit_seconds)


async def _lives(studio: Studio, town: Town, rng: random.Random, kills: int) -> Counter[str]:
    """Start and kill; every second time inside a phase, in turn. How many kills fell into each phase."""
    fell: Counter[str] = Counter()
    asking = asyncio.create_task(town.live(rng))
    try:
        for n in range(kills):
            await studio.start()
            await _moment(studio, rng, PHASES[n // 2 % len(PHASES)] if n % 2 else "")
            fell.update(studio.phases.now() or {"idle"})
            status = await studio.end(signal.SIGKILL)
            if status != -signal.SIGKILL:
                raise RuntimeError(f"the studio ended by itself with status {status}: see its log")
    finally:
        asking.cancel()
    return fell


async def _moment(studio: Studio, rng: random.Random, phase: str) -> None:
    """Wait for the moment to kill: some time after the start, or when it is inside `phase`."""
    if not phase:
        await asyncio.sleep(rng.expovariate(1 / 0.8))
        return
    await asyncio.sleep(rng.uniform(0.0, 0.6))
    await studio.until(phase)
    await asyncio.sleep(rng.uniform(0.0, 0.01))
