"""Lives that are killed inside a job of many pictures: which parts were finished, and whether any was begun again."""

from __future__ import annotations

import asyncio
import random
import signal
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from kills.campaign import Program, Report, Studio
from kills.town import Town

from bot.many.part_files import NOTE

OPEN = "SELECT id FROM jobs WHERE state IN ('queued', 'running')"


@dataclass
class Batches:
    whole: Report
    again: list[str] = field(default_factory=list)  # parts that were finished at a kill, and begun after it
    halfway: int = 0  # kills at which some parts of a job were finished, and not all
    pictures: list[int] = field(default_factory=list)  # results of each job

    def __str__(self) -> str:
        done = f"{self.halfway} kills halfway, {len(self.again)} parts done again, results {self.pictures}"
        return f"{self.whole}; {done}"


@dataclass
class _Books:
    """What lies on disk, read from outside between two lives."""

    folder: Path
    photos: int

    def begun(self) -> list[str]:
        """Parts in the order in which the engine began them."""
        ledger = self.folder / "ledger"
        return ledger.read_text().splitlines() if ledger.exists() else []

    def kept(self) -> set[str]:
        """Parts whose end is written down; only those of jobs that are not over."""
        return {str(note.parent) for note in self._parts(NOTE)}

    def halfway(self) -> bool:
        kept = len(self.kept())
        return kept > 0 and any(0 < n < self.photos for n in self._counts())

    def _counts(self) -> Iterator[int]:
        for parts in (self.folder / "data" / "work").glob("*/parts"):
            yield len(list(parts.glob(f"*/{NOTE}")))

    def _parts(self, name: str) -> Iterator[Path]:
        return (self.folder / "data" / "work").glob(f"*/parts/*/{name}")


async def batches(
    program: Program, folder: Path, town: Town, *, photos: int, kills: int, seed: int, broken: str = ""
) -> Batches:
    """Kill `kills` times while an archive of `photos` is worked on; a new one is sent when the last is answered.

    Then it finishes in peace.
    """
    rng, books, since = random.Random(seed), _Books(folder, photos), time.monotonic()
    told = Batches(Report(town.verdict()))
    finished: list[tuple[set[str], int]] = []  # at each kill: parts kept, and how many had been begun
    async with Studio(program, folder, town, broken) as studio:
        for _ in range(kills):
            await studio.start()
            await asyncio.wait_for(town.discord.connected.wait(), 30)
            await _at_work(studio, town, photos, rng)
            await _part_more(books, rng)
            told.whole.fell.update(studio.phases.now() or {"idle"})
            await studio.end(signal.SIGKILL)
            finished.append((books.kept(), len(books.begun())))
            told.halfway += books.halfway()
        await studio.start()
        told.whole.unfinished = await studio.settled(60.0)
        told.whole.exit_status = await studio.end(signal.SIGTERM)
        told.whole.states = dict(studio.ask("SELECT state, count(*) FROM jobs GROUP BY state"))
        told.pictures = [n for (n,) in studio.ask("SELECT count(*) FROM results GROUP BY job")]
    begun = books.begun()
    told.again = sorted({part for kept, at in finished for part in kept.intersection(begun[at:])})
    town.write(folder / "books.json")
    told.whole.verdict, told.whole.kills, told.whole.asked = town.verdict(), kills, town.asked
    told.whole.seconds = time.monotonic() - since
    return told


async def _at_work(studio: Studio, town: Town, photos: int, rng: random.Random) -> None:
    """There is a job on disk, sent now where there is none left; and again where it was not heard, as one would:
    right after a kill Discord still holds the dead connection."""
    async with asyncio.timeout(60):
        while not await _open(studio, 0.0):
            town.asked += await town.send_zip(photos, steps=rng.randint(4, 8))
            if await _open(studio, 5.0):
                return


async def _open(studio: Studio, seconds: float) -> bool:
    """Whether a job is open on its disk within `seconds`."""
    deadline = time.monotonic() + seconds
    while not await asyncio.to_thread(studio.ask, OPEN):
        if time.monotonic() >= deadline:
            return False
        await asyncio.sleep(0.02)
    return True


async def _part_more(books: _Books, rng: random.Random) -> None:
    """Until one to four more parts are finished, or the job is over; and then a moment."""
    before, more = len(books.kept()), rng.randint(1, 4)
    for _ in range(3000):
        now = len(books.kept())
        if now >= before + more or now < before:
            break
        await asyncio.sleep(0.01)
    await asyncio.sleep(rng.uniform(0.0, 0.03))
