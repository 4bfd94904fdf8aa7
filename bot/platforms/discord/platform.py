"""Discord as a `Platform`: says, changes, finds and deletes messages, and stays connected."""

from __future__ import annotations

import asyncio
import logging
import random
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import discord
from discord.gateway import DiscordWebSocket
from discord.http import Route
from yarl import URL

from bot.platforms.discord.attachments import Fetcher
from bot.platforms.discord.commands import commands, fingerprint
from bot.platforms.discord.ears import Ears, Reach
from bot.platforms.discord.errors import translated
from bot.platforms.discord.hearing import Admins
from bot.platforms.discord.render import TEXT, Drawn, carries, draw
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
SKEW = 300.0  # seconds our clock may be ahead of Discord's
BACKOFF = (5.0, 15.0, 60.0, 300.0)  # 1,000 logins a day are allowed

BAD_TOKEN = Words(
    "Discord does not accept the bot token. Copy it again from the developer portal (Bot → Reset Token) "
    "into DISCORD_TOKEN.",
    "Discord가 봇 토큰을 받아들이지 않습니다. 개발자 포털(Bot → Reset Token)에서 토큰을 다시 복사하여 "
    "DISCORD_TOKEN에 넣어 주세요.",
)


@dataclass(frozen=True, slots=True)
class DiscordSettings:
    """The `[discord]` part of the configuration."""

    token: str = field(repr=False)
    guilds: tuple[str, ...] = ()  # commands go to these servers at once; none: to all, which can take an hour
    admins: tuple[str, ...] = ()  # user ids
    admin_roles: tuple[str, ...] = ()
    api_base: str = ""  # another server that stands for Discord, as tests have
    gateway: str = ""
    proxy: str = ""


Recall = Callable[[str], Awaitable[str | None]]
Remember = Callable[[str, str], Awaitable[None]]


async def _nothing(key: str) -> str | None:
    return None


async def _forget(key: str, value: str) -> None:
    return None


class DiscordPlatform:
    """See `bot.talk.Platform`. Mutable: it holds the connection and the upload limits it was told."""

    name = "discord"

    def __init__(
        self,
        settings: DiscordSettings,
        forms: Sequence[type[Form]],
        *,
        models: Callable[[str], list[str]] = lambda command: [],
        recall: Recall = _nothing,
        remember: Remember = _forget,
    ) -> None:
        """`models` gives the names known for a command's model option; `recall` and `remember` keep the hash of
        the commands Discord was given, so that an unchanged list is not sent again."""
        self._settings = settings
        self._forms = tuple(forms)
        self._models = models
        self._recall, self._remember = recall, remember
        self._client: discord.Client | None = None
        self._upload: dict[str, int] = {}
        proxy = settings.proxy or None
        own = URL(settings.api_base).authority if settings.api_base else ""
        self._fetcher = Fetcher(own, proxy)
        if settings.api_base:
            Route.BASE = settings.api_base.rstrip("/")
        if settings.gateway:
            DiscordWebSocket.DEFAULT_GATEWAY = URL(settings.gateway)

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
        known = frozenset(form.name for form in self._forms)
        admins = Admins(self._settings.admins, self._settings.admin_roles)
        reach = Reach(admins, self._fetcher, known, self._models, self._logged_in, self._saw_limit)
        return Ears(desk, reach, self._settings.proxy or None)

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
            await ears.start(self._settings.token)
        except discord.LoginFailure as error:
            raise Refusal(BAD_TOKEN) from error
        except (discord.DiscordException, OSError, TimeoutError) as error:
            log.warning("Discord: %s: %s", type(error).__name__, error)
        finally:
            self._client = None if self._client is ears else self._client
            await asyncio.shield(_close(ears))

    async def _logged_in(self, client: discord.Client) -> None:
        self._client = client
        await self._sync(client)

    def _saw_limit(self, place: Place, limit: int) -> None:
        """Someone with Nitro is told more than the bot may send: the least that was told is the bot's."""
        key = place.guild or place.channel
        self._upload[key] = min(limit, self._upload.get(key, limit))

    async def _sync(self, client: discord.Client) -> None:
        """Give Discord our commands where it does not have them yet; a failure is for the log."""
        listed = commands(self._forms)
        app = client.application_id or 0
        wanted: dict[str, list[dict[str, Any]]] = {guild: listed for guild in self._settings.guilds}
        wanted["global"] = [] if self._settings.guilds else listed
        for scope, given in wanted.items():
            key, now = f"discord.commands.{app}.{scope}", fingerprint(given)
            had = await self._recall(key)
            if had == now or (had is None and not given):
                continue
            try:
                if scope == "global":
                    await client.http.bulk_upsert_global_commands(app, given)
                else:
                    await client.http.bulk_upsert_guild_commands(app, int(scope), given)
            except (discord.DiscordException, OSError, TimeoutError) as error:
                log.error("Discord did not take the commands for %s: %s", scope, error)
                continue
            await self._remember(key, now)
            log.info("gave Discord %d commands (%s)", len(given), scope)

    # Saying

    async def post(self, place: Place, message: Message, key: str) -> str:
        channel = self._channel(place)
        with translated():
            async with asyncio.timeout(SAYING):
                drawn = draw(message, key=key, new=True)
                sent = await channel.send(
                    view=drawn.layout, files=drawn.files, allowed_mentions=drawn.mentions, nonce=key
                )
        return str(sent.id)

    async def edit(self, place: Place, message_id: str, message: Message) -> None:
        known = self._channel(place).get_partial_message(int(message_id))
        with translated():
            async with asyncio.timeout(SAYING):
                drawn: Drawn = draw(message)
                # The list of attachments is the new one alone: what was there before is taken off.
                await known.edit(view=drawn.layout, attachments=drawn.files, allowed_mentions=drawn.mentions)

    async def find(self, place: Place, key: str, since: float) -> str | None:
        channel = self._channel(place)
        me = self._client.user if self._client else None
        if me is None:
            raise Unreachable("not logged in to Discord yet", retry_after=2.0)
        after = datetime.fromtimestamp(since - SKEW, UTC)
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
