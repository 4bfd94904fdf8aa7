"""Trainings over Ray, with the real trainer and the embedded model: killed and paused, they go on."""

from __future__ import annotations

from contextlib import aclosing
from pathlib import Path
from typing import Any

import pytest
import training_world
from pool_conformance import all_of, ends, until
from ray_world import post_of, sigkill, starts

from engines.engine import Work
from engines.events import Event, Finished, Progress
from engines.serving import ray_cluster
from engines.serving.serves import Serves
from engines.studio import EngineSettings, open_pool

if ray_cluster.installed() is None:
    pytest.skip("Ray is not installed", allow_module_level=True)

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]  # three processes that import torch


def training(folder: Path, **more: Any) -> tuple[Serves, Work]:
    """The real trainer and the embedded model, over Ray."""
    settings = EngineSettings(folder / "models", backend="ray", actors=2, devices=("cpu",), preview_every=0)
    told, files = training_world.data(folder / "data", concepts=1, normals=2)
    request = training_world.train(concepts=told, model="", batch=1, resolution=64, **more)
    pool = open_pool(settings)
    return pool, training_world.work(folder / "work", request, files)


def went_on(events: list[Event]) -> bool:
    """Whether it ended well, and did not begin from nothing."""
    (end,) = ends(events)
    assert isinstance(end, Finished), end
    return any("went on from step" in note.en for note in end.notes)


async def test_a_training_goes_on_from_its_checkpoint_where_its_actor_is_killed(tmp_path: Path) -> None:
    pool, work = training(tmp_path, steps=10, save_every=2)
    await pool.start()
    seen: list[Event] = []
    killed = 0
    async with aclosing(pool.run(work)) as events:
        async for event in events:
            seen.append(event)
            saved = list(work.folder.glob("attempt-*/checkpoint-*"))
            if saved and not killed and isinstance(event, Progress):
                killed = event.step
                sigkill(post_of(pool, work.id))  # type: ignore[arg-type]
    await pool.stop(5)
    assert went_on(seen)
    assert 0 < killed < max(event.total for event in seen if isinstance(event, Progress))
    assert len(starts(seen)) == 2
    assert (tmp_path / "models" / "mine" / "model.json").is_file()
    assert all(artifact.path.parent == work.folder for artifact in seen[-1].artifacts)  # type: ignore[union-attr]
    assert not list(work.folder.glob("attempt-*"))


async def test_a_paused_training_leaves_its_checkpoint_with_the_job_and_goes_on(tmp_path: Path) -> None:
    pool, work = training(tmp_path, steps=10, save_every=1000)
    await pool.start()
    async with aclosing(pool.run(work)) as events:
        async for event in events:
            if isinstance(event, Progress) and "loss 0." in (event.note.en if event.note else ""):
                pool.hold(work.id)
                break
    slowly = 240.0  # seconds: closing waits some seconds for it, no longer, and a busy machine takes its time
    await until(lambda: list(work.folder.glob("checkpoint-*")), slowly)
    await until(lambda: not list(work.folder.glob("attempt-*")), slowly)
    assert went_on(await all_of(pool, work))
    await pool.stop(5)
