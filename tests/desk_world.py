"""A desk with a real store, real picture worker and real catalogue; only the devices and the chat are missing."""

from __future__ import annotations

import asyncio
import io
import itertools
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from PIL import Image

from bot.desk import Desk, DeskSettings
from bot.pictures.reading import PictureLimits, PictureReader
from bot.talk import Invocation, Limits, Message, Person, Place, Press
from engines.models import catalogue
from engines.words import Language
from storage.jobs import Job
from storage.results import NewResult
from storage.store import Store

KIM, LEE = Person("console:kim", "Kim"), Person("console:lee", "Lee")
BOSS = Person("console:boss", "Boss")
HERE = Place("console", "general")


def png(size: tuple[int, int] = (64, 48), colour: Any = "red", mode: str = "RGB") -> bytes:
    out = io.BytesIO()
    Image.new(mode, size, colour).save(out, "PNG")
    return out.getvalue()


def mask(size: tuple[int, int] = (64, 48)) -> bytes:
    """White in the upper left quarter."""
    image = Image.new("L", size, 0)
    image.paste(255, (0, 0, size[0] // 2, size[1] // 2))
    out = io.BytesIO()
    image.save(out, "PNG")
    return out.getvalue()


@dataclass
class Sent:
    """An attachment that counts how often it was fetched."""

    name: str
    data: bytes = b""
    error: Exception | None = None
    reads: list[int] = field(default_factory=list)

    @property
    def size(self) -> int:
        return len(self.data)

    async def read(self, limit: int) -> bytes:
        self.reads.append(limit)
        if self.error is not None:
            raise self.error
        return self.data

    async def save(self, path: Path, limit: int) -> None:
        await asyncio.to_thread(path.write_bytes, await self.read(limit))


@dataclass
class Elsewhere:
    """Stands for dispatcher and outbox: notes what it was told."""

    told: list[Any] = field(default_factory=list)
    error: Exception | None = None
    carries: Limits = field(default_factory=lambda: Limits(10**7, 10, 2 * 10**7, 1.0, 2000))

    def wake(self) -> None:
        if self.error is not None:
            raise self.error
        self.told.append("wake")

    def cancel(self, job_id: int) -> None:
        self.told.append(("cancel", job_id))

    def pause(self, job_id: int) -> None:
        self.told.append(("pause", job_id))

    def news(self, job_id: int) -> None:
        self.told.append(("news", job_id))

    async def take_back(self, job_id: int) -> None:
        self.told.append(("take back", job_id))

    def limits(self, place: Place) -> Limits:
        return self.carries


@dataclass
class World:
    desk: Desk
    store: Store
    dispatcher: Elsewhere
    outbox: Elsewhere
    now: list[float]
    counted: Iterator[int] = field(default_factory=lambda: itertools.count(1))

    def said(
        self,
        text: str = "",
        *sent: Sent,
        who: Person = KIM,
        lang: Language = "en",
        key: str = "",
        **more: Any,
    ) -> Invocation:
        return Invocation(key or f"say{next(self.counted)}", who, HERE, lang, text, attachments=sent, **more)

    async def say(self, text: str = "", *sent: Sent, **more: Any) -> Message:
        return await self.desk.hear(self.said(text, *sent, **more))

    async def press(
        self, action: str, job: int, who: Person = KIM, index: int = 0, key: str = "", place: Place = HERE
    ) -> Message:
        press = Press(key or f"press{next(self.counted)}", who, place, "en", action, job, index)
        return await self.desk.press(press)

    async def job(self, number: int) -> Job:
        found = await self.store.jobs.get(number)
        assert found is not None
        return found

    async def make(self, *pictures: bytes) -> Job:
        """The next job in line is done, with these results."""
        job = await self.store.jobs.claim(self.now[0])
        assert job is not None
        made = [
            NewResult(
                await self.store.blobs.put(data),
                f"{job.id}-{i}.png",
                "image/png",
                {"seed": job.request["seed"] + i, "model": "toy", "width": 64, "height": 48},
                64,
                48,
            )
            for i, data in enumerate(pictures)
        ]
        done = await self.store.jobs.finish(job.id, results=made, notes=[], seconds=1.5, now=self.now[0])
        assert done is not None
        return done


@asynccontextmanager
async def opened(
    folder: Path,
    reader: PictureReader,
    *,
    outline: Callable[[bytes], bytes | None] | None = None,
    **changed: Any,
) -> AsyncIterator[World]:
    models = folder / "models"
    for name, channels in (("toy", 4), ("toy-inpaint", 9)):
        (models / name / "unet").mkdir(parents=True)
        (models / name / "model_index.json").write_text("{}")
        (models / name / "unet" / "config.json").write_text(f'{{"in_channels": {channels}}}')
    defaults = {"txt2img": "toy", "img2img": "toy", "inpaint": "toy-inpaint"}
    settings = DeskSettings(admins=frozenset({BOSS.id}), models=defaults, models_folder=models)
    settings = DeskSettings(**{**{n: getattr(settings, n) for n in settings.__slots__}, **changed})
    now, dispatcher, outbox = [1000.0], Elsewhere(), Elsewhere()
    seeds = itertools.count(100)
    async with await Store.open(folder / "data") as store:
        desk = Desk(
            store,
            reader,
            dispatcher,
            outbox,
            settings,
            lambda: catalogue.known(models),
            clock=lambda: now[0],
            rng=lambda most: next(seeds) % most,
            outline=outline,
        )
        yield World(desk, store, dispatcher, outbox, now)


@contextmanager
def picture_reader(limits: PictureLimits = PictureLimits(workers=1)) -> Iterator[PictureReader]:
    """One for all tests of a module: its worker takes a second to start."""
    reader = PictureReader(limits)
    yield reader
    asyncio.run(reader.__aexit__())
