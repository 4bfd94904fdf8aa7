"""Two real lanes on one CPU: each keeps its own model warm, and helps where the other has too much to do."""

from __future__ import annotations

import asyncio
from contextlib import aclosing
from pathlib import Path

import pytest
import training_world as world

from engines.devices import Device, probe
from engines.diffusion.engine import Diffusion
from engines.engine import Work
from engines.events import Failed, Finished, Started
from engines.models.loading import reader
from engines.models.memory import Models
from engines.request import Request
from engines.requests import Inpaint, Txt2Img
from engines.serving.lane import Pace
from engines.serving.placing import COLD
from engines.serving.pool import Pool

pytestmark = pytest.mark.timeout(120)


def test_lanes_of_one_cpu_share_its_cores_and_memory() -> None:
    (whole,) = probe(("cpu",))
    lanes = probe(("cpu:0", "cpu:1"))
    assert [lane.name for lane in lanes] == ["cpu:0", "cpu:1"]
    assert all(lane.kind == "cpu" and lane.memory == whole.memory // 2 for lane in lanes)
    assert all(lane.threads == max(1, whole.threads // 2) for lane in lanes)


async def test_each_lane_keeps_its_model_and_helps_the_other(tmp_path: Path) -> None:
    folder = world.bases(tmp_path / "models")
    photo = world.photo(tmp_path / "photo.png", 1, True)
    files = {"photo": photo, "mask": photo.with_suffix(".mask.png")}
    shared: dict[str, Models] = {}

    def painter(device: Device) -> Diffusion:
        shared[device.name] = Models(reader(folder, device.name, "float32"), device=device.name)
        return Diffusion(shared[device.name])

    pool = Pool(
        {Txt2Img: painter, Inpaint: painter}, probe(("cpu:0", "cpu:1"), threads=1),
        pace=Pace(preview_every=0), models=shared.get,
    )  # fmt: skip
    await pool.start()
    numbers = iter(range(1, 1000))

    async def ask(request: Request) -> str:
        """The device that did it."""
        work = Work(next(numbers), "kim", request, tmp_path, files)
        device = ""
        async with aclosing(pool.run(work)) as events:
            async for event in events:
                assert not isinstance(event, Failed), event
                device = event.device if isinstance(event, Started) else device
        assert isinstance(event, Finished)
        return device

    painted = Txt2Img(prompt="a", model=world.PICTURES, steps=2, width=32, height=32)
    mended = Inpaint(prompt="a", model=world.INPAINT, steps=2, image="photo", mask="mask")
    homes = [await ask(painted), await ask(mended)]
    assert sorted(homes) == ["cpu:0", "cpu:1"], "the second model goes to the lane that has none"
    for _ in range(2):
        assert [await ask(painted), await ask(mended)] == homes
    assert {name: [m.name for m in models.resident()] for name, models in shared.items()} == {
        homes[0]: [world.PICTURES], homes[1]: [world.INPAINT],
    }  # fmt: skip
    long = Txt2Img(prompt="a", model=world.PICTURES, steps=150, count=16, guidance=1.0, width=32, height=32)
    assert long.cost > COLD
    busy = asyncio.create_task(ask(long))
    await asyncio.sleep(0)
    assert await ask(painted) == homes[1], "loading is quicker than waiting"
    assert await busy == homes[0]
    await pool.stop(10)
