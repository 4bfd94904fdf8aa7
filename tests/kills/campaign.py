"""Many lives of one studio: people ask, the process is killed at random moments, and the books are read at the end."""

from __future__ import annotations

import asyncio
import json
import os
import random
import re
import signal
import sqlite3
import sys
import time
from collections import Counter
from contextlib import closing, suppress
from dataclasses import dataclass, field
from pathlib import Path

from kills.phases import PHASES, Phases
from loopback.discord import Discord

JOB = re.compile(r"#(\d+)\b")
OVER = re.compile(r"#\d+ (done in|txt2img failed|txt2img · cancelled)")


@dataclass
class Report:
    """What the books say."""

    kills: int = 0
    fell: Counter[str] = field(default_factory=Counter)  # phase → kills that fell into it
    asked: int = 0
    accepted: int = 0  # promises that someone was told of
    lost: list[int] = field(default_factory=list)
    twice: list[int] = field(default_factory=list)
    mentioned_twice: list[int] = field(default_factory=list)
    unfinished: int = 0
    seconds: float = 0.0
    exit_status: int | None = None
    exit_seconds: float = 0.0

    def __str__(self) -> str:
        fell = " ".join(f"{phase}:{self.fell[phase]}" for phase in (*PHASES, "idle"))
        return (
            f"{self.kills} kills ({fell}) in {self.seconds:.0f} s; {self.asked} asked, {self.accepted} accepted, "
            f"{len(self.lost)} lost, {len(self.twice)} twice, {len(self.mentioned_twice)} mentioned twice"
        )


class Studio:
    """The process, life after life."""

    def __init__(self, folder: Path, discord: Discord, broken: str = "") -> None:
        self._life = {
            "folder": str(folder), "phases": str(folder / "phases"), "discord_api": discord.api,
            "discord_gateway": discord.gateway, "broken": broken,
        }  # fmt: skip
        self.phases = Phases(folder / "phases")
        self.pid = 0

    async def __aenter__(self) -> Studio:
        program = Path(__file__).with_name("process.py")
        self._process = await asyncio.create_subprocess_exec(
            sys.executable,
            "-W",
            "ignore",
            str(program),
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
        )
        return self

    async def __aexit__(self, *_: object) -> None:
        if self.pid:
            await self.end(signal.SIGKILL)
        assert self._process.stdin is not None
        self._process.stdin.close()
        await self._process.wait()
        self.phases.close()

    async def start(self) -> None:
        assert self._process.stdin is not None
        self._process.stdin.write((json.dumps(self._life) + "\n").encode())
        self.pid = int(await self._told("started"))

    async def end(self, how: signal.Signals) -> int:
        """Its exit status."""
        pid, self.pid = self.pid, 0
        with suppress(ProcessLookupError):  # ended by itself: its status tells
            os.kill(pid, how)
        return int(await self._told("ended"))

    async def _told(self, what: str) -> str:
        assert self._process.stdout is not None
        word, value = (await self._process.stdout.readline()).decode().split()
        assert word == what
        return value


async def campaign(folder: Path, discord: Discord, *, kills: int, seed: int, broken: str = "") -> Report:
    """Kill `kills` times while people ask, then let it finish in peace and stop it politely."""
    rng, report, began = random.Random(seed), Report(), time.monotonic()
    async with Studio(folder, discord, broken) as studio:
        asking = asyncio.create_task(_people(discord, rng, report))
        for n in range(kills):
            await studio.start()
            await _moment(studio, discord, rng, PHASES[n // 2 % len(PHASES)] if n % 2 else "")
            fell = studio.phases.now() or {"idle"}
            if (status := await studio.end(signal.SIGKILL)) != -signal.SIGKILL:
                raise RuntimeError(f"the studio ended by itself with status {status}: see {folder}/log")
            report.kills += 1
            report.fell.update(fell)
        asking.cancel()
        await studio.start()
        report.unfinished = await _settled(folder / "data" / "studio.db", 40.0)
        stopped = time.monotonic()
        report.exit_status = await studio.end(signal.SIGTERM)
        report.exit_seconds = time.monotonic() - stopped
    _read_books(discord, report)
    report.seconds = time.monotonic() - began
    return report


async def _moment(studio: Studio, discord: Discord, rng: random.Random, phase: str) -> None:
    """Wait for the moment to kill: some time after the start, or when it is inside `phase`."""
    deadline = time.monotonic() + 4.0
    if not phase:
        await asyncio.sleep(rng.expovariate(1 / 0.8))
        return
    await asyncio.sleep(rng.uniform(0.0, 0.6))
    while phase not in studio.phases.now() and time.monotonic() < deadline:
        await asyncio.sleep(0.001)
    await asyncio.sleep(rng.uniform(0.0, 0.01))


async def _people(discord: Discord, rng: random.Random, report: Report) -> None:
    """Five people ask, now and then."""
    while True:
        await asyncio.sleep(rng.uniform(0.02, 0.2))
        options = {"prompt": f"nut {report.asked}", "steps": rng.randint(1, 8), "seed": rng.randint(0, 99)}
        if await discord.command("txt2img", options, user=rng.randint(1, 5)):
            report.asked += 1


async def _settled(database: Path, seconds: float) -> int:
    """Wait until nothing is left to do or to say; how much is left after `seconds`."""
    query = (
        "SELECT (SELECT count(*) FROM jobs WHERE state IN ('queued', 'running'))"
        " + (SELECT count(*) FROM deliveries WHERE state IN ('pending', 'sending'))"
    )

    def left() -> int:
        with closing(sqlite3.connect(f"file:{database}?mode=ro", uri=True, timeout=10.0)) as db:
            return int(db.execute(query).fetchone()[0])

    deadline = time.monotonic() + seconds
    while (count := await asyncio.to_thread(left)) and time.monotonic() < deadline:
        await asyncio.sleep(0.3)
    return count


def _read_books(discord: Discord, report: Report) -> None:
    promised = [
        int(m[1])
        for asked in discord.asked.values()
        if (m := JOB.search(asked.answer)) and "txt2img" in asked.answer
    ]
    said: dict[int, list[bool]] = {}  # job → for each of its messages, whether it is the answer
    notified: Counter[int] = Counter()
    for message in discord.messages.values():
        if match := JOB.search(message.text):
            job = int(match[1])
            notified[job] += len(message.notified)
            if not message.deleted:
                said.setdefault(job, []).append(bool(OVER.search(message.text)))
    report.accepted = len(promised)
    report.lost = [job for job in sorted(set(promised)) if True not in said.get(job, [])]
    report.lost += [job for job, times in Counter(promised).items() if times > 1]  # two people, one job
    report.twice = [job for job, answers in said.items() if len(answers) > 1]
    report.mentioned_twice = [job for job, times in notified.items() if times > 1]
