"""Several devices: none stands idle while works wait that the other has no seat for."""

from __future__ import annotations

import asyncio
from collections import Counter
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pool_conformance import all_of
from toy_engine import Count, Toy

from engines.devices import Device
from engines.engine import Work
from engines.events import Finished, Started
from engines.requests import Txt2Img
from engines.serving.placing import Placing
from engines.serving.pool import Pool

pytestmark = pytest.mark.timeout(60)


async def test_a_queue_of_short_works_of_one_model_is_shared_by_two_devices(tmp_path: Path) -> None:
    """All that fit on the device that has the model are worth less than a load; what waits beyond them is not."""
    pool = Pool({Count: lambda device: Toy(slow=0.01)}, [Device("cpu:0"), Device("cpu:1")], slots=4)
    await pool.start()
    queue = list(range(40))
    on: Counter[str] = Counter()

    async def one(number: int) -> None:
        (folder := tmp_path / str(number)).mkdir()
        work = Work(number, f"p{number}", Count(steps=2), folder)
        events = await all_of(pool, work)
        on.update(event.device for event in events if isinstance(event, Started))
        assert isinstance(events[-1], Finished)

    async with asyncio.TaskGroup() as tasks:
        while queue:
            for _ in range(pool.room()):
                if queue:
                    tasks.create_task(one(queue.pop()))
            await asyncio.sleep(0.002)
    await pool.stop(5)
    assert sum(on.values()) == 40
    assert min(on["cpu:0"], on["cpu:1"]) >= 12, on


@given(
    st.lists(st.tuples(st.floats(0, 10_000), st.integers(0, 9)), min_size=1, max_size=5),
    st.integers(1, 4),
)
def test_a_full_device_gets_nothing_while_another_has_a_seat(
    devices: list[tuple[float, int]], seats: int
) -> None:
    loads = {f"cuda:{i}": load for i, (load, _) in enumerate(devices)}
    held = {f"cuda:{i}": count for i, (_, count) in enumerate(devices)}
    placing = Placing()
    for _ in range(3):
        name = placing.choose(Txt2Img(prompt="x"), loads, held=held, seats=seats)
        assert held[name] < seats or min(held.values()) >= seats
