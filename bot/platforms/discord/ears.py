"""The Discord client: acknowledges what it hears at once, asks the desk, and answers the asker alone."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable, Coroutine, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import discord
from discord import app_commands

from bot.platforms.discord import hearing
from bot.platforms.discord.attachments import Fetcher, files_of
from bot.platforms.discord.commands import AREA, AREAS, CHOICES
from bot.platforms.discord.errors import FAILURES
from bot.platforms.discord.hearing import Context
from bot.platforms.discord.render import draw
from bot.talk import Invocation, Message, Place, Press
from engines.words import Refusal, Words

if TYPE_CHECKING:
    from bot.desk import Desk

log = logging.getLogger(__name__)

HEARD = (discord.InteractionType.application_command, discord.InteractionType.component)
ANSWERED = 40060  # already acknowledged: our first try did arrive
DRAIN = 1.5  # seconds for answers in hand when we leave

NOT_OURS = Words("This button is not mine, or too old.", "제가 만든 버튼이 아니거나 너무 오래된 버튼입니다.")


@dataclass(frozen=True, slots=True)
class Reach:
    """What the ears need of the platform."""

    admins: frozenset[str]  # ids of people and of roles
    fetcher: Fetcher
    models: Callable[[], Sequence[Any]]
    logged_in: Callable[[discord.Client], Awaitable[None]]
    saw_limit: Callable[[Place, int], None]  # the upload limit that Discord told for a place


class Ears(discord.Client):
    """One connection's life. Mutable; a new one is made for every attempt to connect."""

    def __init__(self, desk: Desk, reach: Reach, proxy: str | None = None) -> None:
        super().__init__(
            intents=discord.Intents(guilds=True, guild_messages=True, dm_messages=True),
            allowed_mentions=discord.AllowedMentions.none(),
            member_cache_flags=discord.MemberCacheFlags.none(),
            chunk_guilds_at_startup=False,
            max_messages=None,
            max_ratelimit_timeout=30.0,  # longer waits are the outbox's, not a sleep in here
            proxy=proxy,
        )
        self._desk = desk
        self._reach = reach
        self._busy: set[asyncio.Task[Any]] = set()
        self._leaving = False

    async def setup_hook(self) -> None:
        await self._reach.logged_in(self)

    async def leave(self) -> None:
        """Hear no more, and give answers in hand a moment to go out. `close` comes after."""
        self._leaving = True
        if self._busy:
            await asyncio.wait(self._busy, timeout=DRAIN)

    # What Discord tells

    async def on_interaction(self, interaction: Context) -> None:
        await self._while_open(self._interaction(interaction))

    async def on_message(self, message: discord.Message) -> None:
        # a system message is Discord's own, of a pin for instance
        if not (message.author.bot or message.webhook_id is not None or message.is_system()):
            await self._while_open(self._message(message))

    async def on_error(self, event_method: str, /, *args: Any, **kwargs: Any) -> None:
        log.exception("a bug while hearing %s", event_method)

    async def _while_open(self, work: Coroutine[Any, Any, None]) -> None:
        if self._leaving:
            work.close()
            return
        task = asyncio.current_task()
        assert task is not None
        self._busy.add(task)
        try:
            await work
        finally:
            self._busy.discard(task)

    # Interactions

    async def _interaction(self, interaction: Context) -> None:
        kind = interaction.type
        if kind is discord.InteractionType.autocomplete:
            await self._suggest(interaction)
        elif kind in HEARD and await self._acknowledge(interaction):
            await self._reply(interaction, await self._hear(interaction))

    async def _acknowledge(self, interaction: Context) -> bool:
        """Tell Discord within its 3 s that we heard; before anything that may take time."""
        for attempt in (1, 2):
            try:
                await interaction.response.defer(ephemeral=True, thinking=True)
                return True
            except discord.HTTPException as error:
                if error.code == ANSWERED:
                    return True
                late = time.time() - interaction.created_at.timestamp()
                log.warning(
                    "could not acknowledge interaction %s (%.1f s old): %s", interaction.id, late, error
                )
                return False
            except FAILURES as error:  # it may have arrived: then the second try is told so
                log.warning("try %d to acknowledge interaction %s: %r", attempt, interaction.id, error)
        return False

    async def _hear(self, interaction: Context) -> Message:
        place = hearing.place_of(interaction.channel_id or 0, interaction.guild_id)
        self._reach.saw_limit(place, interaction.filesize_limit)
        try:
            said = self._said(interaction)
        except Refusal as refusal:
            person = hearing.person_of(interaction.user, self._reach.admins)
            language = await self._desk.language_of(person, hearing.language_of(interaction.locale))
            return Message("refused", refusal.words.of(language))
        if isinstance(said, Invocation):
            return await self._desk.hear(said)
        return await self._desk.press(said)

    def _said(self, interaction: Context) -> Invocation | Press:
        admins, fetcher = self._reach.admins, self._reach.fetcher
        missing = hearing.missing_permissions(interaction)
        if missing is not None:
            raise Refusal(missing)
        if interaction.type is discord.InteractionType.component:
            press = hearing.press_of(interaction, admins)
            if press is None:
                raise Refusal(NOT_OURS)
            return press
        data: Any = interaction.data or {}
        if data.get("type") == discord.AppCommandType.message.value:
            return hearing.menu_choice(interaction, admins, fetcher)
        return hearing.invocation_of(interaction, admins, fetcher)

    async def _reply(self, interaction: Context, answer: Message) -> None:
        """Put the answer where "thinking…" stands; the asker alone sees it. It may be put there twice."""
        for pause in (1.0, 0.0):
            drawn = draw(answer)
            try:
                await interaction.edit_original_response(
                    view=drawn.layout, attachments=drawn.files, allowed_mentions=drawn.mentions
                )
                return
            except discord.HTTPException as error:
                log.warning("could not answer interaction %s: %s", interaction.id, error)
                return
            except FAILURES as error:
                log.warning("could not answer interaction %s: %r", interaction.id, error)
                await asyncio.sleep(pause)

    async def _suggest(self, interaction: Context) -> None:
        data: Any = interaction.data or {}
        focused = next((o for o in data.get("options", ()) if o.get("focused")), {"name": "", "value": ""})
        typed = str(focused["value"]).casefold()
        known = AREAS if focused["name"].endswith(AREA) else await self._models(interaction)
        fitting = [name for name in known if typed in name.casefold() and len(name) <= 100]
        choices = [app_commands.Choice(name=name, value=name) for name in fitting[:CHOICES]]
        try:
            await interaction.response.autocomplete(choices)
        except FAILURES as error:
            log.debug("could not suggest: %s", error)

    async def _models(self, interaction: Context) -> list[str]:
        """Names of the models that can do the command, those at hand first; all, where no model does it."""
        data: Any = interaction.data or {}
        command = str(data.get("name", ""))
        person = hearing.person_of(interaction.user, self._reach.admins)
        place = hearing.place_of(interaction.channel_id or 0, interaction.guild_id)
        hidden = await self._desk.hidden(person, place)
        models = await asyncio.to_thread(self._reach.models)  # looks into folders
        seen = [m for m in sorted(models, key=lambda m: not m.here) if m.name not in hidden]
        return [m.name for m in seen if command in m.kinds] or [m.name for m in seen]

    # Messages that speak to us

    async def _message(self, message: discord.Message) -> None:
        if self.user is None:
            return
        text = hearing.message_text(message, self.user.id)
        guild = message.guild
        if text is None:
            if hearing.names_our_role(message, self.user.id):
                words = hearing.NAME_ME.of(hearing.language_of_text("", guild))
                await self._answer_message(message, Message("refused", words))
            return
        sent = [
            a.to_dict() | {"filename": a.filename, "url": a.url, "size": a.size} for a in message.attachments
        ]
        answer = await self._desk.hear(
            Invocation(
                key=f"discord:m{message.id}",
                person=hearing.person_of(message.author, self._reach.admins),
                place=hearing.place_of(message.channel.id, guild.id if guild else None),
                language=hearing.language_of_text(text, guild),
                text=text,
                attachments=files_of({"attachments": sent}, self._reach.fetcher),
            )
        )
        if answer.kind != "accepted":  # an accepted job has its own message
            await self._answer_message(message, answer)

    async def _answer_message(self, message: discord.Message, answer: Message) -> None:
        drawn = draw(answer)
        try:
            await message.channel.send(
                view=drawn.layout,
                files=drawn.files,
                allowed_mentions=drawn.mentions,
                reference=message.to_reference(fail_if_not_exists=False),
                nonce=f"a{message.id}",
            )
        except FAILURES as error:
            log.warning("could not answer message %s: %s", message.id, error)
