"""Jobs are promises: never lost, never done by two, ended once, and fair between people."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from chat import NOW, add_job, due

from storage import Missing, jobs_sql, usage
from storage.history import Search
from storage.jobs import Job
from storage.results import NewResult
from storage.store import Store


async def claimed(store: Store, count: int) -> list[str]:
    """Who is served, in order."""
    return [job.person for _ in range(count) if (job := await store.jobs.claim(NOW))]


async def test_the_same_saying_twice_is_one_job(store: Store) -> None:
    first, fresh = await store.jobs.add(**_saying("m1"))
    again, stale = await store.jobs.add(**_saying("m1") | {"now": NOW + 60})
    other, _ = await store.jobs.add(**_saying("m2"))
    assert (fresh, stale) == (True, False)
    assert again == first
    assert other.id != first.id
    assert len(await due(store.deliveries, NOW + 100)) == 2


def _saying(key: str) -> dict[str, Any]:
    return {
        "key": key, "person": "p", "name": "P", "platform": "chat", "place": {}, "language": "en",
        "command": "txt2img", "request": {}, "cost": 1.0, "inputs": [], "now": NOW,
    }  # fmt: skip


async def test_a_job_comes_back_as_it_was_promised(store: Store) -> None:
    blob = await store.blobs.put(b"photo")
    job = await add_job(store, inputs=[blob], notes=[["a note", "알림"]], language="ko")
    assert await store.jobs.get(job.id) == job
    assert await store.jobs.by_key("k1") == job
    assert (job.state, job.notes, job.place["channel"]) == ("queued", [["a note", "알림"]], "general")


async def test_a_job_cannot_name_a_picture_that_is_not_there(store: Store) -> None:
    with pytest.raises(Missing):
        await add_job(store, inputs=["0" * 64])
    assert await store.jobs.queued() == 0


async def test_many_claims_at_once_never_give_one_job_twice(store: Store) -> None:
    for n in range(20):
        await add_job(store, f"k{n}", person=f"p{n % 3}")
    got = await asyncio.gather(*(store.jobs.claim(NOW) for _ in range(40)))
    ids = [job.id for job in got if job]
    assert sorted(ids) == sorted(set(ids))
    assert len(ids) == 20


async def test_a_cancelled_claim_loses_nothing(store: Store) -> None:
    await add_job(store)
    task = asyncio.create_task(store.jobs.claim(NOW))
    await asyncio.sleep(0)
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
    await store.jobs.release_all(NOW)
    assert (await store.jobs.claim(NOW)) is not None


async def test_people_take_turns_by_cost(store: Store) -> None:
    for n in range(4):
        await add_job(store, f"a{n}", person="a", cost=50.0)
        await add_job(store, f"b{n}", person="b", cost=100.0)
    assert await claimed(store, 8) == list("ababaabb")


async def test_a_newcomer_waits_for_nobodys_backlog(store: Store) -> None:
    for n in range(50):
        await add_job(store, f"a{n}", person="a")
    await claimed(store, 5)
    await add_job(store, "b", person="b")
    assert "b" in await claimed(store, 2)


async def test_a_newcomer_cannot_live_off_an_empty_past(store: Store) -> None:
    """Who was away has no credit: two people alternate from the moment both are there."""
    for n in range(40):
        await add_job(store, f"a{n}", person="a")
    await claimed(store, 20)
    for n in range(20):
        await add_job(store, f"b{n}", person="b")
    order = await claimed(store, 20)
    assert 9 <= order.count("b") <= 11


async def test_debts_end_with_the_busy_time(store: Store) -> None:
    for n in range(9):
        job = await add_job(store, f"a{n}", person="a")
        await store.jobs.claim(NOW)
        await store.jobs.cancel(job.id, now=NOW)
    for n in range(4):
        await add_job(store, f"b{n}", person="b")
        await add_job(store, f"again{n}", person="a")
    assert sorted((await claimed(store, 4))[:2]) == ["a", "b"]


async def test_cancelling_in_line_moves_ones_other_jobs_up(store: Store) -> None:
    first = await add_job(store, "a0", person="a", cost=1000.0)
    await add_job(store, "a1", person="a", cost=50.0)
    for n in range(4):
        await add_job(store, f"b{n}", person="b", cost=50.0)
    await store.jobs.cancel(first.id, now=NOW)
    assert (await claimed(store, 2)).count("a") == 1


async def test_the_place_in_line_is_the_order_of_claims(store: Store) -> None:
    for n in range(12):
        await add_job(store, f"k{n}", person=f"p{n % 3}", cost=10.0 * (1 + n % 4))
    line = [job.id for job in await store.jobs.line()]
    assert [await store.jobs.ahead(id) for id in line] == list(range(12))
    assert [job.id for _ in range(12) if (job := await store.jobs.claim(NOW))] == line
    assert await store.jobs.ahead(line[0]) == 0


async def test_an_interrupted_job_costs_no_attempt_and_keeps_its_place(store: Store) -> None:
    job = await add_job(store)
    await add_job(store, "k2")
    await store.jobs.claim(NOW)
    released = await store.jobs.release(job.id, NOW)
    assert released is not None
    assert (released.state, released.attempts, released.started) == ("queued", 0, None)
    again = await store.jobs.claim(NOW)
    assert again is not None
    assert again.id == job.id


async def test_a_job_that_kills_the_bot_is_given_up_at_the_third_time(store: Store) -> None:
    job, bystander = await add_job(store), await add_job(store, "k2")
    for crash in (1, 2, 3):
        await store.jobs.claim(NOW)
        (recovered,) = await store.jobs.recover(NOW + crash)
        assert (recovered.id, recovered.attempts) == (job.id, crash)
    assert recovered.state == "failed"
    assert recovered.error is not None
    assert recovered.error["code"] == "crashed"
    assert "3" in recovered.error["en"]
    assert "3" in recovered.error["ko"]
    assert await store.deliveries.get(job.id, "result") is not None
    assert (await store.jobs.line())[0].id == bystander.id


async def test_a_job_ends_once(store: Store) -> None:
    job = await add_job(store)
    result = NewResult(await store.blobs.put(b"picture"), "nut.png", "image/png", {"seed": 7}, 64, 48)
    assert (
        await store.jobs.finish(job.id, results=[result], notes=[], seconds=1.0, now=NOW) is None
    )  # not running
    await store.jobs.claim(NOW)
    done = await store.jobs.finish(job.id, results=[result], notes=[["n", "알"]], seconds=1.5, now=NOW + 2)
    assert done is not None
    assert (done.state, done.seconds, done.ended, done.notes) == ("done", 1.5, NOW + 2, [["n", "알"]])
    assert await store.jobs.finish(job.id, results=[result], notes=[], seconds=1.0, now=NOW) is None
    assert await store.jobs.fail(job.id, error={"en": "", "ko": ""}, seconds=1.0, now=NOW) is None
    assert await store.jobs.cancel(job.id, now=NOW) is None
    assert await store.jobs.release(job.id, NOW) is None
    (kept,) = await store.results.of(job.id)
    assert (kept.index, kept.name, kept.recipe, kept.width, kept.height) == (
        0,
        "nut.png",
        {"seed": 7},
        64,
        48,
    )


async def test_a_result_without_its_file_ends_nothing(store: Store) -> None:
    job = await add_job(store)
    await store.jobs.claim(NOW)
    with pytest.raises(Missing):
        await store.jobs.finish(
            job.id, results=[NewResult("0" * 64, "x", "", {}, 0, 0)], notes=[], seconds=1.0, now=NOW
        )
    assert [running.id for running in await store.jobs.running()] == [job.id]
    assert await store.deliveries.get(job.id, "result") is None


async def test_history_is_found_by_words(store: Store) -> None:
    async def of(words: str = "", limit: int = 20, offset: int = 0) -> list[int]:
        search = Search("chat:kim", words=words)
        return [entry.id for entry in await store.history.find(search, limit=limit, offset=offset)]

    async def in_state(*states: str) -> list[int]:
        return [job.id for job in await store.jobs.of("chat:kim", states=states)]

    nut = await add_job(store, "1", request={"prompt": "A scratched metal NUT"})
    tile = await add_job(store, "2", request={"prompt": "타일에 긁힘이 있는 사진", "model": "embedded"})
    odd = await add_job(store, "3", request={"prompt": "100% wool_carpet"}, command="img2img")
    await add_job(store, "4", person="chat:lee", request={"prompt": "metal nut"})
    assert await of() == [odd.id, tile.id, nut.id]
    assert await of(words="nut METAL") == [nut.id]
    assert await of(words="긁힘") == [tile.id]
    assert await of(words="0%") == [odd.id]
    assert await of(words="l_c") == [odd.id]
    assert await of(words="l%c") == []
    assert await of(words="img2img") == [odd.id]
    assert await of(limit=1, offset=1) == [tile.id]
    await store.jobs.cancel(tile.id, now=NOW)
    assert await in_state("cancelled") == [tile.id]
    assert await in_state("queued") == [odd.id, nut.id]
    assert await in_state() == []


async def test_blob_names_are_no_words(store: Store) -> None:
    blob = await store.blobs.put(b"photo")
    await add_job(store, request={"prompt": "x", "image": blob}, inputs=[blob])
    assert await store.history.find(Search("chat:kim", words=blob[:6]), limit=20) == []


@pytest.mark.parametrize(
    ("query", "index"),
    [
        (jobs_sql.CLAIM, "jobs_in_line"),
        (jobs_sql.LINE, "jobs_in_line"),
        (jobs_sql.AHEAD, "jobs_in_line"),
        (jobs_sql.RUNNING, "jobs_at_work"),
        (jobs_sql.GET, "PRIMARY KEY"),
        (jobs_sql.LATELY, "jobs_done"),
        (jobs_sql.QUEUED, "jobs_in_line"),
    ],
)
async def test_the_queue_is_read_through_an_index(store: Store, query: str, index: str) -> None:
    values = {name: 1 for name in ("now",)} if ":now" in query else (1,) * query.count("?")
    plan = await store.database.read(
        lambda db: [row["detail"] for row in db.execute(f"EXPLAIN QUERY PLAN {query}", values)]
    )
    assert any(index in line for line in plan)
    assert not any("TEMP B-TREE" in line for line in plan)
    assert not any(line.startswith("SCAN jobs") and index not in line for line in plan), plan


@pytest.mark.parametrize("owner", ["person", "department"])
async def test_what_one_has_open_is_counted_by_the_short_indexes(store: Store, owner: str) -> None:
    query = f"EXPLAIN QUERY PLAN {usage.OPEN.format(owner=owner)}"
    plan = await store.database.read(lambda db: [row["detail"] for row in db.execute(query, {"who": "p"})])
    looks = [line for line in plan if "jobs" in line]
    assert looks == ["SCAN jobs USING INDEX jobs_in_line", "SCAN jobs USING INDEX jobs_at_work"]


async def test_what_a_person_has_open_is_read_through_an_index(store: Store) -> None:
    values = ("p", '["queued", "running"]', 20)
    query = f"EXPLAIN QUERY PLAN {jobs_sql.OF}"
    plan = await store.database.read(lambda db: [row["detail"] for row in db.execute(query, values)])
    assert any("jobs_of_person_by_state (person=? AND state=?" in line for line in plan), plan


async def test_of_ten_thousand_the_next_is_found_at_once(store: Store) -> None:
    def many(db: Any) -> None:
        db.executemany(
            "INSERT INTO jobs (key, person, name, platform, place, language, command, request, cost, turn, state,"
            " created, notes, words) VALUES (?, 'p', '', 'chat', '{}', 'en', 'x', '{}', 1, ?, 'queued', 0, '[]', '')",
            [(f"m{n}", float(n)) for n in range(10_000)],
        )

    await store.database.write(many)
    loop = asyncio.get_running_loop()
    began = loop.time()
    for _ in range(20):
        assert await store.jobs.claim(NOW)
    assert (loop.time() - began) / 20 < 0.05


def test_states_are_expected_in_every_update() -> None:
    """No UPDATE of a job's state goes by the id alone."""
    for name, query in vars(jobs_sql).items():
        if name.isupper() and isinstance(query, str) and "SET state" in query:
            assert "AND state =" in query or "WHERE state =" in query, name


async def test_release_all_gives_back_what_runs(store: Store) -> None:
    ids = [(await add_job(store, f"k{n}")).id for n in range(3)]
    for _ in range(2):
        await store.jobs.claim(NOW)
    released: list[Job] = await store.jobs.release_all(NOW)
    assert len(released) == 2
    assert [job.id for job in await store.jobs.line()] == ids
    assert {job.attempts for job in await store.jobs.line()} == {0}
