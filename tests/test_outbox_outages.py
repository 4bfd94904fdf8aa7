"""The outbox in bad times: a platform that is slow, shut, down or broken, and a disk that fails."""

from __future__ import annotations

import asyncio
import random
from pathlib import Path
from typing import Any

import pytest
from chat import NOW, Chat, add_job, flaky
from outbox_world import Clock, finish, running, settled, states, until

from bot.talk import Unreachable
from engines.events import Progress
from storage import Full
from storage.deliveries import Kind
from storage.store import Store


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
