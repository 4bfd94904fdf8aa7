"""A job off the disk as the pool wants it."""

from __future__ import annotations

import asyncio
import logging
from pathlib import Path

from bot import leftovers
from engines.engine import Work
from engines.events import Failed
from engines.requests import Request, request_named
from engines.words import Words
from storage import Missing
from storage.job import Job
from storage.store import Store

log = logging.getLogger(__name__)


async def work_of(store: Store, job: Job, folder: Path, weight: float) -> Work | Failed:
    """The job with its files and a `folder` of its own, or why it cannot be done."""
    try:
        request: Request = request_named(job.command).from_json(job.request)
        files = {name: store.blobs.path(name) for name in request.blobs}
        store.blobs.check(files)
    except Missing:
        return Failed(_NO_FILE(id=job.id), "input")
    except (KeyError, TypeError, ValueError, AttributeError):
        log.exception("job %d cannot be read", job.id)
        return Failed(_UNREADABLE(id=job.id, command=job.command), "input")
    await asyncio.to_thread(leftovers.make_room, folder)
    return Work(job.id, job.person, request, folder, files, weight)


_NO_FILE = Words(
    "A picture that #{id} needs is no longer stored. Please send it again.",
    "#{id} 작업에 필요한 사진이 더 이상 저장되어 있지 않습니다. 다시 보내 주십시오.",
)
_UNREADABLE = Words(
    "This version of the bot cannot read #{id} ({command}) any more. Please ask for it anew.",
    "이 버전의 봇은 #{id} ({command}) 작업을 더 이상 읽을 수 없습니다. 다시 요청해 주십시오.",
)
