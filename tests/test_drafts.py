"""Drafts keep their pictures, outlive a restart, and are forgotten in the end; pausing keeps a job out of the line."""

from __future__ import annotations

import sqlite3
from pathlib import Path
from typing import Any

import pytest

from bot import leftovers
from storage import Missing
from storage.database import migrations
from storage.jobs import Job
from storage.store import Store


async def draft(store: Store, *blobs: str, **more: Any) -> Any:
    request = {"save_as": "nut", "steps": 150}
    values: dict[str, Any] = {"person": "console:kim", "place": {"platform": "console", "channel": "x"}}
    values |= {"request": request, "notes": [["few", "적음"]], "sheet": "", "blobs": blobs, "now": 1000.0}
    return await store.drafts.add(**(values | more))


async def job(store: Store, key: str, cost: float = 1.0) -> Job:
    made, _ = await store.jobs.add(
        key=key, person="console:kim", name="Kim", platform="console", place={}, language="en",
        command="train", request={}, cost=cost, inputs=(), now=1000.0,
    )  # fmt: skip
    return made


async def test_a_draft_keeps_its_pictures_alive(store: Store) -> None:
    photo, sheet, other = [await store.blobs.put(name.encode()) for name in ("photo", "sheet", "other")]
    made = await draft(store, photo, sheet=sheet)
    assert await store.blobs.sweep(2e9, older_than=0) == 1
    assert store.blobs.path(photo).exists()
    assert store.blobs.path(sheet).exists()
    assert not store.blobs.path(other).exists()
    assert await store.drafts.expire(before=1000.0) == 0
    assert await store.drafts.expire(before=1000.5) == 1
    assert await store.drafts.get(made.id) is None
    assert await store.blobs.sweep(2e9, older_than=0) == 2


async def test_a_draft_outlives_a_restart_and_is_started_once(tmp_path: Path) -> None:
    async with await Store.open(tmp_path) as store:
        made = await draft(store)
        await store.drafts.reviewed(made.id, 7)
    async with await Store.open(tmp_path) as store:
        found = await store.drafts.get(made.id)
        assert found is not None
        assert (found.review, found.state, found.request["steps"]) == (7, "open", 150)
        assert await store.drafts.started(made.id, 2000.0)
        assert not await store.drafts.started(made.id, 2000.0)
        assert not await store.drafts.dropped(made.id, 2000.0)
        assert await store.drafts.change(made.id, request={}, notes=(), sheet="", blobs=(), now=1.0) is None


async def test_a_changed_draft_lets_go_of_what_it_no_longer_names(store: Store) -> None:
    old, new = [await store.blobs.put(name) for name in (b"old", b"new")]
    made = await draft(store, old)
    changed = await store.drafts.change(
        made.id, request={"steps": 300}, notes=(), sheet="", blobs=[new], now=2000.0
    )
    assert changed is not None
    assert (changed.id, changed.request, changed.review) == (made.id, {"steps": 300}, 0)
    assert await store.blobs.sweep(2e9, older_than=0) == 1
    assert not store.blobs.path(old).exists()
    with pytest.raises(Missing):
        await store.drafts.change(made.id, request={}, notes=(), sheet="", blobs=[old], now=2000.0)
    kept = await store.drafts.get(made.id)
    assert kept is not None
    assert kept.request == {"steps": 300}, "all or nothing"


async def test_paused_is_not_claimed_and_resumed_is(store: Store) -> None:
    first, second = await job(store, "a"), await job(store, "b")
    assert (await store.jobs.claim(1001.0) or first).id == first.id
    paused = await store.jobs.pause(first.id)
    assert paused is not None
    assert paused.state == "paused"
    assert await store.jobs.pause(first.id) is None
    assert await store.jobs.pause(second.id) is not None
    assert await store.jobs.claim(1002.0) is None
    assert await store.jobs.recover(1003.0) == [], "a restart leaves it paused"
    assert await store.jobs.resume(first.id) is not None
    assert await store.jobs.resume(first.id) is None
    assert (await store.jobs.claim(1004.0) or second).id == first.id
    assert (await store.jobs.cancel(second.id, now=1005.0) or first).state == "cancelled"


async def test_a_database_of_before_keeps_its_jobs_and_learns_to_pause(tmp_path: Path) -> None:
    """The migration edits the schema in place: rows, indexes and what refers to them stay."""
    async with await Store.open(tmp_path) as store:
        made = await job(store, "old")
    with sqlite3.connect(tmp_path / "studio.db") as db:
        assert db.execute("PRAGMA integrity_check").fetchone() == ("ok",)
        assert db.execute("PRAGMA foreign_key_check").fetchall() == []
        (schema,) = db.execute("SELECT sql FROM sqlite_schema WHERE name = 'jobs'").fetchone()
        assert schema.count("'paused'") == 1
        with pytest.raises(sqlite3.IntegrityError):
            db.execute("UPDATE jobs SET state = 'asleep' WHERE id = ?", (made.id,))
    db.close()
    assert [number for number, _ in migrations()][:3] == [1, 2, 3]


async def test_what_is_left_of_jobs_that_ended_goes(store: Store) -> None:
    """The folder of a paused job stays; when it is cancelled, or its bot was killed at the end, it is left over."""
    paused, cancelled, running = [await job(store, key) for key in "abc"]
    for one in (paused, cancelled, running):
        (store.folder / "work" / str(one.id)).mkdir(parents=True)
    await store.jobs.pause(paused.id)
    await store.jobs.pause(cancelled.id)
    await store.jobs.cancel(cancelled.id, now=1001.0)
    made = await draft(store)
    await leftovers.clear(store, (), now=1002.0)
    left = sorted(path.name for path in (store.folder / "work").iterdir())
    assert left == [str(paused.id), str(running.id)]
    assert await store.drafts.get(made.id) is not None
    await leftovers.clear(store, (), now=1000.0 + 8 * 86400)
    assert await store.drafts.get(made.id) is None


@pytest.mark.parametrize("saved", [True, False])
async def test_the_last_checkpoint_of_a_training_that_failed_is_kept_for_a_week(
    store: Store, saved: bool
) -> None:
    broken = await job(store, "a")
    folder = store.folder / "work" / str(broken.id)
    (folder / ("checkpoint-00000010" if saved else "samples")).mkdir(parents=True)
    error = {"en": "The loss is no number.", "ko": "손실 값이 숫자가 아닙니다.", "code": "error"}
    await store.jobs.fail(broken.id, error=error, seconds=5.0, now=1005.0)
    await leftovers.over(store, broken.id, folder)
    assert folder.exists() == saved
    await leftovers.clear(store, (), now=1000.0 + 6 * 86400)
    assert folder.exists() == saved
    await leftovers.clear(store, (), now=1010.0 + 7 * 86400)
    assert not folder.exists()
