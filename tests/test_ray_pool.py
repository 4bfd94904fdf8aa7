"""The pool over Ray, for real: two actors on this machine, killed at will. Each work is answered once."""

from __future__ import annotations

import asyncio
import os
import sys
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import aclosing
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from chat import add_job
from dispatcher_world import Ear, ended, running
from pool_conformance import House, PoolConformance, all_of, ends, until
from ray_world import life_of, post_of, sigkill, starts
from toy_engine import Count, toy_pool

from engines import devices
from engines.engine import Work
from engines.events import Event, Failed, Finished, Progress
from engines.serving import ray_cluster
from engines.serving.ray_cluster import Cluster, Seat
from engines.studio import EngineSettings, open_seat
from engines.words import Refusal, Words
from storage.store import Store

if ray_cluster.installed() is None:
    pytest.skip("Ray is not installed", allow_module_level=True)

TWO = Cluster(actors=2, gpus=False)
ray_cluster.prepare(TWO)

import ray  # noqa: E402

from engines.serving.ray_pool import RayPool  # noqa: E402
from engines.serving.ray_post import Lost, Post, Ticket  # noqa: E402


@pytest.fixture(scope="module", autouse=True)
def cluster() -> Iterator[None]:
    """One for all: starting it takes seconds. Its actors find the tests' own engine."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PYTHONPATH", os.pathsep.join([str(Path(__file__).parent), *sys.path]))
        patch.setenv("SLACK_BOT_TOKEN", "hush")
        assert ray_cluster.connect(TWO)
        assert os.environ["SLACK_BOT_TOKEN"] == "hush"
        patch.setattr("engines.serving.ray_post.LOOK", 0.2)
        yield
    ray.shutdown()


class TestRayPool(PoolConformance):
    def pool(self, **toy: Any) -> RayPool:
        return RayPool(partial(toy_pool, **toy), TWO)


@pytest.fixture
def house(tmp_path: Path) -> House:
    return House(tmp_path)


@pytest.fixture
async def pool(house: House) -> AsyncIterator[RayPool]:
    pool = RayPool(partial(toy_pool, journal=house.journal, slow=0.05), TWO)
    await pool.start()
    yield pool
    await pool.stop(5)


def rays_own_kill(post: Post) -> None:
    ray.kill(post.actor, no_restart=False)


async def read(pool: RayPool, work: Work, at: int, act: Callable[[Post], None]) -> list[Event]:
    """A run to its end; at step `at`, once, something happens to its actor."""
    seen: list[Event] = []
    async with aclosing(pool.run(work)) as events:
        async for event in events:
            seen.append(event)
            if isinstance(event, Progress) and event.step >= at > 0:
                act(post_of(pool, work.id))
                at = 0
    return seen


@pytest.mark.parametrize("kill", [sigkill, pytest.param(rays_own_kill, marks=pytest.mark.slow)])
async def test_a_work_whose_actor_is_killed_is_done_again_and_answered_once(
    pool: RayPool, house: House, kill: Callable[[Post], None], capfd: pytest.CaptureFixture[str]
) -> None:
    work, beside = house.ask("kim", seed=3, steps=20), house.ask("lee", seed=3, steps=20)
    other = asyncio.create_task(all_of(pool, beside))
    await until(lambda: pool.running())
    events = await read(pool, work, 5, kill)
    assert len(starts(events)) == 2
    assert len(house.told("begin", work.id)) == 2
    (end,) = ends(events)
    assert end is events[-1]
    (same,) = ends(await other)
    assert isinstance(end, Finished)
    assert isinstance(same, Finished)
    assert end.artifacts[0].path.read_text() == same.artifacts[0].path.read_text()
    assert [path.name for path in work.folder.iterdir()] == ["sum.txt"], "no attempt is left"
    await until(lambda: all(pool.alive().values()))
    assert pool.room() == pool.width
    assert capfd.readouterr().out == "", "stdout is for answers"


@pytest.mark.slow
async def test_a_work_that_kills_its_actors_is_given_up(pool: RayPool, house: House) -> None:
    (end,) = ends(await all_of(pool, house.ask(steps=5, die_at=2)))
    assert isinstance(end, Failed)
    assert "3 times" in end.reason.en
    assert isinstance((await all_of(pool, house.ask()))[-1], Finished), "the pool lives on"


async def test_an_actor_that_is_cut_off_writes_nothing_that_counts(
    pool: RayPool, house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The connection to one is lost while it works; it works on, unasked, until Ray restarts it."""
    work, whole = house.ask(steps=30), Post.run
    lives = []

    async def cut(post: Post, ticket: Ticket, sent: Work) -> Any:
        first = not lives
        lives.append((post, life_of(post), sent.folder))
        async with aclosing(whole(post, ticket, sent)) as events:
            async for event in events:
                if first and isinstance(event, Progress) and event.step >= 3:
                    raise Lost
                yield event

    monkeypatch.setattr(Post, "run", cut)
    monkeypatch.setattr(ray, "cancel", lambda *_: None)
    end = (await all_of(pool, work))[-1]
    assert isinstance(end, Finished)
    (zombie, life, old), (_, _, new) = lives
    assert old.name < new.name
    assert not old.exists()
    assert [path.name for path in work.folder.iterdir()] == ["sum.txt"]
    await until(lambda: zombie.state == "up")
    assert life_of(zombie)[0] != life[0], "it was started anew"


