"""What is done for a work before its lane takes it: cold models are read beside, and hold nobody up."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from dispatcher_world import until
from toy_engine import Count, Toy

from engines.devices import Device
from engines.engine import Work
from engines.events import Failed, Finished
from engines.serving.ahead import READERS, read_ahead
from engines.serving.pool import Pool


class Shelf(Toy):
    """Its models are named by a work's group; all but `warm` are read until told that they may be there."""

    def __init__(self, *, broken: str = "") -> None:
        super().__init__()
        self.broken = broken
        self.may = threading.Event()
        self.reading: list[int] = []  # works whose models were begun to be read

    def prepare(self, work: Work) -> None:
        pass

    def ready(self, work: Work) -> bool:
        assert isinstance(work.request, Count)
        return work.request.group == "warm"

    def prefetch(self, work: Work, wanted: Callable[[], bool]) -> None:
        self.reading.append(work.id)
        if self.broken:
            raise MemoryError if self.broken == "memory" else ValueError(self.broken)
        assert self.may.wait(10)


@asynccontextmanager
async def opened(shelf: Shelf) -> AsyncIterator[Pool]:
    pool = Pool({Count: lambda d: shelf}, [Device("cpu")])
    await pool.start()
    try:
        yield pool
    finally:
        shelf.may.set()
        await pool.stop(5)


async def end_of(pool: Pool, folder: Path, number: int, model: str) -> Finished | Failed:
    async for event in pool.run(Work(number, f"p{number}", Count(steps=2, group=model), folder)):
        if isinstance(event, Finished | Failed):
            return event
    raise AssertionError("no end")


async def test_cold_models_hold_nobody_up_whose_model_is_warm(tmp_path: Path) -> None:
    shelf = Shelf()
    async with opened(shelf) as pool:
        cold = [asyncio.create_task(end_of(pool, tmp_path, n, f"cold{n}")) for n in range(6)]
        await until(lambda: len(shelf.reading) == READERS)
        async with asyncio.timeout(5):
            assert isinstance(await end_of(pool, tmp_path, 9, "warm"), Finished)
        assert len(shelf.reading) == READERS, "and no more of them are read at once"
        shelf.may.set()
        assert all(isinstance(end, Finished) for end in await asyncio.gather(*cold))
    assert shelf.reading == list(range(6)), "each once, in the order they came"


async def test_what_is_cancelled_before_it_is_read_is_not_read(tmp_path: Path) -> None:
    shelf = Shelf()
    async with opened(shelf) as pool:
        cold = [asyncio.create_task(end_of(pool, tmp_path, n, f"cold{n}")) for n in range(READERS + 1)]
        await until(lambda: len(shelf.reading) == READERS)
        cold[-1].cancel()
        await asyncio.gather(cold[-1], return_exceptions=True)
        shelf.may.set()
        await asyncio.gather(*cold[:-1])
        assert isinstance(await end_of(pool, tmp_path, 9, "later"), Finished)
    assert shelf.reading == [*range(READERS), 9]


async def test_a_model_that_cannot_be_read_fails_its_work_alone(tmp_path: Path) -> None:
    async with opened(Shelf(broken="damaged")) as pool:
        end = await end_of(pool, tmp_path, 1, "cold")
        assert isinstance(end, Failed)
        assert "damaged" in end.trace
        assert isinstance(await end_of(pool, tmp_path, 2, "warm"), Finished)


async def test_no_memory_to_read_ahead_is_no_ones_failure(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    async with opened(Shelf(broken="memory")) as pool:
        assert isinstance(await end_of(pool, tmp_path, 7, "cold"), Finished)
    assert "job 7" in caplog.text


def test_other_errors_are_told() -> None:
    with pytest.raises(ValueError, match="odd"):
        read_ahead(Shelf(broken="odd"), Work(7, "anna", Count(), Path()), lambda: True)
