"""A Discord in the process (simcord) around the real client, its files served over real HTTP, and a small desk."""

from __future__ import annotations

import asyncio
import io
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from unittest import mock

import contract
import discord
import simcord
import simcord.backend.cdn
from aiohttp import web
from discord.gateway import DiscordWebSocket
from discord.http import Route
from PIL import Image
from simcord._runtime import _BOT_SCOPE

from bot.platforms.discord import Discord
from bot.talk import Button, File, Invocation, Message, Person, Place, Press
from engines.models.catalogue import Model
from engines.words import Language

SIZE_LIMIT = 1 << 20
MODELS = (
    Model("far", ("txt2img",)),
    Model("tiny", ("txt2img", "img2img"), path=Path("tiny")),
    Model("tiny-inpaint", ("inpaint",), path=Path("tiny-inpaint")),
)


def png(colour: str = "red", size: int = 32) -> bytes:
    out = io.BytesIO()
    Image.new("RGB", (size, size), colour).save(out, "PNG")
    return out.getvalue()


@dataclass
class Desk:
    """Says what it is told to, remembers what it heard."""

    answer: Callable[[Any], Message] = lambda said: Message("said", "heard")
    heard: list[Any] = field(default_factory=list)
    files: list[bytes] = field(default_factory=list)
    hold: asyncio.Event | None = None
    private: set[str] = field(default_factory=set)  # models that nobody may be offered

    async def hear(self, said: Invocation) -> Message:
        self.heard.append(said)
        if self.hold is not None:
            await self.hold.wait()
        for file in said.attachments:
            self.files.append(await file.read(SIZE_LIMIT))
        return self.answer(said)

    async def press(self, press: Press) -> Message:
        self.heard.append(press)
        return self.answer(press)

    async def language_of(self, person: Person, hint: str) -> Language:
        return "ko" if hint == "ko" else "en"

    async def hidden(self, person: Person, place: Place) -> set[str]:
        return self.private


@dataclass
class Outside:
    """A real desk, asked outside the simulation's own tasks: what it starts (painters, deliveries) goes on after
    the answer, and no `slash` or `click` has to wait for it."""

    desk: Any

    async def hear(self, said: Invocation) -> Message:
        return await self._apart(self.desk.hear(said))

    async def press(self, press: Press) -> Message:
        return await self._apart(self.desk.press(press))

    async def language_of(self, person: Person, hint: str) -> Language:
        return await self.desk.language_of(person, hint)

    async def hidden(self, person: Person, place: Place) -> set[str]:
        return await self.desk.hidden(person, place)

    async def _apart(self, answer: Any) -> Message:
        scope = _BOT_SCOPE.set(None)
        try:
            task = asyncio.create_task(answer)
        finally:
            _BOT_SCOPE.reset(scope)
        return await task


@dataclass
class World:
    env: simcord.Env
    platform: Discord
    desk: Any
    guild: Any
    channel: Any
    ann: Any
    bob: Any
    served: Host

    @property
    def place(self) -> Place:
        return Place("discord", str(self.channel.id), guild=str(self.guild.id))

    def messages(self) -> list[Any]:
        """What stands in the channel, oldest first, as the simulated Discord holds it."""
        stored = self.env.backend.messages[self.channel.id].values()
        return [m for m in stored if not m.is_ephemeral]

    def ours(self) -> list[Any]:
        return [m for m in self.messages() if m.author_id == self.env.backend.bot_user.id]

    def shown(self, message: Any) -> discord.Message:
        """A stored message as an actor can click it."""
        return simcord.results.to_discord_message(self.env, message)

    def bodies(self, method: str, part: str) -> list[Any]:
        return [r.json for r in self.env.http_requests if r.method == method and part in r.path]

    async def restart(self) -> None:
        await self.env.restart_bot(self.platform.client(self.desk))


def text(message: Any) -> str:
    """All text a message shows."""
    return "\n".join(c["content"] for c in walk(message.components) if c["type"] == 10)


def walk(components: Any) -> list[dict[str, Any]]:
    found = []
    for component in components:
        found += [component, *walk(component.get("components", ()))]
    return found


