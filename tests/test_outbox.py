"""Everything promised is said, once, whatever the platform does; stories of the outbox."""

from __future__ import annotations

import asyncio
import contextlib
import io
import itertools
import random
import zipfile
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from chat import NOW, Chat, add_job, flaky
from PIL import Image

from bot.answers.outbox import Outbox
from bot.pictures.reading import PictureReader
from bot.talk import Gone, Limits, Message, Place, Unreachable
from engines.events import Progress
from storage import Full
from storage.deliveries import Kind
from storage.jobs import Job
from storage.results import NewResult
from storage.store import Store


@pytest.fixture
async def store(tmp_path: Path) -> AsyncIterator[Store]:
    async with await Store.open(tmp_path) as store:
        yield store


class Clock:
    """Real time that can be moved on, and that can run faster."""

    def __init__(self, speed: float = 1.0) -> None:
        self.ahead = NOW
        self.speed = speed

    def __call__(self) -> float:
        return asyncio.get_running_loop().time() * self.speed + self.ahead


@contextlib.asynccontextmanager
async def running(
    store: Store, *chats: Chat, clock: Clock | None = None, **more: object
) -> AsyncIterator[Outbox]:
    values = {"settle": 0.02, "rng": random.Random(1), **more}
    outbox = Outbox(store, {chat.name: chat for chat in chats}, clock=clock or Clock(), **values)  # type: ignore[arg-type]
    task = asyncio.create_task(outbox.run())
    try:
        yield outbox
    finally:
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await task


async def until(true: Callable[[], Awaitable[object]], seconds: float = 10.0) -> None:
    async with asyncio.timeout(seconds):
        while not await true():  # noqa: ASYNC110 (it is the disk that is looked at)
            await asyncio.sleep(0.01)


async def states(store: Store, job: Job) -> tuple[str, ...]:
    return tuple(d.state for d in await store.deliveries.of(job.id))


async def finish(store: Store, job: Job, count: int = 1, size: int = 1000) -> None:
    await store.jobs.claim(NOW)
    made = [
        NewResult(await store.blobs.put(bytes([n]) * (size - n)), f"nut-{n}.png", "image/png", {}, 8, 8)
        for n in range(count)
    ]
    assert await store.jobs.finish(job.id, results=made, notes=[], seconds=1.0, now=NOW)


async def settled(store: Store, outbox: Outbox, *jobs: Job, seconds: float = 10.0) -> None:
    async def all_settled() -> bool:
        outbox.wake()
        return all([set(await states(store, job)) <= {"sent", "dead"} for job in jobs])

    await until(all_settled, seconds)


async def test_one_message_lives_from_the_queue_to_the_answer(store: Store) -> None:
    chat = Chat()
    job = await add_job(store)
    async with running(store, chat) as outbox:
        await settled(store, outbox, job)
        (said,) = chat.standing(job.id)
        assert said.message.kind == "accepted"
        assert said.key == f"ds{job.id}s"
        await finish(store, job)
        await settled(store, outbox, job)
    (said,) = chat.standing(job.id)
    assert said.message.kind == "finished"
    assert said.files == [("nut-0.png", 1000)]
    assert await states(store, job) == ("sent", "sent")
    assert (await store.deliveries.of(job.id))[1].message == (await store.deliveries.of(job.id))[0].message


async def test_a_job_that_ended_before_its_status_was_said_gets_the_answer_alone(store: Store) -> None:
    chat = Chat()
    job = await add_job(store)
    await finish(store, job)
    async with running(store, chat) as outbox:
        await settled(store, outbox, job)
    (said,) = chat.standing(job.id)
    assert said.key == f"ds{job.id}r"
    assert [act for act, _ in chat.acts] == ["post"]
    assert await states(store, job) == ("dead", "sent")


