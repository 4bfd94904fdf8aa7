"""/gpu: what the devices do and hold, told without waiting for them, and nobody's prompt."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from contextlib import aclosing
from pathlib import Path
from typing import Any

import pytest
from desk_world import KIM, LEE, World
from toy_engine import CPU, Count, Toy

from engines.devices import memory_used, probe
from engines.engine import Work
from engines.events import Progress
from engines.models.memory import Blueprint, Models, Piece
from engines.models.room import Resident
from engines.serving.pool import DeviceStatus, Held, Pool

GB = 10**9


def models() -> Models:
    """Two models that share a text encoder."""

    def read(name: str, kind: str) -> Blueprint:
        pieces = (("text_encoder", "shared", 3 * GB), ("unet", name, 5 * GB))
        return Blueprint(name, name, tuple(Piece(r, h, s, lambda: object()) for r, h, s in pieces))

    return Models(read, budget=20 * GB)


def test_models_in_memory_are_told_by_name_and_whether_they_are_in_use() -> None:
    shelf = models()
    assert shelf.resident() == ()
    with shelf.lease("a", "txt2img"):
        assert shelf.resident() == (Resident("a", 8 * GB, True),)
    with shelf.lease("b", "txt2img"):
        assert shelf.resident() == (Resident("a", 5 * GB, False), Resident("b", 8 * GB, True))
    shelf.clear()
    assert shelf.resident() == ()


@pytest.fixture
def work(tmp_path: Path) -> Callable[..., Work]:
    def work(id: int, **request: Any) -> Work:
        folder = tmp_path / str(id)
        folder.mkdir()
        return Work(id, KIM.id, Count(**request), folder)

    return work


async def test_the_pool_tells_how_it_is_while_a_device_is_in_a_long_step(work: Callable[..., Work]) -> None:
    go_on, shelf = threading.Event(), models()
    toy = Toy(on_begin=lambda _: go_on.wait(60) and None)
    pool = Pool({Count: lambda device: toy}, [CPU], models={"cpu": shelf}.get)
    await pool.start()
    try:
        shelf.lease("a", "txt2img")

        async def follow() -> None:
            async with aclosing(pool.run(work(7, steps=3))) as events:
                async for _ in events:
                    pass

        task = asyncio.create_task(follow())
        for _ in range(6000):
            if (status := pool.status()[0]).works:
                break
            await asyncio.sleep(0.01)
        assert (status.name, status.label, status.alive, status.budget) == ("cpu", "a toy", True, 20 * GB)
        assert status.resident == (Resident("a", 8 * GB, True),)
        assert (status.works[0].job, status.works[0].command) == (7, "count")
        assert not task.done(), "told while the device was busy"
        go_on.set()
        await asyncio.wait_for(task, 60)
        assert pool.status()[0].works == ()
    finally:
        go_on.set()
        await pool.stop(10)
    assert not pool.status()[0].alive


async def test_progress_is_told(work: Callable[..., Work]) -> None:
    pool = Pool({Count: lambda device: Toy(slow=0.01)}, [CPU])
    await pool.start()
    seen: list[Held] = []
    try:
        async with aclosing(pool.run(work(8, steps=20))) as events:
            async for event in events:
                if isinstance(event, Progress):
                    seen += pool.status()[0].works
    finally:
        await pool.stop(10)
    assert seen
    assert all(held.total == 20 for held in seen if held.stage == "running")
    assert max(held.step for held in seen) > 0


def test_a_process_knows_what_it_uses() -> None:
    (cpu,) = probe(("cpu",))
    assert 10**7 < memory_used(cpu) < cpu.memory


async def test_the_answer_names_people_and_commands_but_no_prompts(world: World) -> None:
    await world.say("/txt2img a secret nut", who=KIM)
    await world.say("/txt2img another", who=LEE)
    running = await world.store.jobs.claim(world.now[0])
    assert running is not None
    held = Held("cuda:0", running.id, KIM.id, "txt2img", "running", 12, 25)
    starting = Held("cuda:0", 99, "x", "inpaint", "waiting", 0, 0)
    gpu = DeviceStatus(
        "cuda:0",
        "NVIDIA H200",
        True,
        20 * GB,
        150 * GB,
        100 * GB,
        (Resident("sd15", 3 * GB, True),),
        (held, starting),
    )
    broken = DeviceStatus("cuda:1", "", False, 0, 0, 0, (), ())
    object.__setattr__(world.desk.tools, "devices", lambda: [gpu, broken])
    said = await world.say("/gpu", who=LEE)
    assert said.text.splitlines() == [
        "**cuda:0** · NVIDIA H200",
        "Memory: 20 GB of 150 GB in use; models may take 100 GB",
        "Loaded: `sd15` 3 GB (in use)",
        "#1 txt2img · Kim · ▓▓▓▓░░░░░░ 12/25",
        "#99 inpaint · – · starting",
        "**cuda:1** · stopped",
        "No model is loaded.",
        "Nothing is running.",
        "Waiting in the queue: 1",
    ]
    korean = (await world.say("/gpu", lang="ko")).text
    assert "메모리: 150 GB 중 20 GB 사용 중, 모델 한도 100 GB" in korean
    assert "secret" not in said.text + korean
