"""Files by the hash of their bytes: durable when named, kept while used, gone when not."""

from __future__ import annotations

import asyncio
import errno
import hashlib
import os
import tempfile
import time
from collections.abc import Coroutine
from pathlib import Path
from typing import Any

import pytest
from chat import NOW, add_job
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from storage import Full, Missing, blobs
from storage.results import NewResult
from storage.store import Store


def picture(name: str) -> NewResult:
    return NewResult(name, "nut.png", "image/png", {}, 8, 8)


async def test_a_blob_is_named_by_its_bytes_and_stored_once(store: Store) -> None:
    data = b"a picture of a nut"
    name = await store.blobs.put(data)
    assert name == hashlib.sha256(data).hexdigest()
    assert await store.blobs.put(data) == name
    assert store.blobs.path(name) == store.folder / "blobs" / name[:2] / name[2:]
    assert await store.blobs.read(name) == data
    assert len([p for p in (store.folder / "blobs").rglob("*") if p.is_file()]) == 1


@pytest.mark.parametrize("move", [True, False])
async def test_a_file_is_taken_over_or_copied(store: Store, tmp_path: Path, move: bool) -> None:
    path = tmp_path / "nut.png"
    for _ in range(2):  # new, and known already
        path.write_bytes(b"nut")
        name = await store.blobs.put_file(path, move=move)
        assert await store.blobs.read(name) == b"nut"
        assert path.exists() is not move


async def test_what_is_no_name_is_no_path(store: Store) -> None:
    for wrong in ("", "../../etc/passwd", "AB" * 32, "ab" * 31, "ab" * 32 + "/x"):
        with pytest.raises(ValueError, match="not a blob name"):
            store.blobs.path(wrong)
    with pytest.raises(Missing):
        await store.blobs.read("ab" * 32)


async def test_the_same_bytes_from_many_at_once(store: Store) -> None:
    names = await asyncio.gather(*(store.blobs.put(b"the same") for _ in range(20)))
    assert len(set(names)) == 1
    assert await store.blobs.read(names[0]) == b"the same"
    assert not list((store.folder / "blobs" / "tmp").iterdir())