@pytest.mark.parametrize("applied", [True, False])
@pytest.mark.parametrize("kind", ["status", "result"])
async def test_a_death_between_sending_and_sent_is_looked_into(
    store: Store, kind: str, applied: bool
) -> None:
    """`applied`: whether the platform had done it when we died."""
    chat = Chat()
    job = await add_job(store)
    if kind == "result":
        await store.deliveries.dead(job.id, "status", 0.0)
        await finish(store, job)
    assert await store.deliveries.sending(job.id, "status" if kind == "status" else "result", NOW)
    if applied:
        answer = "answered before the death"
        await chat.post(Place("chat", "general"), Message("said", answer, job=job.id), f"ds{job.id}{kind[0]}")
    async with running(store, chat) as outbox:
        await settled(store, outbox, job)
    assert len(chat.standing(job.id)) == 1
    assert [act for act, _ in chat.acts].count("post") == 1
    assert ("find", f"ds{job.id}{kind[0]}") in chat.acts


async def test_when_one_cannot_look_one_does_not_repeat(store: Store) -> None:
    """A look that fails leaves the fate unknown: the mark must stay."""
    chat = Chat()
    job = await add_job(store)
    faults = iter([("post", "after"), ("find", "before"), ("find", "before")])
    coming = [next(faults)]

    def fault(act: str, when: str) -> Exception | None:
        if coming and coming[0] == (act, when):
            coming[:] = [f] if (f := next(faults, None)) else []
            return Unreachable("no", uncertain=act == "post")
        return None

    chat.fault = fault
    async with running(store, chat) as outbox:
        await settled(store, outbox, job)
    assert not coming
    assert len(chat.standing(job.id)) == 1
    assert [act for act, _ in chat.acts][:4] == ["post", "find", "find", "find"]


async def test_a_deleted_message_is_answered_anew(store: Store) -> None:
    chat = Chat()
    job = await add_job(store)
    async with running(store, chat) as outbox:
        await settled(store, outbox, job)
        chat.standing(job.id)[0].gone = True
        await finish(store, job)
        await settled(store, outbox, job)
    (said,) = chat.standing(job.id)
    assert said.key == f"ds{job.id}r"
    assert said.message.mention == job.person


async def test_a_message_too_old_to_edit_is_answered_anew_and_taken_away(store: Store) -> None:
    chat, clock = Chat(), Clock()
    chat.carries = replace(chat.carries, edit_age=3600.0)
    job = await add_job(store)
    async with running(store, chat, clock=clock) as outbox:
        await settled(store, outbox, job)
        clock.ahead += 7200.0
        await finish(store, job)
        await settled(store, outbox, job)
    (said,) = chat.standing(job.id)
    assert said.key == f"ds{job.id}r"
    assert len(chat.books) == 2


async def test_a_closed_channel_is_tried_twice(store: Store) -> None:
    chat = Chat(closed=True)
    job, other = await add_job(store), await add_job(store, "k2")
    async with running(store, chat) as outbox:
        await settled(store, outbox, job, other)
        await finish(store, job)
        await settled(store, outbox, job, other)
    assert await states(store, job) == ("dead", "dead")
    assert [what for act, what in chat.acts].count(f"ds{job.id}s") == 2
    assert [what for act, what in chat.acts].count(f"ds{job.id}r") == 2


async def test_retry_after_is_obeyed(store: Store) -> None:
    chat, times = Chat(), []

    def fault(act: str, when: str) -> Exception | None:
        if when == "before":
            times.append(asyncio.get_running_loop().time())
            if len(times) == 1:
                return Unreachable("429", retry_after=0.4)
        return None

    chat.fault = fault
    job = await add_job(store)
    async with running(store, chat) as outbox:
        await settled(store, outbox, job)
    assert times[1] - times[0] >= 0.4


async def test_a_new_start_tries_at_once_what_was_put_off(store: Store) -> None:
    chat, job = Chat(), await add_job(store)
    await store.deliveries.sending(job.id, "status", NOW)
    await store.deliveries.retry(job.id, "status", NOW + 1e6, NOW)
    async with running(store, chat) as outbox:
        await settled(store, outbox, job, seconds=2.0)


