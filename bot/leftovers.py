"""What jobs leave behind: pictures of those that failed, work folders, and drafts that were never started."""

from __future__ import annotations

import asyncio
import logging
import shutil
from collections.abc import Callable, Container
from contextlib import suppress
from pathlib import Path

from PIL import Image

from bot.many.works import PARTS
from engines.engine import REPORT
from engines.serving.attempts import ATTEMPT
from storage import StorageError
from storage.drafts import KEPT
from storage.results import NewResult
from storage.store import Store

log = logging.getLogger(__name__)

OVER = ("done", "failed", "cancelled")
TIDY = 3600.0  # seconds between two sweeps of unused files


async def tidy(store: Store, busy: Container[int], keep: float, clock: Callable[[], float]) -> None:
    """Until cancelled. `keep`: seconds after which results are let go of, 0 = never; `busy`: jobs in hand."""
    while True:
        try:
            now = clock()
            if keep and (gone := await store.history.let_go(now - keep, now)):
                log.info("let go of the results of %d old jobs", gone)
            await clear(store, busy, now)
            await store.blobs.sweep(now)
        except Exception:
            log.exception("could not sweep unused files")
        await asyncio.sleep(TIDY)


async def clear(store: Store, busy: Container[int], now: float) -> None:
    """Forget old drafts, and remove the work folders that are left: of a job killed at its end, or paused and then
    cancelled. `busy`: jobs in hand."""
    await store.drafts.expire(now - KEPT)
    for folder in await asyncio.to_thread(_folders, store.folder / "work"):
        number = int(folder.name)
        job = None if number in busy else await store.jobs.get(number)
        if job is None or job.state not in OVER or number in busy:
            continue
        if job.state != "failed" or (job.ended or 0.0) < now - KEPT or not resumable(folder):
            await asyncio.to_thread(shutil.rmtree, folder, ignore_errors=True)


def make_room(folder: Path) -> None:
    """A job's own folder, before it begins: empty, unless what is in it is to be gone on from."""
    if not resumable(folder) and not (folder / PARTS).exists():
        shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True, exist_ok=True)


async def over(store: Store, number: int, folder: Path) -> None:
    """Remove an ended job's work folder. That of a training that failed is kept for a while: its last good
    checkpoint is in it."""
    if await asyncio.to_thread(_removed, folder):
        return
    job = await store.jobs.get(number)
    if job is None or job.state != "failed":
        await asyncio.to_thread(shutil.rmtree, folder, ignore_errors=True)


def _removed(folder: Path) -> bool:
    """Remove it, unless one could go on from what is in it."""
    if resumable(folder):
        return False
    shutil.rmtree(folder, ignore_errors=True)
    return True


async def shown(store: Store, folder: Path, name: str) -> list[NewResult]:
    """The pictures that a failed run left of how far it came, stored; none where the disk is full."""
    found = []
    with suppress(OSError, StorageError):
        for path in sorted((folder / REPORT).glob("*.png"), reverse=True):
            width, height = await asyncio.to_thread(_size, path)
            blob = await store.blobs.put_file(path, move=True)
            found.append(NewResult(blob, f"{name}-{path.name}", "image/png", {}, width, height))
    return found


def _size(path: Path) -> tuple[int, int]:
    with Image.open(path) as picture:  # of our own making; only its head is read
        return picture.size


def resumable(folder: Path) -> bool:
    """Whether there is a checkpoint: in the job's own folder, or in that of an attempt that was cut off."""
    return any(folder.glob("checkpoint*")) or any(folder.glob(f"{ATTEMPT}*/checkpoint*"))


def _folders(work: Path) -> list[Path]:
    return [path for path in work.glob("*") if path.name.isdecimal()] if work.is_dir() else []
