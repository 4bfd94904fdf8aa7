"""What benchmarks of the bot stand on: an engine that needs no time, and a chat that needs no network."""

from __future__ import annotations

import asyncio
import io
import itertools
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from PIL import Image

from bot.settings.config import Config
from bot.talk import Attachment, Invocation, Limits, Message, Person, Place
from engines.devices import Device
from engines.engine import Run, Work
from engines.events import Artifact
from engines.requests import Img2Img, Txt2Img
from engines.serving.pool import Pool

HERE = Place("bench", "room")
CARRIES = Limits(file_bytes=2**40, files=10, message_bytes=2**40, edit_every=0.15, text=100_000)


def picture(side: int = 16) -> bytes:
    """A small PNG."""
    out = io.BytesIO()
    Image.new("RGB", (side, side), "grey").save(out, "PNG")
    return out.getvalue()


class Instant:
    """An engine whose steps take `seconds` and `each` a row (0: no time), and whose pictures are encoded already."""

    def __init__(self, seconds: float = 0.0, each: float = 0.0) -> None:
        self._seconds, self._each, self._png = seconds, each, picture()

    def begin(self, work: Work) -> Run:
        steps: int = getattr(work.request, "steps", 1)
        return Run(work=work, total=steps, key="all")

    def advance(self, runs: Sequence[Run]) -> None:
        time.sleep(self._seconds + self._each * sum(run.rows for run in runs))
        for run in runs:
            run.done += 1

    def preview(self, run: Run) -> bytes | None:
        return None

    def finish(self, run: Run) -> tuple[Artifact, ...]:
        path = run.work.folder / "picture.png"
        path.write_bytes(self._png)
        recipe = {"seed": 1, "model": "instant", "width": 16, "height": 16}
        return (Artifact(path, path.name, "image/png", recipe, 16, 16),)

    def suspend(self, run: Run) -> None:
        pass


def pool(seconds: float = 0.0, each: float = 0.0, slots: int = 8) -> Pool:
    """The real pool with one lane of the instant engine."""
    return Pool(
        {kind: lambda _: Instant(seconds, each) for kind in (Txt2Img, Img2Img)},
        [Device("cpu", "instant", 0)],
        slots=slots,
    )


@dataclass
class Heard:
    """A chat in this process. When each job's answer and first news came is kept (mutable)."""

    name: str = "bench"
    ended: dict[int, float] = field(default_factory=dict)  # job → when its answer was said
    news: asyncio.Event = field(default_factory=asyncio.Event)
    numbers: itertools.count[int] = field(default_factory=lambda: itertools.count(1))

    def limits(self, place: Place) -> Limits:
        return CARRIES

    async def serve(self, desk: object) -> None:
        await asyncio.Event().wait()

    async def post(self, place: Place, message: Message, key: str) -> str:
        self._note(message)
        return str(next(self.numbers))

    async def edit(self, place: Place, message_id: str, message: Message) -> None:
        self._note(message)

    async def find(self, place: Place, key: str, since: float) -> str | None:
        return None

    async def delete(self, place: Place, message_id: str) -> None:
        pass

    def _note(self, message: Message) -> None:
        if message.kind in ("finished", "failed"):
            self.ended.setdefault(message.job, time.perf_counter())
            self.news.set()

    async def answered(self, job: int) -> float:
        """When the answer to a job was said; waits for it."""
        while job not in self.ended:
            self.news.clear()
            await self.news.wait()
        return self.ended[job]


_keys = itertools.count(1)


def said(person: str, text: str, *attachments: Attachment) -> Invocation:
    """A saying of its own key."""
    return Invocation(
        f"say{next(_keys)}", Person(f"bench:{person}", person), HERE, "en", text, attachments=attachments
    )


def configured(folder: Path) -> Config:
    """The default configuration in a folder of its own, with room for long queues."""
    limits = {"queue_per_person": 10_000, "queue_total": 100_000}
    return Config.model_validate({"data": str(folder), "limits": limits})
