"""How things are said: text, pictures and buttons in one message, and the first answer to whoever asked."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import aiohttp

from bot.platforms.slack import blocks
from bot.platforms.slack.api import Api, Denied, patiently
from bot.platforms.slack.files import Uploads
from bot.talk import File, Gone, Message, Person, Place, Unreachable
from engines.words import Language, Words

log = logging.getLogger(__name__)

AGAIN = (0.5, 1.0, 2.0)  # seconds between tries when Slack does not know a picture yet

Say = Callable[[str, list[blocks.Block]], Awaitable[dict[str, Any]]]


@dataclass(frozen=True, slots=True)
class Asker:
    """Who said something, where to answer, and what Slack lends us for a short while to do so."""

    person: Person
    place: Place
    language: Language
    response_url: str = ""  # five answers within half an hour
    note: Words | None = None  # told with the first answer


class Mouth:
    def __init__(self, api: Api) -> None:
        self._api = api
        self.uploads = Uploads(api)

    async def show(self, message: Message, say: Say) -> tuple[dict[str, Any], list[File]]:
        """Say it with its pictures in it. Handed back: Slack's answer, and the files that could not be shown in
        the message and are to be shared beside it."""
        mention = message.mention.rpartition(":")[2] if message.mention.startswith("slack:") else ""
        text = blocks.text_of(message, mention)
        shown = [file for file in message.files if blocks.is_shown(file)]
        for pause in AGAIN if shown else ():
            pictures = list(zip(await self._upload(shown), shown, strict=True))
            try:
                return await say(text, blocks.blocks_of(message, text, pictures)), aside(message)
            except Denied as no:
                if no.error != "invalid_blocks":
                    raise Unreachable(str(no), retry_after=60.0) from None
                log.info("Slack does not take the pictures of job %s yet: %s", message.job, no)
            await asyncio.sleep(pause)
            if pause == AGAIN[-2]:  # perhaps they were deleted there: upload them anew
                for file in shown:
                    self.uploads.forget(file)
        try:
            return await say(text, blocks.blocks_of(message, text)), [*aside(message), *shown]
        except Denied as no:
            raise Unreachable(str(no), retry_after=60.0) from None

    async def _upload(self, files: Sequence[File]) -> list[str]:
        """Nothing is said by an upload: whatever goes wrong with it, trying again is harmless."""
        try:
            return [await self.uploads.picture(file) for file in files]
        except Unreachable as error:
            raise Unreachable(str(error), retry_after=error.retry_after) from None
        except (Gone, Denied) as error:
            raise Unreachable(f"upload: {error}", retry_after=10.0) from None

    async def share(self, files: Sequence[File], job: int, channel: str, thread: str) -> None:
        """Post files of a job in a thread, each once."""
        for file in files:
            try:
                await self.uploads.share(file, f"{file.name} (#{job})", channel, thread)
            except Denied as no:
                raise Unreachable(f"share: {no}", retry_after=10.0) from None

    async def tell(self, asker: Asker, answer: Message, extra: Sequence[blocks.Block] = ()) -> None:
        """The first answer: for the asker's eyes, or openly in a direct message, where nobody else reads."""
        if asker.note is not None:
            answer = replace(answer, text=f"{answer.text}\n{asker.note.of(asker.language)}")
        if not answer.text:
            return
        lasting = asker.place.private and answer.kind in ("said", "refused")
        if not lasting and not answer.files and await self._respond(asker, answer, extra):
            return
        user = asker.person.id.rpartition(":")[2]
        where = {"channel": asker.place.channel, "thread_ts": asker.place.thread or None}
        client = self._api.client

        async def say(text: str, drawn: list[blocks.Block]) -> dict[str, Any]:
            drawn = [*drawn, *extra]
            if lasting or not answer.private:
                return await self._api.call(client.chat_postMessage, **where, text=text, blocks=drawn)
            return await self._api.call(
                client.chat_postEphemeral, **where, user=user, text=text, blocks=drawn
            )

        # A no that never arrives leaves a person waiting; no job is promised here, so twice does no harm.
        _, left = await patiently(lambda: self.show(answer, say))
        if left:  # a whisper cannot hold them: by direct message then
            opened = await self._api.call(client.conversations_open, users=user)
            await self.share(left, answer.job, opened["channel"]["id"], "")

    async def _respond(self, asker: Asker, answer: Message, extra: Sequence[blocks.Block]) -> bool:
        """Through the address Slack lent us: works even where the bot is no member. False if it did not work."""
        if not asker.response_url or not self._api.is_hook(asker.response_url):
            return False
        text = blocks.text_of(answer)
        body = {
            "response_type": "ephemeral",
            "replace_original": False,
            "text": text,
            "blocks": [*blocks.blocks_of(answer, text), *extra],
        }
        post = self._api.session.post
        try:
            async with post(asker.response_url, json=body, allow_redirects=False) as said:
                return said.status == 200
        except (aiohttp.ClientError, TimeoutError, OSError):
            return False


def aside(message: Message) -> list[File]:
    """What an image block cannot show."""
    return [file for file in message.files if not blocks.is_shown(file)]
