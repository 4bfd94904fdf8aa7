"""A cluster of several machines (Ray's own way of having them on one), joined by its address; one of them is lost."""

from __future__ import annotations

import asyncio
import os
import sys
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from pool_conformance import House, all_of, ends, until
from toy_engine import toy_pool

from engines.events import Finished
from engines.serving import ray_cluster

if ray_cluster.installed() is None:
    pytest.skip("Ray is not installed", allow_module_level=True)

ray_cluster.prepare(ray_cluster.Cluster())

import ray  # noqa: E402
from ray.cluster_utils import Cluster  # noqa: E402

from engines.serving.ray_pool import RayPool  # noqa: E402

pytestmark = [pytest.mark.slow, pytest.mark.timeout(300)]


@pytest.fixture
def machines() -> Iterator[Any]:
    """The bot's own without a seat for actors, and two with one each."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PYTHONPATH", os.pathsep.join([str(Path(__file__).parent), *sys.path]))
        patch.delenv(
            ray_cluster.NICENESS, raising=False
        )  # whoever started these machines knows nothing of it
        cluster = Cluster(
            initialize_head=True,
            head_node_args={"num_cpus": 0, "include_dashboard": False, "object_store_memory": 100 * 2**20},
        )
        yield cluster
        ray.shutdown()
        cluster.shutdown()


def add(machines: Any) -> Any:
    return machines.add_node(num_cpus=1, object_store_memory=100 * 2**20)


async def test_what_a_lost_machine_was_doing_is_done_on_another_one(machines: Any, tmp_path: Path) -> None:
    house = House(tmp_path)
    nodes = [add(machines), add(machines)]
    wanted = ray_cluster.Cluster(machines.address, actors=2, gpus=False)
    pool = RayPool(partial(toy_pool, journal=house.journal, slow=0.05), wanted)
    await pool.start()
    await until(lambda: [post.state for post in pool._posts] == ["up", "up"], 60)
    processes = [post.report.process for post in pool._posts if post.report]
    assert [os.getpriority(os.PRIO_PROCESS, process) for process in processes] == [os.nice(0)] * 2
    works = [house.ask(f"p{n}", seed=1, steps=70, rows=8) for n in range(4)]
    reading = [asyncio.create_task(all_of(pool, work)) for work in works]
    await until(lambda: len([held for held in pool.running() if held.step > 3]) == 4)
    assert len({held.device for held in pool.running()}) == 2
    await asyncio.to_thread(machines.remove_node, nodes[1], allow_graceful=False)
    results = await asyncio.gather(*reading)
    told = [end for events in results for end in ends(events)]
    assert len(told) == 4
    sums = {end.artifacts[0].path.read_text() for end in told if isinstance(end, Finished)}
    assert len(sums) == 1
    assert sum(len(house.told("begin", work.id)) for work in works) == 6, "two of them twice"
    assert sorted(pool.alive().values()) == [False, True]
    add(machines)  # on this thread: it takes signals
    await until(lambda: all(pool.alive().values()), 60)
    assert pool.room() == pool.width
    await pool.stop(5)