def buttons(message: Any) -> dict[str, str]:
    """custom_id → label"""
    return {c["custom_id"]: c["label"] for c in walk(message.components) if c["type"] == 2}


def pictures(message: Any) -> list[str]:
    return [item["media"]["url"] for c in walk(message.components) if c["type"] == 12 for item in c["items"]]


@asynccontextmanager
async def world(desk: Any, *, settle: float = 5.0, **settings: Any) -> AsyncIterator[World]:
    """A platform whose desk is `desk`, in a simulated Discord."""
    async with host() as served:
        platform = Discord("token", **(at(served) | settings))
        async with inside(platform, desk, served, settle=settle) as w:
            try:
                yield w
            finally:
                await platform.close()


@asynccontextmanager
async def inside(platform: Discord, desk: Any, served: Host, *, settle: float = 5.0) -> AsyncIterator[World]:
    """A simulated Discord that `platform` is connected to, with a channel and two people. On leaving,
    everything that was sent is held against Discord's own contract."""
    async with simcord.run(platform.client(desk), settle_timeout=settle) as env:
        served.read = env.backend.cdn.get
        guild = env.create_guild()
        channel = guild.create_text_channel("studio")
        ann = guild.add_member(env.create_user("ann", global_name="Ann"))
        bob = guild.add_member(env.create_user("bob"))
        yield World(env, platform, desk, guild, channel, ann, bob, served)
        await env.settle()
    if contract.FILE.exists():
        assert contract.contract().check_all(env.http_requests) > 0


def at(served: Host) -> dict[str, Any]:
    """What a platform is told to find this Discord."""
    return {"api_base": f"{served.address}/api/v10", "models": lambda: MODELS}


@dataclass
class Host:
    address: str
    read: Callable[[str], bytes | None] = lambda url: None
    status: int = 200
    requests: list[web.Request] = field(default_factory=list)


@asynccontextmanager
async def host() -> AsyncIterator[Host]:
    """Serves simcord's attachments over HTTP, as Discord's CDN does."""

    async def serve(request: web.Request) -> web.StreamResponse:
        served.requests.append(request)
        data = served.read(str(request.url))
        headers = {"Location": f"{served.address}/elsewhere"} if 300 <= served.status < 400 else {}
        return web.Response(body=data, status=served.status if data is not None else 404, headers=headers)

    app = web.Application()
    app.router.add_get("/{path:.*}", serve)
    runner = web.AppRunner(app)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    served = Host(f"http://127.0.0.1:{runner.addresses[0][1]}")
    cdn = mock.patch.object(simcord.backend.cdn, "CDN_BASE", served.address)
    try:
        with cdn:
            async with elsewhere():
                yield served
    finally:
        await runner.cleanup()


@asynccontextmanager
async def elsewhere() -> AsyncIterator[None]:
    """discord.py's addresses are back in their place afterwards."""
    base = mock.patch.object(Route, "BASE", Route.BASE)
    gateway = mock.patch.object(DiscordWebSocket, "DEFAULT_GATEWAY", DiscordWebSocket.DEFAULT_GATEWAY)
    with base, gateway:
        yield


async def until(told: Callable[[], Any], seconds: float = 10.0) -> Any:
    end = time.monotonic() + seconds
    while not (found := told()):
        assert time.monotonic() < end
        await asyncio.sleep(0.01)
    return found


def picture_file(folder: Path, name: str = "a.png", colour: str = "red") -> Path:
    path = folder / name
    path.write_bytes(png(colour))
    return path


def queued(job: int = 42) -> Message:
    return Message(
        "accepted",
        f"#{job} inpaint · next in line",
        job=job,
        buttons=(Button("cancel", job, "Cancel", danger=True),),
    )


def done(files: list[Path], job: int = 42, mention: str = "") -> Message:
    after = (
        Button("reroll", job, "Re-roll"),
        Button("use", job, "Use as input", 0),
        Button("delete", job, "Delete"),
    )
    shown = tuple(File(path, path.name, "a scratched nut") for path in files)
    return Message("finished", f"#{job} done in 3 s", job=job, files=shown, buttons=after, mention=mention)
