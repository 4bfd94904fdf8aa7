"""Discord as a `Platform`: says, changes, finds and deletes messages, and stays connected."""

from __future__ import annotations

import asyncio
import logging
import random
from collections.abc import Callable, Iterable, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import discord
from discord.gateway import DiscordWebSocket
from discord.http import Route
from yarl import URL

from bot.menu import FORMS
from bot.platforms.discord.attachments import Fetcher
from bot.platforms.discord.ears import Ears, Reach
from bot.platforms.discord.errors import FAILURES, translated
from bot.platforms.discord.render import TEXT, carries, draw
from bot.platforms.discord.sync import Notes, sync
from bot.talk import Gone, Limits, Message, Place, Unreachable
from engines.forms import Form
from engines.words import Refusal, Words

if TYPE_CHECKING:
    from bot.desk import Desk

log = logging.getLogger(__name__)

MIB = 1 << 20
FILE = 10 * MIB  # what every server may upload
REQUEST = 25 * MIB - (256 << 10)  # the whole request, less its JSON and multipart frame
SAYING = 120.0  # seconds one call may take, discord.py's own repeats included
BACKOFF = (5.0, 15.0, 60.0, 300.0)  # 1,000 logins a day are allowed

BAD_TOKEN = Words(
    "Discord does not accept the bot token. Copy it again from the developer portal (Bot → Reset Token) "
    "into DISCORD_TOKEN.",
    "Discord가 봇 토큰을 받아들이지 않습니다. 개발자 포털(Bot → Reset Token)에서 토큰을 다시 복사하여 "
    "DISCORD_TOKEN에 넣어 주십시오.",
)


class Discord:
    """See `bot.talk.Platform`. Mutable: it holds the connection and the upload limits it was told."""

    name = "discord"

    def __init__(
        self,
        token: str,
        *,
        api_base: str = "",
        gateway: str = "",
        guilds: Iterable[str | int] = (),
        admins: Iterable[str | int] = (),
        models: Callable[[], Sequence[Any]] = lambda: (),
        forms: Sequence[type[Form]] = FORMS,
        notes: Path | None = None,
        proxy: str = "",
    ) -> None:
        """`api_base`, `gateway`: another server that stands for Discord, as tests have. `guilds`: ids of the
        servers that get the commands; none: all, which can take an hour. `admins`: ids of people and of roles.
        `models`: the catalogue, to offer names while typing. `notes`: a file that remembers which commands
        Discord was given, so that an unchanged list is not sent again."""
        self._token, self._proxy = token, proxy or None
        self._guilds, self._admins = tuple(map(str, guilds)), frozenset(map(str, admins))
        self._models, self._forms, self._notes = models, tuple(forms), Notes(notes)
        self._client: discord.Client | None = None
        self._upload: dict[str, int] = {}
        self._fetcher = Fetcher(URL(api_base).authority if api_base else "", self._proxy)
        if api_base:
            Route.BASE = api_base.rstrip("/")
        if gateway:
            DiscordWebSocket.DEFAULT_GATEWAY = URL(gateway)

    def limits(self, place: Place) -> Limits:
        """By what Discord last told for this server, and by its boost tier."""
        file = self._upload.get(place.guild or place.channel, FILE)
        guild = self._client.get_guild(int(place.guild)) if self._client and place.guild else None
        if guild is not None:
            file = max(file, guild.filesize_limit)
        return Limits(
            file_bytes=min(file, REQUEST),
            files=10,
            message_bytes=REQUEST,
            edit_every=2.5,
            text=TEXT - 100,
            edit_age=3000.0,
        )

    # Connecting

    def client(self, desk: Desk) -> Ears:
        """A client that is not connected yet."""
        reach = Reach(
            admins=self._admins,
            fetcher=self._fetcher,
            models=self._models,
            logged_in=self._logged_in,
            saw_limit=self._saw_limit,
        )
        return Ears(desk, reach, self._proxy)

    async def serve(self, desk: Desk) -> None:
        """Connect and listen until cancelled. Raises `Refusal` for a token that will never do."""
        failures = 0
        try:
            while True:
                began = asyncio.get_running_loop().time()
                await self._connected(self.client(desk))
                if asyncio.get_running_loop().time() - began > 600:
                    failures = 0
                pause = BACKOFF[min(failures, len(BACKOFF) - 1)] * random.uniform(0.8, 1.2)
                failures += 1
                log.warning("not connected to Discord; trying again in %.0f s", pause)
                await asyncio.sleep(pause)
        finally:
            await self.close()

    async def close(self) -> None:
        """Let go of the connections that fetch files; `serve` does so on leaving."""
        await self._fetcher.close()

    async def _connected(self, ears: Ears) -> None:
        """One connection, until it breaks for good."""
        try:
            await ears.start(self._token)
        except discord.LoginFailure as error:
            raise Refusal(BAD_TOKEN) from error
        except FAILURES as error:
            log.warning("Discord: %s: %s", type(error).__name__, error)
        finally:
            self._client = None if self._client is ears else self._client
            await asyncio.shield(_close(ears))

    async def _logged_in(self, client: discord.Client) -> None:
        self._client = client
        await sync(client, self._forms, self._guilds, self._notes)

    def _saw_limit(self, place: Place, limit: int) -> None:
        """Someone with Nitro is told more than the bot may send: the least that was told is the bot's."""
        key = place.guild or place.channel
        self._upload[key] = min(limit, self._upload.get(key, limit))

    # Saying

    async def post(self, place: Place, message: Message, key: str) -> str:
        channel = self._channel(place)
        drawn = draw(message, key=key, new=True)
        with translated():
            async with asyncio.timeout(SAYING):
                sent = await channel.send(
                    view=drawn.layout, files=drawn.files, allowed_mentions=drawn.mentions, nonce=key
                )
        return str(sent.id)

    async def edit(self, place: Place, message_id: str, message: Message) -> None:
        known = self._channel(place).get_partial_message(int(message_id))
        drawn = draw(message)
        with translated():
            async with asyncio.timeout(SAYING):
                # The list of attachments is the new one alone: what was there before is taken off.
                await known.edit(view=drawn.layout, attachments=drawn.files, allowed_mentions=drawn.mentions)

    async def find(self, place: Place, key: str, since: float) -> str | None:
        channel = self._channel(place)
        me = self._client.user if self._client else None
        if me is None:
            raise Unreachable("not logged in to Discord yet", retry_after=2.0)
        after = datetime.fromtimestamp(max(since - 1, 0.0), UTC)  # its own second included
        with translated():
            async for message in channel.history(limit=None, after=after):
                if message.author.id == me.id and carries(message, key):
                    return str(message.id)
        return None

    async def delete(self, place: Place, message_id: str) -> None:
        known = self._channel(place).get_partial_message(int(message_id))
        try:
            with translated():
                async with asyncio.timeout(SAYING):
                    await known.delete()
        except Gone:
            return

    def _channel(self, place: Place) -> discord.PartialMessageable:
        if self._client is None or self._client.is_closed():
            raise Unreachable("not logged in to Discord yet", retry_after=2.0)
        return self._client.get_partial_messageable(
            int(place.thread or place.channel), guild_id=int(place.guild) if place.guild else None
        )


async def _close(ears: Ears) -> None:
    await ears.leave()
    await ears.close()
