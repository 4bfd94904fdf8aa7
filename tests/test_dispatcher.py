"""From the queue to a pool and back; the pool here is a script, so that each ending can be had at will."""

from __future__ import annotations

import asyncio
import dataclasses
from collections.abc import AsyncGenerator
from pathlib import Path
from typing import Any

import pytest
from chat import NOW, add_job
from dispatcher_world import Ear, Script, ended, picture, running, until
from PIL import Image

from bot.dispatcher import Dispatcher, Pace
from engines.engine import REPORT, Work
from engines.events import Event, Failed, Finished, Progress, Started
from engines.words import Words
from storage import Full
from storage.jobs import Job
from storage.store import Store


async def test_a_job_goes_from_the_queue_to_a_recorded_result(store: Store) -> None:
    ear = Ear()
    job = await add_job(store)
    async with running(store, Script(), ear):
        done = await ended(store, job)
        await until(lambda: not (store.folder / "work" / str(job.id)).exists())
    assert (done.state, done.seconds, done.notes) == ("done", 0.5, [["a note", "알림"]])
    (result,) = await store.results.of(job.id)
    assert await store.blobs.read(result.blob) == b"picture of job %d" % job.id
    assert [d.state for d in await store.deliveries.of(job.id)] == ["pending", "pending"]
    assert [(id, p.step) for id, p, _ in ear.shown if p] == [(job.id, 1), (job.id, 2), (job.id, 3)]
    assert ear.woken >= 1


async def test_no_more_is_claimed_than_there_is_room_for(store: Store) -> None:
    pool = Script(slots=3)
    jobs = [await add_job(store, f"k{n}") for n in range(12)]
    async with running(store, pool):
        for job in jobs:
            assert (await ended(store, job)).state == "done"
    assert pool.most == 3
    places = [pool.ran.index(job.id) for job in jobs]
    assert sorted(places) == list(range(12))
    assert all(abs(place - at) < 3 for at, place in enumerate(places)), (
        "in order, but for who is claimed together"
    )


async def test_departments_weights_reach_the_device(store: Store) -> None:
    weights: dict[int, float] = {}

    async def play(work: Work) -> AsyncGenerator[Event, None]:
        weights[work.id] = work.weight
        yield Finished((picture(work),), 0.5)

    lab = await add_job(store, "a", person="kim", department="lab")
    other = await add_job(store, "b", person="lee")
    dispatcher = Dispatcher(store, Script(play), Ear(), clock=lambda: NOW, weights={"lab": 2.0})
    task = asyncio.create_task(dispatcher.run())
    try:
        for job in (lab, other):
            assert (await ended(store, job)).state == "done"
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
    assert weights == {lab.id: 2.0, other.id: 1.0}


async def test_a_call_is_answered_at_once(store: Store) -> None:
    async with running(store, Script()) as dispatcher:
        await asyncio.sleep(0.05)
        job = await add_job(store)
        dispatcher.wake()
        await ended(store, job, seconds=1.0)


async def test_one_broken_job_breaks_no_other(store: Store) -> None:
    async def play(work: Work) -> AsyncGenerator[Event, None]:
        yield Started("test")
        if work.id % 2:
            raise ZeroDivisionError("a bug")
        yield Finished((picture(work),), 0.1)

    jobs = [await add_job(store, f"k{n}") for n in range(6)]
    async with running(store, Script(play)):
        states = [(await ended(store, job)).state for job in jobs]
    assert states == ["failed", "done"] * 3
    failed = await store.jobs.get(jobs[0].id)
    assert failed is not None
    assert failed.error is not None
    assert f"#{jobs[0].id}" in failed.error["en"]
    assert "ZeroDivision" not in str(failed.error)


async def test_a_failure_is_told_with_its_reason(store: Store) -> None:
    async def play(work: Work) -> AsyncGenerator[Event, None]:
        yield Failed(Words("no memory", "메모리 부족"), "memory", trace="…")

    job = await add_job(store)
    async with running(store, Script(play)):
        failed = await ended(store, job)
    assert failed.error == {"en": "no memory", "ko": "메모리 부족", "code": "memory"}


