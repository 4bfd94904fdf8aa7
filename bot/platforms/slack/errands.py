"""What is done after the acknowledgement: each thing once, in a task of its own, ended on stopping."""

from __future__ import annotations

import asyncio
import logging
from collections import OrderedDict
from collections.abc import Awaitable, Callable
from typing import Any

from bot.platforms.slack.api import Denied
from bot.talk import Gone, Unreachable

log = logging.getLogger(__name__)

SEEN = 2000  # keys of sayings that are remembered, to drop repeats before the desk sees them


class Errands:
    def __init__(self) -> None:
        self._seen: OrderedDict[str, None] = OrderedDict()
        self._tasks: set[asyncio.Task[Any]] = set()

    def once(
        self, key: str, work: Callable[..., Awaitable[Any]], *arguments: Any
    ) -> asyncio.Task[Any] | None:
        """Do `work(key, …)`, unless the same thing was said before. The desk drops repeats too, by the same key,
        for good; this only spares it the trouble."""
        if key in self._seen:
            log.info("said twice, heard once: %s", key)
            return None
        self._seen[key] = None
        while len(self._seen) > SEEN:
            self._seen.popitem(last=False)
        return self.later(work(key, *arguments))

    def later(self, work: Awaitable[Any]) -> asyncio.Task[Any]:
        """Do it in a task; whatever goes wrong with it is logged, and its result is None then."""
        task = asyncio.create_task(_guarded(work))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return task

    async def stop(self) -> None:
        tasks = list(self._tasks)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


async def _guarded(work: Awaitable[Any]) -> Any:
    try:
        return await work
    except (Gone, Unreachable, Denied) as error:
        log.warning("could not answer: %s", error)
    except Exception:
        log.exception("a handler failed")
    return None