async def test_the_longer_an_outage_the_rarer_the_tries_but_one_a_minute(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    chat, pauses, retry = Chat(), list[float](), store.deliveries.retry

    async def noted(job: int, kind: Kind, due: float, now: float, *, uncertain: bool) -> None:
        pauses.append(due - now)
        await retry(job, kind, due, now, uncertain=uncertain)

    monkeypatch.setattr(store.deliveries, "retry", noted)
    chat.fault = lambda act, when: Unreachable("down") if when == "before" and len(pauses) < 12 else None
    job = await add_job(store)
    async with running(store, chat, clock=Clock(speed=200.0)) as outbox:
        await settled(store, outbox, job)
    assert len(pauses) >= 12
    assert pauses[0] < 30 <= max(pauses) <= 60


async def test_a_slow_platform_holds_up_nobody_else(store: Store) -> None:
    slow, quick = Chat("slow", delay=30.0), Chat()
    for n in range(40):
        await add_job(store, f"slow{n}", platform="slow")
    job = await add_job(store)
    async with running(store, slow, quick) as outbox:
        await settled(store, outbox, job, seconds=3.0)


async def test_a_platform_that_is_switched_off_keeps_its_answers(store: Store) -> None:
    other, chat = Chat("other"), Chat()
    job = await add_job(store)
    async with running(store, other):
        await asyncio.sleep(0.1)
    assert await states(store, job) == ("pending",)
    async with running(store, other, chat) as outbox:
        await settled(store, outbox, job)


async def test_progress_is_the_newest_and_not_too_often(store: Store) -> None:
    chat = Chat()
    chat.carries = replace(chat.carries, edit_every=0.2)
    job = await add_job(store)
    async with running(store, chat) as outbox:
        await settled(store, outbox, job)
        await store.jobs.claim(NOW)
        started = asyncio.get_running_loop().time()
        for step in range(1, 101):
            preview = b"picture" if step == 50 else None
            outbox.show(job.id, Progress(step, 100, preview=preview), 1.0)
            await asyncio.sleep(0.01)
        await until(lambda: _shows(chat, job, 100))
        took = asyncio.get_running_loop().time() - started
        (said,) = chat.standing(job.id)
        assert 3 <= said.edits <= took / 0.2 + 1
        assert said.message.preview == b"picture"  # not lost though newer news had none
        edits = said.edits
        outbox.show(job.id, Progress(100, 100), 1.0)  # nothing new
        await asyncio.sleep(0.5)
        assert said.edits == edits


async def _shows(chat: Chat, job: Job, step: int) -> bool:
    (said,) = chat.standing(job.id)
    return said.message.bar is not None and said.message.bar.step == step


async def test_late_news_never_cover_the_answer(store: Store) -> None:
    chat = Chat(delay=0.02)
    chat.carries = replace(chat.carries, edit_every=0.0)
    job = await add_job(store)
    async with running(store, chat) as outbox:
        await settled(store, outbox, job)

        async def chatter() -> None:
            for step in range(200):
                outbox.show(job.id, Progress(step, 200), 1.0)
                await asyncio.sleep(0.002)

        talking = asyncio.create_task(chatter())
        await asyncio.sleep(0.1)
        await finish(store, job)
        await settled(store, outbox, job)
        await talking
        await asyncio.sleep(0.2)
    (said,) = chat.standing(job.id)
    assert said.message.kind == "finished"


async def test_more_pictures_than_fit_come_with_an_archive_of_all(store: Store, tmp_path: Path) -> None:
    chat, kept = Chat(), []
    job = await add_job(store)
    await finish(store, job, count=16)
    post = chat.post

    async def keep(place: Place, message: object, key: str) -> str:
        kept.extend(file.path.read_bytes() for file in message.files)  # type: ignore[attr-defined]
        return await post(place, message, key)  # type: ignore[arg-type]

    chat.post = keep  # type: ignore[method-assign]
    async with running(store, chat) as outbox:
        await settled(store, outbox, job)
    (said,) = chat.standing(job.id)
    assert [name for name, _ in said.files] == [*(f"nut-{n}.png" for n in range(9)), f"{job.id}.zip"]
    with zipfile.ZipFile(io.BytesIO(kept[-1])) as archive:
        assert archive.namelist() == [f"nut-{n}.png" for n in range(16)]
        assert archive.testzip() is None


async def _cut(path: Path, most: int) -> tuple[bytes, str]:
    return (await asyncio.to_thread(path.read_bytes))[:most], "picture.webp"


@pytest.mark.parametrize(
    "carries", [(600, 10**6), (10**6, 1500)], ids=["each file too large", "too large together"]
)
async def test_pictures_too_large_are_sent_smaller(store: Store, carries: tuple[int, int]) -> None:
    chat = Chat(carries=Limits(carries[0], 10, carries[1], 0.05, 2000))
    job = await add_job(store)
    await finish(store, job, count=3)
    async with running(store, chat, shrink=_cut) as outbox:
        await settled(store, outbox, job)
    (said,) = chat.standing(job.id)
    assert [name for name, _ in said.files] == ["nut-0.webp", "nut-1.webp", "nut-2.webp"]
    assert all(size <= carries[0] for _, size in said.files)
    assert sum(size for _, size in said.files) <= carries[1]


async def test_a_real_picture_is_made_smaller_by_the_reader(store: Store) -> None:
    chat = Chat(carries=Limits(20_000, 10, 10**6, 0.05, 2000))
    job = await add_job(store)
    noise = Image.effect_noise((200, 200), 80).convert("RGB")
    noise.save(file := io.BytesIO(), "PNG")
    assert len(file.getvalue()) > 20_000
    await store.jobs.claim(NOW)
    made = NewResult(await store.blobs.put(file.getvalue()), "nut.png", "image/png", {}, 200, 200)
    await store.jobs.finish(job.id, results=[made], notes=[], seconds=1.0, now=NOW)
    async with PictureReader() as reader, running(store, chat, shrink=reader.shrink) as outbox:
        await settled(store, outbox, job, seconds=30.0)
    ((name, size),) = chat.standing(job.id)[0].files
    assert name.startswith("nut.")
    assert size <= 20_000


async def test_a_disk_that_fails_costs_no_answer(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    chat, job = Chat(), await add_job(store)
    monkeypatch.setattr("bot.answers.outbox.PAUSE", 0.01)
    fails, sending = iter(range(20)), store.deliveries.sending

    async def unwilling(*args: Any) -> bool:
        if next(fails, None) is not None:
            raise Full("no room")
        return await sending(*args)

    monkeypatch.setattr(store.deliveries, "sending", unwilling)
    async with running(store, chat) as outbox:
        await settled(store, outbox, job)
    assert len(chat.standing(job.id)) == 1
    assert await states(store, job) == ("sent",)


async def test_a_job_that_ends_while_the_outbox_looks_is_answered_as_ended(store: Store) -> None:
    chat, job = Chat(), await add_job(store)
    told, looks = store.together.told, itertools.count()

    async def told_and_ended(id: int) -> Any:
        found = await told(id)
        if next(looks) == 0:
            await finish(store, job)
            outbox.wake()  # as the dispatcher does
        return found

    store.together.told = told_and_ended  # type: ignore[method-assign]
    async with running(store, chat) as outbox:
        outbox.wake()
        await until(lambda: _all_sent(store, job))
    (said,) = chat.standing(job.id)
    assert said.message.kind == "finished"


async def _all_sent(store: Store, job: Job) -> bool:
    deliveries, now = await store.deliveries.of(job.id), await store.jobs.get(job.id)
    return now is not None and now.state == "done" and all(d.state in ("sent", "dead") for d in deliveries)


async def test_no_job_is_seen_with_an_answer_before_it_ended(store: Store) -> None:
    """Found by the kill tests: the job was read before it ended, its deliveries after."""
    for number in range(60):
        job = await add_job(store, f"k{number}")
        ending = asyncio.create_task(finish(store, job))
        while not ending.done():
            deliveries, now = await store.deliveries.of(job.id), await store.jobs.get(job.id)
            assert now is not None
            assert len(deliveries) == 1 or now.state == "done"
        await ending


async def test_a_platform_that_refuses_its_own_limits_gets_less(store: Store) -> None:
    chat = Chat(most=150_000)
    job = await add_job(store)
    await finish(store, job, count=2, size=250_000)
    async with running(store, chat, shrink=_cut) as outbox:
        await settled(store, outbox, job)
    (said,) = chat.standing(job.id)
    assert len(said.files) == 2
    assert sum(size for _, size in said.files) <= 150_000


async def test_at_last_the_answer_goes_without_files_and_says_so(store: Store) -> None:
    chat = Chat(most=10)
    job = await add_job(store)
    await finish(store, job, count=2, size=250_000)
    async with running(store, chat, shrink=_cut) as outbox:
        await settled(store, outbox, job)
    (said,) = chat.standing(job.id)
    assert not said.files
    assert "2 file(s) are too large" in said.message.text


@pytest.mark.parametrize("seed", range(3))
async def test_a_flaky_platform_and_restarts_at_any_moment(tmp_path: Path, seed: int) -> None:
    """Forty jobs, faults in one act of ten, the outbox cut off again and again: each is answered once."""
    rng = random.Random(seed)
    chat, clock = Chat(fault=flaky(rng)), Clock()
    async with await Store.open(tmp_path) as store:
        jobs = [await add_job(store, f"k{n}") for n in range(40)]

        async def all_settled() -> bool:
            return all([set(await states(store, job)) <= {"sent", "dead"} for job in jobs])

        for job in jobs:
            async with running(store, chat, clock=clock) as outbox:
                await asyncio.sleep(rng.uniform(0.0, 0.05))
                await store.jobs.claim(clock())
                outbox.show(job.id, Progress(1, 2))
                await finish(store, job)
                outbox.wake()
                await asyncio.sleep(rng.uniform(0.0, 0.05))
        async with running(store, chat, clock=clock):
            await until(all_settled, 30.0)
    for job in jobs:
        (said,) = chat.standing(job.id)
        assert said.message.kind == "finished"


async def test_a_bug_in_a_platform_is_not_the_end(store: Store) -> None:
    chat, calls = Chat(), iter([ZeroDivisionError("a bug"), None])
    chat.fault = lambda act, when: next(calls, None) if when == "before" else None
    job = await add_job(store)
    async with running(store, chat) as outbox:
        await settled(store, outbox, job)
    assert len(chat.standing(job.id)) == 1


async def test_results_are_taken_back_however_often_it_takes(store: Store) -> None:
    chat, fails = Chat(), iter([Unreachable("500"), Unreachable("dropped", uncertain=True)])
    job = await add_job(store)
    async with running(store, chat) as outbox:
        await settled(store, outbox, job)
        await finish(store, job)
        await settled(store, outbox, job)
        chat.fault = lambda act, when: next(fails, None) if act == "delete" else None
        await outbox.take_back(job.id)
        await outbox.take_back(job.id)
        await settled(store, outbox, job)
    assert chat.standing(job.id) == []
    assert await states(store, job) == ("sent", "sent", "sent")


async def test_an_answer_that_the_platform_will_not_have_goes_without_files(
    store: Store,
) -> None:
    chat, clock = Chat(), Clock(speed=50.0)
    job = await add_job(store)
    await finish(store, job)
    post = chat.post

    async def picky(place: Place, message: Message, key: str) -> str:
        if message.files:
            raise RuntimeError("400: invalid form body")
        return await post(place, message, key)

    chat.post = picky  # type: ignore[method-assign]
    async with running(store, chat, clock=clock) as outbox:
        await settled(store, outbox, job)
    (said,) = chat.standing(job.id)
    assert not said.files
    assert "too large" in said.message.text


async def test_gone_while_looking_is_not_taken_for_not_said(store: Store) -> None:
    chat = Chat()
    job = await add_job(store)
    assert await store.deliveries.sending(job.id, "status", NOW)
    await chat.post(Place("chat", "general"), Message("said", "hello", job=job.id), f"ds{job.id}s")
    first = iter([Gone("no access just now")])
    chat.fault = lambda act, when: next(first, None) if (act, when) == ("find", "before") else None
    async with running(store, chat) as outbox:
        await settled(store, outbox, job)
    assert [act for act, _ in chat.acts][:3] == ["post", "find", "find"]
