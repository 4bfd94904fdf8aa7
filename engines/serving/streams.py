"""Events of one run on their way from a device's thread to the event loop. A slow reader costs the device nothing."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncGenerator
from contextlib import suppress
from dataclasses import replace

from engines.events import Event, Failed, Finished, Progress, Started


class Stream:
    """Started, then the newest Progress, then exactly one Finished or Failed; written by any thread.

    What was not read yet is overtaken: of many `Progress` only the newest is kept, with the last preview.
    """

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._lock = threading.Lock()
        self._started: Started | None = None
        self._progress: Progress | None = None
        self._end: Finished | Failed | None = None
        self._ended = False
        self._awake = False  # a call to `_news` is under way
        self._news = asyncio.Event()

    def tell(self, event: Event) -> bool:
        """Hand over an event; False when the stream has ended already."""
        with self._lock:
            if self._ended:
                return False
            match event:
                case Started():
                    self._started = event
                case Progress():
                    self._progress = _newer(self._progress, event)
                case _:
                    self._end, self._ended = event, True
            wake, self._awake = not self._awake, True
        if wake:
            with suppress(RuntimeError):  # the loop is closed: nobody reads any more
                self._loop.call_soon_threadsafe(self._news.set)
        return True

    @property
    def wants_preview(self) -> bool:
        """Whether the last preview was read, so that a new one is worth its making."""
        with self._lock:
            return self._progress is None or self._progress.preview is None

    @property
    def ended(self) -> bool:
        with self._lock:
            return self._ended

    async def events(self) -> AsyncGenerator[Event, None]:
        """The events, ending after Finished or Failed. For one reader."""
        while True:
            await self._news.wait()
            self._news.clear()
            with self._lock:
                self._awake = False
                news = [e for e in (self._started, self._progress, self._end) if e is not None]
                self._started = self._progress = self._end = None
            for event in news:
                yield event
                if isinstance(event, Finished | Failed):
                    return


def _newer(old: Progress | None, new: Progress) -> Progress:
    if old is None:
        return new
    return replace(new, preview=new.preview or old.preview, note=new.note or old.note)