async def test_bytes_are_on_the_disk_before_they_are_named(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    done: list[str] = []
    sync, replace = blobs.sync, os.replace

    def synced(path: Path) -> None:
        done.append("folder" if path.is_dir() else "file")
        sync(path)

    def replaced(old: Any, new: Any) -> None:
        done.append("named")
        replace(old, new)

    monkeypatch.setattr(blobs, "sync", synced)
    monkeypatch.setattr(blobs.os, "replace", replaced)
    await store.blobs.put(b"precious")
    assert done == ["file", "folder", "named", "folder"]


async def test_a_full_disk_leaves_nothing_behind(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(path: Path) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(blobs, "sync", full)
    with pytest.raises(Full):
        await store.blobs.put(b"too much")
    assert not [p for p in (store.folder / "blobs").rglob("*") if p.is_file()]


async def test_what_a_killed_process_left_is_cleared_away(tmp_path: Path) -> None:
    part = tmp_path / "blobs" / "tmp" / "half"
    part.parent.mkdir(parents=True)
    part.write_bytes(b"half a picture")
    async with await Store.open(tmp_path):
        assert not part.exists()


async def test_the_sweep_spares_what_is_used_and_what_is_new(store: Store) -> None:
    names = {
        what: await store.blobs.put(what.encode()) for what in ("input", "result", "chosen", "unused", "new")
    }
    for what in ("input", "result", "chosen", "unused"):
        os.utime(store.blobs.path(names[what]), (NOW, NOW))
    job = await add_job(store, inputs=[names["input"]])
    await store.jobs.claim(NOW)
    await store.jobs.finish(job.id, results=[picture(names["result"])], notes=[], seconds=1.0, now=NOW)
    await store.people.set_last_input("p", names["chosen"])
    assert await store.blobs.sweep(NOW + 3600) == 1
    there = {what for what, name in names.items() if store.blobs.path(name).exists()}
    assert there == {"input", "result", "chosen", "new"}


async def test_deleting_results_takes_the_files_that_nobody_else_uses(store: Store) -> None:
    own, shared = await store.blobs.put(b"own"), await store.blobs.put(b"shared")
    for key in ("a", "b"):
        job = await add_job(store, key)
        await store.jobs.claim(NOW)
        made = [picture(shared), *([picture(own)] if key == "a" else [])]
        await store.jobs.finish(job.id, results=made, notes=[], seconds=1.0, now=NOW)
    later = time.time() + 3600
    assert await store.history.delete(1, later) == 2
    assert await store.results.of(1) == []
    assert not store.blobs.path(own).exists()
    assert store.blobs.path(shared).exists()
    assert await store.history.delete(1, later) == 0


async def test_nobody_can_choose_a_blob_that_is_not_there(store: Store) -> None:
    with pytest.raises(Missing):
        await store.people.set_last_input("p", "ab" * 32)
    assert await store.people.last_input("p") is None


class Shelf(RuleBasedStateMachine):
    """Whatever people do with pictures, a row never names a file that is not there."""

    def __init__(self) -> None:
        super().__init__()
        self.loop = asyncio.new_event_loop()
        self.folder = tempfile.TemporaryDirectory()
        self.store = self.do(Store.open(Path(self.folder.name)))
        self.serial = 0

    def do(self, work: Coroutine[Any, Any, Any]) -> Any:
        return self.loop.run_until_complete(work)

    def teardown(self) -> None:
        self.do(self.store.close())
        self.loop.close()
        self.folder.cleanup()

    @rule(data=st.binary(max_size=2), old=st.booleans())
    def put(self, data: bytes, old: bool) -> None:
        name = self.do(self.store.blobs.put(data))
        if old:
            os.utime(self.store.blobs.path(name), (0, 0))

    @rule(data=st.binary(max_size=2))
    def make(self, data: bytes) -> None:
        """A job that reads and writes such a picture; refused where it is gone."""
        name = hashlib.sha256(data).hexdigest()
        self.serial += 1
        try:
            job = self.do(add_job(self.store, f"k{self.serial}", inputs=[name]))
        except Missing:
            assert not self.store.blobs.path(name).exists()
            return
        self.do(self.store.jobs.claim(NOW))
        self.do(self.store.jobs.finish(job.id, results=[picture(name)], notes=[], seconds=1.0, now=NOW))

    @rule(data=st.binary(max_size=2))
    def choose(self, data: bytes) -> None:
        name = hashlib.sha256(data).hexdigest()
        if self.store.blobs.path(name).exists():
            self.do(self.store.people.set_last_input("p", name))

    @rule(job=st.integers(1, 10))
    def delete(self, job: int) -> None:
        self.do(self.store.history.delete(job, time.time()))

    @rule()
    def sweep(self) -> None:
        self.do(self.store.blobs.sweep(time.time()))

    @rule(data=st.binary(max_size=2))
    def sweep_while_someone_puts(self, data: bytes) -> None:
        async def both() -> None:
            _, name = await asyncio.gather(self.store.blobs.sweep(time.time()), self.store.blobs.put(data))
            assert self.store.blobs.path(name).exists()

        self.do(both())

    @invariant()
    def every_name_has_its_file(self) -> None:
        query = "SELECT blob FROM inputs UNION SELECT blob FROM results UNION SELECT last_input FROM people"
        for (name,) in self.do(self.store.database.read(lambda db: db.execute(query).fetchall())):
            assert name is None or self.store.blobs.path(name).exists()


TestShelf = Shelf.TestCase
TestShelf.settings = settings(
    max_examples=25, stateful_step_count=25, deadline=None, suppress_health_check=list(HealthCheck)
)