async def test_what_a_failed_run_left_of_how_far_it_came_is_kept_with_it(store: Store) -> None:
    async def play(work: Work) -> AsyncGenerator[Event, None]:
        (work.folder / REPORT).mkdir()
        Image.new("RGB", (40, 30)).save(work.folder / REPORT / "loss.png")
        yield Failed(Words("no numbers", "숫자가 아님"), "numbers")

    job = await add_job(store)
    async with running(store, Script(play)):
        await ended(store, job)
    (left,) = await store.results.of(job.id)
    assert (left.name, left.media, left.width, left.height) == ("txt2img-1-loss.png", "image/png", 40, 30)
    assert store.blobs.path(left.blob).is_file()


async def test_a_stream_without_an_end_is_a_failure(store: Store) -> None:
    async def play(work: Work) -> AsyncGenerator[Event, None]:
        yield Started("test")

    job = await add_job(store)
    async with running(store, Script(play)):
        assert (await ended(store, job)).state == "failed"


async def test_cancelling_stops_the_run_and_only_that(store: Store) -> None:
    async def play(work: Work) -> AsyncGenerator[Event, None]:
        yield Started("test")
        await asyncio.sleep(0.3 if work.id == other.id else 60)
        yield Finished((), 0.1)

    pool = Script(play)
    job, other = await add_job(store), await add_job(store, "k2")
    async with running(store, pool) as dispatcher:
        await until(lambda: pool.inside == 2)
        assert await store.jobs.cancel(job.id, now=NOW)
        dispatcher.cancel(job.id)
        await until(lambda: job.id in pool.closed, seconds=1.0)
        assert (await ended(store, other)).state == "done"
    assert (await ended(store, job)).state == "cancelled"


async def test_a_job_cancelled_in_the_moment_of_its_claim_does_not_run(store: Store) -> None:
    pool = Script()
    job = await add_job(store)
    get = store.jobs.get

    async def get_late(id: int) -> Job | None:
        await store.jobs.cancel(id, now=NOW)
        return await get(id)

    store.jobs.get = get_late  # type: ignore[method-assign]
    async with running(store, pool):
        await until(lambda: pool.room() == 2)
        assert (await ended(store, job)).state == "cancelled"
    assert pool.ran == []


async def test_stopping_puts_what_runs_back_into_the_queue(store: Store) -> None:
    async def play(work: Work) -> AsyncGenerator[Event, None]:
        yield Started("test")
        await asyncio.sleep(60)

    pool = Script(play)
    jobs = [await add_job(store, f"k{n}") for n in range(3)]
    async with running(store, pool):
        await until(lambda: pool.inside == 2)
    assert pool.inside == 0
    assert [(job.id, job.state, job.attempts) for job in await store.jobs.line()] == [
        (job.id, "queued", 0) for job in jobs
    ]


async def test_a_pool_that_stops_gives_its_jobs_back_and_gets_no_more(store: Store) -> None:
    async def play(work: Work) -> AsyncGenerator[Event, None]:
        yield Failed(Words("stopped", "멈춤"), "stopped")

    pool = Script(play)
    job = await add_job(store)
    async with running(store, pool) as dispatcher:
        await until(lambda: bool(pool.closed))
        dispatcher.wake()
        await asyncio.sleep(0.1)
    assert pool.ran == [job.id]
    (waiting,) = await store.jobs.line()
    assert (waiting.id, waiting.attempts) == (job.id, 0)


async def test_what_a_crash_left_running_runs_again(store: Store) -> None:
    job = await add_job(store)
    await store.jobs.claim(NOW)
    folder = store.folder / "work" / str(job.id)
    folder.mkdir(parents=True)
    (folder / "half.png").write_bytes(b"half a picture")
    seen: list[list[str]] = []

    async def play(work: Work) -> AsyncGenerator[Event, None]:
        seen.append([path.name for path in work.folder.iterdir()])
        yield Finished((), 0.1)

    async with running(store, Script(play)):
        done = await ended(store, job)
    assert (done.state, done.attempts) == ("done", 1)
    assert seen == [[]]


async def test_a_checkpoint_is_kept(store: Store) -> None:
    job = await add_job(store)
    checkpoint = store.folder / "work" / str(job.id) / "checkpoint-100"
    checkpoint.mkdir(parents=True)
    there: list[bool] = []

    async def play(work: Work) -> AsyncGenerator[Event, None]:
        there.append((work.folder / "checkpoint-100").exists())
        yield Finished((), 0.1)

    async with running(store, Script(play)):
        await ended(store, job)
    assert there == [True]


