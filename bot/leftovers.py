"""What nobody needs any more: drafts that were never started, and the work folders of jobs that ended."""

from __future__ import annotations

import asyncio
import shutil
from collections.abc import Container
from pathlib import Path

from engines.serving.attempts import ATTEMPT
from storage.drafts import KEPT
from storage.store import Store

OVER = ("done", "failed", "cancelled")


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


async def over(store: Store, number: int, folder: Path) -> None:
    """Remove an ended job's work folder. That of a training that failed is kept for a while: its last good
    checkpoint is in it."""
    job = await store.jobs.get(number)
    if job is None or job.state != "failed" or not resumable(folder):
        await asyncio.to_thread(shutil.rmtree, folder, ignore_errors=True)


def resumable(folder: Path) -> bool:
    """Whether there is a checkpoint: in the job's own folder, or in that of an attempt that was cut off."""
    return any(folder.glob("checkpoint*")) or any(folder.glob(f"{ATTEMPT}*/checkpoint*"))


def _folders(work: Path) -> list[Path]:
    return [path for path in work.glob("*") if path.name.isdecimal()] if work.is_dir() else []
