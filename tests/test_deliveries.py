"""The outbox's rows, and the order in which they fall due."""

from __future__ import annotations

from chat import NOW, add_job, due

from storage import deliveries
from storage.store import Store


async def test_from_pending_over_sending_to_sent(store: Store) -> None:
    rows, job = store.deliveries, await add_job(store)
    assert not await rows.sent(job.id, "status", "m1", NOW)  # it was not sending
    assert await rows.sending(job.id, "status", NOW + 5)
    (sending,) = await due(rows, NOW + 5)
    assert (sending.state, sending.tries, sending.since, sending.message) == ("sending", 1, NOW + 5, "")
    assert await rows.sent(job.id, "status", "m1", NOW + 6)
    assert await due(rows, NOW + 100) == []
    said = await rows.get(job.id, "status")
    assert said is not None
    assert (said.state, said.message) == ("sent", "m1")


async def test_what_is_settled_stays_settled(store: Store) -> None:
    rows, job = store.deliveries, await add_job(store)
    assert await rows.dead(job.id, "status", NOW)
    assert not await rows.sending(job.id, "status", NOW)
    assert not await rows.retry(job.id, "status", NOW, NOW)
    assert not await rows.dead(job.id, "status", NOW)


async def test_the_first_try_is_remembered_over_retries(store: Store) -> None:
    """A look must reach back to the first time that it may have been said."""
    rows, job = store.deliveries, await add_job(store)
    for at in (NOW, NOW + 10, NOW + 20):
        await rows.sending(job.id, "status", at)
        await rows.retry(job.id, "status", at + 10, at, uncertain=True)
    (row,) = await due(rows, NOW + 30)
    assert (row.since, row.tries, row.state) == (NOW, 3, "sending")


async def test_a_certain_failure_needs_no_look(store: Store) -> None:
    rows, job = store.deliveries, await add_job(store)
    await rows.sending(job.id, "status", NOW)
    await rows.retry(job.id, "status", NOW + 10, NOW, uncertain=False)
    assert await due(rows, NOW + 9) == []
    (row,) = await due(rows, NOW + 10)
    assert row.state == "pending"


async def test_due_is_by_platform_the_longest_waiting_first(store: Store) -> None:
    rows = store.deliveries
    for n, platform in enumerate(["a", "b", "a", "a"]):
        await add_job(store, f"k{n}", platform=platform, now=NOW - n)
    assert [row.job for row in await due(rows, NOW, "a")] == [4, 3, 1]
    assert [row.job for row in await due(rows, NOW, "b")] == [2]
    assert [row.job for row in await due(rows, NOW, "a", limit=2)] == [4, 3]
    assert (await rows.look(NOW - 2, 0, "a"))[1] == NOW
    assert (await rows.look(NOW, 0, "a"))[1] is None


async def test_a_job_s_status_comes_before_its_result(store: Store) -> None:
    job = await add_job(store)
    await store.jobs.cancel(job.id, now=NOW)
    assert [row.kind for row in await due(store.deliveries, NOW)] == ["status", "result"]
    assert [row.kind for row in await store.deliveries.of(job.id)] == ["status", "result"]


async def test_due_is_read_through_an_index(store: Store) -> None:
    plan = await store.database.read(
        lambda db: [
            row["detail"] for row in db.execute(f"EXPLAIN QUERY PLAN {deliveries.DUE}", ("a", NOW, 1))
        ]
    )
    assert any("deliveries_open" in line for line in plan)