@pytest.mark.parametrize(
    "how",
    [{"command": "of-a-later-release"}, {"request": {"seed": 1}}, {"request": {"prompt": "x", "image": "nonsense"}, "command": "img2img"}],
    ids=["unknown command", "missing field", "no blob name"],
)  # fmt: skip
async def test_a_job_that_cannot_be_read_fails_with_a_sentence(store: Store, how: dict[str, Any]) -> None:
    job, good = await add_job(store, **how), await add_job(store, "k2")
    async with running(store, Script()):
        failed = await ended(store, job)
        assert (await ended(store, good)).state == "done"
    assert failed.error is not None
    assert failed.error["code"] == "input"
    assert f"#{job.id}" in failed.error["ko"]


async def test_an_input_that_was_swept_away_is_told(store: Store) -> None:
    blob = await store.blobs.put(b"photo")
    job = await add_job(store, command="img2img", request={"prompt": "x", "image": blob}, inputs=[blob])
    await asyncio.to_thread(store.blobs.path(blob).unlink)
    async with running(store, Script()):
        failed = await ended(store, job)
    assert failed.error is not None
    assert "no longer stored" in failed.error["en"]


async def test_a_full_disk_fails_the_job_and_says_so(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    async def full(path: Path, *, move: bool = False) -> str:
        raise Full("no room")

    monkeypatch.setattr(store.blobs, "put_file", full)
    monkeypatch.setattr("bot.dispatcher.PAUSE", 0.01)
    job = await add_job(store)
    async with running(store, Script()):
        failed = await ended(store, job)
    assert failed.error is not None
    assert failed.error["code"] == "disk"


def test_the_time_left_goes_by_the_steps_made() -> None:
    pace = Pace()
    assert pace.left(Progress(1, 11), 100.0) is None
    assert pace.left(Progress(6, 11), 110.0) == pytest.approx(10.0)
    assert pace.left(Progress(11, 11), 120.0) == 0.0


@pytest.mark.parametrize("again", [False, True], ids=["resumed", "resumed and paused again"])
async def test_one_resumed_while_it_still_pauses_waits_for_its_own_checkpoint(
    store: Store, again: bool
) -> None:
    written = asyncio.Event()

    async def play(work: Work) -> AsyncGenerator[Event, None]:
        first = pool.ran == [job.id]
        try:
            yield Started("test")
            if first:
                await asyncio.Event().wait()
            yield Finished((picture(work),), 0.5)
        finally:
            if first:
                await written.wait()

    async def pause() -> None:
        assert await store.jobs.pause(job.id)
        dispatcher.pause(job.id)

    job, pool = await add_job(store), Script(play)
    async with running(store, pool) as dispatcher:
        await until(lambda: pool.ran == [job.id])
        await pause()
        assert await store.jobs.resume(job.id)
        dispatcher.wake()
        await asyncio.sleep(0.1)
        assert pool.ran == [job.id], "two runs in one folder"
        if again:
            await pause()
        written.set()
        now = await ended(store, job)
        await until(lambda: not dispatcher._tasks)
        other = await add_job(store, "other")
        dispatcher.wake()
        other = await ended(store, other)
    assert (now.state, other.state) == ("paused" if again else "done", "done")
    assert pool.ran.count(job.id) == (1 if again else 2)


async def test_one_cancelled_before_its_task_takes_its_first_step_leaves_no_seat_taken(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    job, claim_for = await add_job(store), store.jobs.claim_for

    async def claimed(*args: Any) -> list[Job]:
        found = await claim_for(*args)
        if job in [dataclasses.replace(one, state="queued", started=None) for one in found]:
            await store.jobs.cancel(job.id, now=NOW)
            asyncio.get_running_loop().call_soon(dispatcher.cancel, job.id)
        return found

    monkeypatch.setattr(store.jobs, "claim_for", claimed)
    pool = Script(slots=1)
    async with running(store, pool) as dispatcher:
        other = await ended(store, await add_job(store, "other"))
        await until(lambda: not dispatcher._tasks)
        assert dispatcher._arriving == set()
    assert (other.state, pool.ran) == ("done", [other.id])
