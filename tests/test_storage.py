"""The database as a whole: one owner, numbered migrations, nothing half written, a backup that is whole."""

from __future__ import annotations

import asyncio
import contextlib
import os
import sqlite3
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from storage import Full, Locked, Newer, StorageError, database
from storage.jobs import Job
from storage.store import Store

NOW = 1_000_000.0


async def add(store: Store, key: str = "k1", person: str = "console:kim", **more: Any) -> Job:
    values: dict[str, Any] = {
        "key": key, "person": person, "name": "Kim", "platform": "console",
        "place": {"platform": "console", "channel": "c"}, "language": "ko", "command": "txt2img",
        "request": {"prompt": "a scratched metal nut", "seed": 7}, "cost": 50.0, "inputs": [], "now": NOW,
    }  # fmt: skip
    job, _ = await store.jobs.add(**(values | more))
    return job


async def test_a_second_process_is_told_who_has_the_folder(tmp_path: Path) -> None:
    program = (
        "import asyncio, sys\n"
        "from storage.store import Store\n"
        "async def main():\n"
        "    async with await Store.open(sys.argv[1]):\n"
        "        print('open', flush=True); sys.stdin.readline()\n"
        "asyncio.run(main())\n"
    )
    with subprocess.Popen(
        [sys.executable, "-c", program, str(tmp_path)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as other:
        assert other.stdout is not None
        assert other.stdout.readline() == "open\n"
        with pytest.raises(Locked) as refused:
            await Store.open(tmp_path)
        assert refused.value.pid == other.pid
        other.communicate("\n")
    async with await Store.open(tmp_path):
        pass  # free again


async def test_the_folder_is_free_again_after_a_close_and_a_failed_open(tmp_path: Path) -> None:
    async with await Store.open(tmp_path):
        with pytest.raises(Locked) as refused:
            await Store.open(tmp_path)
        assert refused.value.pid == os.getpid()
    with contextlib.closing(sqlite3.connect(tmp_path / "studio.db")) as db:
        db.execute("PRAGMA user_version = 999")
    with pytest.raises(Newer):
        await Store.open(tmp_path)
    with contextlib.closing(sqlite3.connect(tmp_path / "studio.db")) as db:
        db.execute(f"PRAGMA user_version = {database.migrations()[-1][0]}")
    async with await Store.open(tmp_path):
        pass


async def test_what_is_committed_survives_and_migrations_run_once(tmp_path: Path) -> None:
    async with await Store.open(tmp_path) as store:
        job = await add(store)
    async with await Store.open(tmp_path) as store:
        assert await store.jobs.get(job.id) == job
        pragmas = await store.database.write(
            lambda db: [
                db.execute(f"PRAGMA {name}").fetchone()[0] for name in ("journal_mode", "synchronous")
            ]
        )
        assert pragmas == ["wal", 2]  # FULL
        version = await store.database.read(lambda db: db.execute("PRAGMA user_version").fetchone()[0])
        assert version == database.migrations()[-1][0]


async def test_migrations_are_numbered_without_a_gap() -> None:
    assert [number for number, _ in database.migrations()] == list(range(1, len(database.migrations()) + 1))


def test_a_migration_that_breaks_leaves_nothing(tmp_path: Path) -> None:
    steps = tmp_path / "steps"
    steps.mkdir()
    (steps / "001_good.sql").write_text("CREATE TABLE a (x INTEGER) STRICT;")
    (steps / "002_bad.sql").write_text(
        "CREATE TABLE b (x INTEGER) STRICT; CREATE TABLE a (x INTEGER) STRICT;"
    )
    with contextlib.closing(sqlite3.connect(tmp_path / "x.db", isolation_level=None)) as db:
        with pytest.raises(sqlite3.OperationalError):
            database.migrate(db, steps)
        assert db.execute("PRAGMA user_version").fetchone() == (1,)
        assert [row[0] for row in db.execute("SELECT name FROM sqlite_schema")] == ["a"]


async def test_readers_cannot_write(tmp_path: Path) -> None:
    async with await Store.open(tmp_path) as store:
        with pytest.raises(sqlite3.OperationalError, match="readonly"):
            await store.database.read(lambda db: db.execute("DELETE FROM jobs"))


async def test_an_error_inside_a_transaction_undoes_all_of_it(tmp_path: Path) -> None:
    def half(db: sqlite3.Connection) -> None:
        db.execute("INSERT INTO facts VALUES ('p', 'k', 'v')")
        raise RuntimeError("in the middle")

    async with await Store.open(tmp_path) as store:
        with pytest.raises(RuntimeError):
            await store.database.write(half)
        assert await store.people.get("p", "k") is None
        await store.people.put("p", "k", "later")  # and the connection is usable
        assert await store.people.get("p", "k") == "later"


async def test_a_cancelled_task_leaves_no_transaction_open(tmp_path: Path) -> None:
    async with await Store.open(tmp_path) as store:
        for n in range(50):
            task = asyncio.create_task(store.people.put("p", f"k{n}", "v"))
            await asyncio.sleep(0 if n % 2 else 0.001)
            task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await task
        assert not await store.database.write(lambda db: db.execute("SELECT 1").rowcount == 1)
        await store.people.put("p", "last", "v")
        assert await store.people.get("p", "last") == "v"


async def test_a_full_disk_is_a_clean_error_and_nothing_is_half_written(tmp_path: Path) -> None:
    async with await Store.open(tmp_path) as store:
        pages = await store.database.write(lambda db: db.execute("PRAGMA page_count").fetchone()[0])
        await store.database.write(lambda db: db.execute(f"PRAGMA max_page_count = {pages + 4}").fetchone())
        added = 0
        with pytest.raises(Full):
            for added in range(10_000):
                await add(store, f"k{added}", request={"prompt": "x" * 3000})
        assert await store.jobs.queued() == added
        counts = await store.database.read(
            lambda db: [db.execute(f"SELECT count(*) FROM {t}").fetchone()[0] for t in ("jobs", "deliveries")]
        )
        assert counts == [added, added]
        await store.database.write(lambda db: db.execute("PRAGMA max_page_count = 100000").fetchone())
        await add(store, "after")
        assert await store.jobs.queued() == added + 1


async def test_a_backup_is_whole_while_others_write(tmp_path: Path) -> None:
    async with await Store.open(tmp_path / "data") as store:

        async def write() -> None:
            for n in range(60):
                await add(store, f"k{n}")

        writing = asyncio.create_task(write())
        await asyncio.sleep(0.05)
        await database.backup(tmp_path / "data" / "studio.db", tmp_path / "copy.db")
        await database.backup(tmp_path / "data" / "studio.db", tmp_path / "copy2.db")
        await writing
    for name in ("copy.db", "copy2.db"):
        with contextlib.closing(sqlite3.connect(tmp_path / name)) as db:
            assert db.execute("PRAGMA integrity_check").fetchone() == ("ok",)
            jobs, promised = (
                db.execute(f"SELECT count(*) FROM {t}").fetchone()[0] for t in ("jobs", "deliveries")
            )
            assert jobs == promised
    assert not list(tmp_path.glob("*.part"))
    await database.backup(tmp_path / "data" / "studio.db", tmp_path / "cold.db")  # nobody has it open


async def test_a_backup_that_cannot_be_made_says_why_and_spoils_nothing(tmp_path: Path) -> None:
    async with await Store.open(tmp_path / "data"):
        there = tmp_path / "data" / "studio.db"
        for source, target in (
            (there, there),
            (there, tmp_path / "gone" / "copy.db"),
            (tmp_path / "gone.db", tmp_path / "copy.db"),
        ):
            with pytest.raises(StorageError, match=target.name):
                await database.backup(source, target)
    assert not (tmp_path / "copy.db").exists()
    async with await Store.open(tmp_path / "data") as store:
        await add(store, "k")


async def test_a_process_that_dies_with_the_store_open_ends(tmp_path: Path) -> None:
    program = (
        "import asyncio, sys\n"
        "from storage.store import Store\n"
        "async def main():\n"
        "    await Store.open(sys.argv[1])\n"
        "    raise SystemExit(3)\n"
        "asyncio.run(main())\n"
    )
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-W", "ignore", "-c", program, str(tmp_path), stderr=asyncio.subprocess.DEVNULL
    )
    assert await asyncio.wait_for(process.wait(), 20) == 3


async def test_people_are_remembered(tmp_path: Path) -> None:
    async with await Store.open(tmp_path) as store:
        people = store.people
        assert await people.language("p") is None
        await people.set_language("p", "ko")
        blob = await store.blobs.put(b"a picture")
        await people.set_last_input("p", blob)
        await people.put("p", "preset", "fine")
        await add(store, person="p")
        got = [await people.language("p"), await people.last_input("p"), await people.get("p", "preset")]
        assert got == ["ko", blob, "fine"]
        await people.put("p", "preset", None)
        assert await people.get("p", "preset") is None
