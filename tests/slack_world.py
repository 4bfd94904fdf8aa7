"""The real desk, store, reader, dispatcher and outbox behind the real slack_bolt, before a loopback Slack."""

from __future__ import annotations

import asyncio
import io
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from PIL import Image

from bot.admission import DeskSettings
from bot.answers.outbox import Outbox
from bot.desk import Desk
from bot.dispatcher import Dispatcher
from bot.leftovers import OVER
from bot.pictures.reading import PictureReader
from bot.platforms.slack import Slack
from engines.engine import Work
from engines.events import Artifact, Event, Finished, Progress, Started
from engines.models import catalogue
from storage.jobs import OPEN
from storage.store import Store
from tests.loopback.slack import SlackServer


def png(colour: str = "red", size: tuple[int, int] = (48, 32)) -> bytes:
    out = io.BytesIO()
    Image.new("RGB", size, colour).save(out, "PNG")
    return out.getvalue()


def mask_png(size: tuple[int, int] = (48, 32)) -> bytes:
    out, mask = io.BytesIO(), Image.new("L", size, 0)
    mask.paste(255, (8, 8, 24, 20))
    mask.save(out, "PNG")
    return out.getvalue()


@dataclass
class Painter:
    """In place of the devices: paints plain pictures, as many as asked for. `go` holds runs back."""

    folder: Path
    steps: int = 3
    pause: float = 0.0
    go: asyncio.Event = field(default_factory=asyncio.Event)
    worked: list[Work] = field(default_factory=list)

    def room(self, *, newcomers: bool = False) -> int:
        return 4

    async def run(self, work: Work) -> AsyncGenerator[Event, None]:
        self.worked.append(work)
        yield Started("paint")
        await self.go.wait()
        for step in range(1, self.steps + 1):
            await asyncio.sleep(self.pause)
            yield Progress(step, self.steps)
        made = []
        for i in range(getattr(work.request, "count", 1)):
            path = work.folder / f"{work.id}-{i}.png"
            path.write_bytes(png("blue", (64, 64)))
            recipe = {"command": work.request.name, "request": work.request.to_json(), "seed": 7 + i}
            made.append(Artifact(path, f"{work.id}-{i}.png", recipe=recipe, width=64, height=64))
        yield Finished(tuple(made), 0.1)


@dataclass
class World:
    slack: SlackServer
    bot: Slack
    store: Store
    painter: Painter
    desk: Desk

    def answer(self, channel: str = "C0FLOOR") -> dict[str, Any]:
        """The newest message of the bot that is no thread's zip."""
        said = [m for m in self.slack.channels.get(channel, []) if m.get("bot_id")]
        return said[-1] if said else {}

    async def done(self, channel: str = "C0FLOOR", n: int = 1) -> dict[str, Any]:
        """The n-th job's message, once it shows pictures."""

        def found() -> Any:
            return [m for m in self.slack.messages(channel) if pictures(m)][n - 1 : n]

        return (await self.slack.until(found))[0]

    async def jobs(self, user: str = "U0KIM") -> list[Any]:
        return await self.store.jobs.of(f"slack:{self.slack.team}:{user}", states=(*OPEN, *OVER))


def pictures(message: dict[str, Any]) -> list[str]:
    return [b["slack_file"]["id"] for b in message.get("blocks", []) if b["type"] == "image"]


def labels(message: dict[str, Any]) -> list[str]:
    return [
        e["text"]["text"] for b in message.get("blocks", []) if b["type"] == "actions" for e in b["elements"]
    ]


def text(message: dict[str, Any]) -> str:
    return "\n".join(b["text"]["text"] for b in message.get("blocks", []) if b["type"] == "section")


@asynccontextmanager
async def studio(
    slack: SlackServer, folder: Path, *, wrap: Any = lambda desk: desk, held: bool = False, **options: Any
) -> AsyncIterator[World]:
    """The bot, running against `slack`. `wrap` may put something around the desk; `held` runs wait for `painter.go`."""
    await asyncio.to_thread(folder.mkdir, exist_ok=True)
    bot = Slack(slack.bot_token, slack.app_token, api_base=slack.api_base, **({"ping": 0.5} | options))
    painter = Painter(folder)
    if not held:
        painter.go.set()
    async with await Store.open(folder / "data") as store, PictureReader() as reader:
        outbox = Outbox(store, {"slack": bot})
        dispatcher = Dispatcher(store, painter, outbox)
        desk = Desk(store, reader, dispatcher, outbox, DeskSettings(), models=lambda: catalogue.known(folder))
        work = [dispatcher.run(), outbox.run(), bot.serve(wrap(desk))]
        tasks = [asyncio.create_task(w) for w in work]
        try:
            await slack.until(
                lambda: any(t.done() for t in tasks) or any(not s.closed for s in slack.sockets)
            )
            for task in tasks:
                if task.done():
                    task.result()
            yield World(slack, bot, store, painter, desk)
        finally:
            for task in tasks:
                task.cancel()
            for task in tasks:
                with suppress(asyncio.CancelledError):
                    await task
