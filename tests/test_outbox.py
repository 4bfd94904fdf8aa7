"""Everything promised is said, once: the life of a message from the queue to the answer."""

from __future__ import annotations

import asyncio
import itertools
from dataclasses import replace
from typing import Any

import pytest
from chat import NOW, Chat, add_job
from outbox_world import Clock, finish, running, settled, states, until

from bot.talk import Gone, Message, Place, Unreachable
from engines.events import Progress
from storage.jobs import Job
from storage.store import Store


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
