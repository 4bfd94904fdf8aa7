"""What every pool must do, wherever its devices are. Subclass `PoolConformance` and say how to open one.

class TestLocalPool(PoolConformance):
    def pool(self, **toy): return toy_pool(**toy)

What the engines did is read from their journal: they may be in another process.
"""

from __future__ import annotations

import asyncio
import json
from collections import Counter
from collections.abc import AsyncIterator, Callable
from contextlib import aclosing, asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from toy_engine import Count

from engines.engine import Work
from engines.events import Event, Failed, Finished, Progress, Started
from engines.serving.serves import Serves


def ends(events: list[Event]) -> list[Event]:
    return [event for event in events if isinstance(event, Finished | Failed)]


async def all_of(pool: Serves, work: Work) -> list[Event]:
    async with aclosing(pool.run(work)) as events:
        return [event async for event in events]


async def until(true: Callable[[], Any], seconds: float = 60.0) -> None:
    async with asyncio.timeout(seconds):
        while not true():  # noqa: ASYNC110
            await asyncio.sleep(0.005)


class House:
    """A journal, and works that are asked for."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.journal = folder / "journal"
        self.journal.touch()
        self._number = 0

    def ask(self, person: str = "kim", **request: Any) -> Work:
        self._number += 1
        folder = self.folder / str(self._number)
        folder.mkdir()
        return Work(self._number, person, Count(**request), folder)

    def told(self, what: str, number: int) -> list[dict[str, Any]]:
        """What the engines did with a work, so far."""
        lines = [json.loads(line) for line in self.journal.read_text().splitlines()]
        return [
            line for line in lines if line["what"] == what and number in (line["of"], *_listed(line["of"]))
        ]


def _listed(of: Any) -> list[int]:
    return of if isinstance(of, list) else []


class PoolConformance:
    """The suite."""

    def pool(self, **toy: Any) -> Serves:
        """A pool of toys with such options, not started yet."""
        raise NotImplementedError

    @pytest.fixture
    def house(self, tmp_path: Path) -> House:
        return House(tmp_path)

    @asynccontextmanager
    async def opened(self, house: House, **toy: Any) -> AsyncIterator[Serves]:
        pool = self.pool(journal=house.journal, **toy)
        await pool.start()
        try:
            yield pool
        finally:
            await pool.stop(5)

    async def test_a_run_starts_goes_on_and_ends_with_its_files(self, house: House) -> None:
        work = house.ask(steps=8)
        async with self.opened(house, slow=0.02) as pool:
            events = await all_of(pool, work)
            assert isinstance(events[0], Started)
            assert events[0].device in pool.alive()
        moved = [event for event in events if isinstance(event, Progress)]
        assert [event.step for event in moved] == sorted(event.step for event in moved)
        assert {event.total for event in moved} == {8}
        assert any(event.preview for event in moved)
        assert any(event.note and event.note.ko.startswith("합") for event in moved)
        end = events[-1]
        assert isinstance(end, Finished)
        assert len(ends(events)) == 1
        assert end.seconds >= 0.15
        assert [path.name for path in work.folder.iterdir()] == ["sum.txt"]
        assert end.artifacts[0].path == work.folder / "sum.txt"
        assert end.artifacts[0].path.read_text()

    async def test_each_of_many_ends_once_with_its_own_result(self, house: House) -> None:
        works = [house.ask(f"p{n % 3}", seed=n % 2, steps=3 + n % 4) for n in range(12)]
        async with self.opened(house) as pool:
            results = await asyncio.gather(*(all_of(pool, work) for work in works))
            assert pool.running() == []
            assert pool.room() == pool.width
        assert [len(ends(events)) for events in results] == [1] * 12
        sums: dict[tuple[int, int], set[str]] = {}
        for work, events in zip(works, results, strict=True):
            end, request = events[-1], work.request
            assert isinstance(end, Finished)
            assert isinstance(request, Count)
            key = (request.seed, request.steps)
            sums.setdefault(key, set()).add(end.artifacts[0].path.read_text())
        assert {len(different) for different in sums.values()} == {1}
        assert len({*map(min, sums.values())}) == len(sums)

    async def test_a_bad_request_fails_alone(self, house: House) -> None:
        works = [
            house.ask("kim", steps=6),
            house.ask("lee", steps=6, bad_at=3),
            house.ask("park", steps=6, memory_at=2),
            house.ask("choi", refuse=True),
        ]
        async with self.opened(house) as pool:
            good, *bad = await asyncio.gather(*(all_of(pool, work) for work in works))
        assert isinstance(good[-1], Finished)
        failed = [event for events in bad for event in ends(events)]
        assert [event.code for event in failed if isinstance(event, Failed)] == ["error", "memory", "input"]
        error, _, refused = failed
        assert isinstance(error, Failed)
        assert "bad step" in error.trace
        assert "bad step" not in error.reason.en + error.reason.ko
        assert isinstance(refused, Failed)
        assert (refused.reason.en, refused.reason.ko) == ("not this one", "이것은 안 됩니다")

    @pytest.mark.parametrize("how", ["close", "cancel"])
    async def test_closing_cancels_within_two_ticks_and_gives_everything_back(
        self, house: House, how: str
    ) -> None:
        work, other = house.ask("kim", steps=10_000), house.ask("lee", steps=7)

        async def read() -> None:
            async with aclosing(pool.run(work)) as events:
                async for event in events:
                    if isinstance(event, Progress) and event.step >= 3:
                        reached.set()
                        if how == "close":
                            return

        async with self.opened(house, slow=0.2) as pool:
            others = asyncio.create_task(all_of(pool, other))
            reached = asyncio.Event()
            reading = asyncio.create_task(read())
            await reached.wait()
            before = len(house.told("advance", work.id))
            if how == "cancel":
                reading.cancel()
            await asyncio.gather(reading, return_exceptions=True)
            assert len(house.told("advance", work.id)) <= before + 2
            (suspended,) = house.told("suspend", work.id)
            assert suspended["cancelled"], "closing waits until the run is off the device"
            assert work.id not in {held.job for held in pool.running()}
            assert isinstance((await others)[-1], Finished)
        assert house.told("finish", work.id) == []

    async def test_a_work_that_is_held_keeps_what_it_has(self, house: House) -> None:
        work = house.ask(steps=10_000)
        async with self.opened(house, slow=0.02) as pool, aclosing(pool.run(work)) as events:
            async for event in events:
                if isinstance(event, Progress) and event.step >= 2:
                    pool.hold(work.id)
                    break
            await events.aclose()
            (suspended,) = house.told("suspend", work.id)
            assert not suspended["cancelled"]

    async def test_a_slow_reader_costs_the_device_nothing(self, house: House) -> None:
        work, seen = house.ask(steps=300), []
        async with self.opened(house) as pool, aclosing(pool.run(work)) as events:
            async for event in events:
                seen.append(event)
                if len(seen) == 2:
                    await until(lambda: house.told("finish", work.id))  # while nobody reads
                    await asyncio.sleep(0.2)
        assert len(seen) < 15, "what was not read is overtaken"
        assert isinstance(seen[-1], Finished)
        assert len(ends(seen)) == 1

    async def test_stopping_suspends_what_is_in_flight_and_tells_it_apart_from_failing(
        self, house: House
    ) -> None:
        works = [house.ask(steps=10**6) for _ in range(3)]
        pool = self.pool(journal=house.journal, slow=0.01)
        await pool.start()
        reading = [asyncio.create_task(all_of(pool, work)) for work in works]
        await until(lambda: all(house.told("advance", work.id) for work in works))
        await pool.stop(5)
        for work, events in zip(works, await asyncio.gather(*reading), strict=True):
            (end,) = ends(events)
            assert isinstance(end, Failed)
            assert end.code == "stopped"
            (suspended,) = house.told("suspend", work.id)
            assert not suspended["cancelled"]
        assert pool.room() == 0
        assert not any(pool.alive().values())
        (end,) = ends(await all_of(pool, house.ask()))
        assert isinstance(end, Failed)
        assert end.code == "stopped", "nothing hangs on a stopped pool"

    async def test_who_looks_sees_what_runs_where(self, house: House) -> None:
        work = house.ask("lee", steps=1000)
        async with self.opened(house, slow=0.02) as pool:
            reading = asyncio.create_task(all_of(pool, work))
            await until(lambda: any(held.step for held in pool.running()))
            (held,) = pool.running()
            assert (held.job, held.person, held.command, held.stage) == (work.id, "lee", "count", "running")
            assert held.total == 1000
            assert all(pool.alive().values())
            assert pool.room() == pool.width - 1
            states = pool.status()
            assert [state.name for state in states] == list(pool.alive())
            assert Counter(state.alive for state in states) == {True: len(states)}
            assert [one.job for state in states for one in state.works] == [work.id]
            assert held.device in [state.name for state in states if state.works]
            reading.cancel()
            await asyncio.gather(reading, return_exceptions=True)
            assert pool.running() == []