@pytest.mark.slow
async def test_works_wait_while_every_actor_restarts_and_can_be_cancelled(
    pool: RayPool, house: House
) -> None:
    await until(lambda: [post.state for post in pool._posts] == ["up", "up"])
    for post in pool._posts:
        post.doubt(post.life)
    assert not any(pool.alive().values())
    assert pool.room() == 0
    patient, hasty = (asyncio.create_task(all_of(pool, house.ask())) for _ in range(2))
    await asyncio.sleep(0.1)
    rash = asyncio.create_task(all_of(pool, house.ask()))
    await asyncio.sleep(0)
    for task in (hasty, rash):
        task.cancel()
    await asyncio.gather(hasty, rash, return_exceptions=True)
    assert len(pool._runs) == 1
    assert isinstance((await patient)[-1], Finished)


async def test_the_database_counts_no_attempt_and_the_chat_is_answered_once(
    pool: RayPool, house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("bot.job_work.request_named", lambda name: Count)
    async with await Store.open(house.folder / "data") as store:
        request = {"command": "count", "request": {"steps": 30}}
        jobs = [await add_job(store, f"k{n}", person=f"p{n}", **request) for n in range(5)]
        async with running(store, pool, Ear()):
            await until(lambda: len([held for held in pool.running() if held.step > 3]) == 5)
            sigkill(max(pool._posts, key=lambda post: len(post.tickets)))
            done = [await ended(store, job, 30) for job in jobs]
        assert [(job.state, job.attempts) for job in done] == [("done", 0)] * 5
        for job in jobs:
            assert len(await store.results.of(job.id)) == 1
            assert [d.state for d in await store.deliveries.of(job.id)] == ["pending", "pending"]


def test_an_actor_has_nothing_of_the_bots_and_the_cluster_a_token() -> None:
    def found() -> dict[str, str | int | None]:
        names = ("SLACK_BOT_TOKEN", "RAY_AUTH_MODE", "RAY_USAGE_STATS_ENABLED")
        return {"nice": os.nice(0), **{name: os.environ.get(name) for name in names}}

    there = ray.get(ray.remote(found).remote())
    assert there.pop("nice") == os.nice(0), "it gives way to nobody"
    assert there == {"SLACK_BOT_TOKEN": None, "RAY_AUTH_MODE": "token", "RAY_USAGE_STATS_ENABLED": "0"}
    assert len(os.environ["RAY_AUTH_TOKEN"]) == 64


def test_the_doctor_is_told_what_the_machines_have_and_what_they_do_not_see(tmp_path: Path) -> None:
    address = ray.get_runtime_context().gcs_address
    (node,) = ray_cluster.look(address, [tmp_path, tmp_path / "nowhere"])["nodes"]
    assert node["missing"] == [str(tmp_path / "nowhere")]
    assert (node["cpus"], node["gpus"]) == (ray.cluster_resources()["CPU"], 0)


@pytest.mark.slow
def test_the_cluster_lets_nobody_in_who_has_not_its_token(monkeypatch: pytest.MonkeyPatch) -> None:
    address = ray.get_runtime_context().gcs_address
    monkeypatch.setenv("RAY_AUTH_TOKEN", "0" * 64)
    assert "cannot be joined" in ray_cluster.look(address, [])["error"]


def broken(seat: Seat, **_: Any) -> Any:
    raise Refusal(Words("no driver", "드라이버가 없습니다"))


async def test_where_no_actor_can_be_works_are_not_left_waiting(house: House) -> None:
    pool = RayPool(broken, TWO)
    await pool.start()
    (end,) = ends(await all_of(pool, house.ask()))
    assert isinstance(end, Failed)
    assert end.reason.en.startswith("No machine of the cluster can work")
    assert not any(pool.alive().values())
    assert pool.room() == 0
    await pool.stop(5)


def test_one_actor_sits_on_each_gpu_else_the_cpus_are_shared(monkeypatch: pytest.MonkeyPatch) -> None:
    machines = [{"CPU": 4.0}, {"CPU": 16.0, "GPU": 2.0}, {"CPU": 8.0, "GPU": 1.0}]
    monkeypatch.setattr(ray_cluster, "_nodes", lambda: [{"Resources": has} for has in machines])
    assert ray_cluster.seats(Cluster()) == [Seat(1, 0)] * 3
    assert ray_cluster.seats(Cluster(gpus=False, actors=2)) == [Seat(0, 8.0)] * 2


def test_an_actors_own_pool_has_the_device_of_its_seat(tmp_path: Path) -> None:
    settings = EngineSettings(tmp_path, devices=("auto",), backend="ray", actors=4)
    (status,) = open_seat(settings, Seat(0, 1.5)).status()
    assert status.name == "cpu"
    if not devices.probe(("auto",))[0].name.startswith("cuda"):
        with pytest.raises(Refusal):
            open_seat(settings, Seat(1, 0))


@pytest.mark.parametrize(
    ("cpus", "actors", "threads", "each"),
    [
        ([2.0], 1, 0, 2.0),
        ([2.0], 2, 0, 1.0),
        ([8.0], 3, 0, 2.0),
        ([8.0], 2, 3, 3.0),
        ([8.0, 2.0], 3, 0, 2.0),  # 4 + 4 + nothing would leave one without a place
        ([2.0], 3, 0, 0.66),
    ],
)
def test_actors_share_the_cpus_so_that_all_find_a_place(
    cpus: list[float], actors: int, threads: int, each: float
) -> None:
    assert ray_cluster.share(cpus, actors, threads) == each
