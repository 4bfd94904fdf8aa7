"""Slack, as the rest of the studio sees it: a `Platform` on slack_bolt over Socket Mode."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import aiohttp
from slack_bolt.adapter.socket_mode.aiohttp import AsyncSocketModeHandler
from slack_bolt.app.async_app import AsyncApp
from slack_bolt.authorization import AuthorizeResult
from slack_sdk.errors import SlackApiError

from bot.platforms.slack import blocks
from bot.platforms.slack.api import Api, Denied
from bot.platforms.slack.ears import Asker, Ears
from bot.platforms.slack.files import Uploads
from bot.platforms.slack.people import People
from bot.talk import File, Gone, Limits, Message, Place, Unreachable
from engines.words import Refusal, Words

if TYPE_CHECKING:
    from bot.desk import Desk

log = logging.getLogger(__name__)

API = "https://slack.com/api/"
EVENT = "defect_studio"  # the type of our messages' metadata
SKEW = 300.0  # seconds that our clock and Slack's may differ
PAGES = 20  # of history at most, 100 messages each
REFUSED_PICTURES = (0.5, 1.0, 2.0)  # seconds between tries when Slack does not know a picture yet
CLOSING = 2.0  # seconds for saying goodbye to the socket

CARRIES = Limits(file_bytes=100 * 2**20, files=10, message_bytes=1000 * 2**20, edit_every=3.0, text=3000)


class Slack:
    """One workspace. Messages' ids are `channel:ts`."""

    name = "slack"

    def __init__(
        self,
        bot_token: str,
        app_token: str,
        *,
        api_base: str = "",
        admins: Iterable[str] = (),
        models: Callable[[str], list[str]] = lambda command: [],
        ping: float = 10.0,
    ) -> None:
        """`admins`: ids of people and user groups. `models` gives the names for a
        command's model. `ping`: seconds between looks at the socket, and before a lost one is opened again."""
        self.api = Api(bot_token, api_base or API)
        self.people = People(self.api, admins)
        self.team = self.bot_user = ""
        self._bot_token, self._app_token, self._ping = bot_token, app_token, ping
        self._uploads = Uploads(self.api)
        self._members: set[str] = set()  # channels we surely are in
        self._bot_id = ""
        self.models = models
        self._connected = asyncio.Event()

    # Connecting.

    async def serve(self, desk: Desk) -> None:
        """Listen until cancelled. Raises `Refusal` for tokens that Slack does not know."""
        self.api.open()
        try:
            await self._introduce()
            ears = Ears(self, desk)
            app = self._app()
            ears.listen(app)
            await self._listen(AsyncSocketModeHandler(app, self._app_token, ping_interval=self._ping), ears)
        finally:
            await self.api.close()

    async def _listen(self, handler: AsyncSocketModeHandler, ears: Ears) -> None:
        try:
            await handler.connect_async()
            log.info("listening to Slack workspace %s", self.team)
            self._connected.set()
            await asyncio.Event().wait()
        finally:
            self._connected.clear()
            await _close(handler)
            await ears.stop()

    async def _introduce(self) -> None:
        """Learn who we are, and that both tokens are right, before anything is promised. Waits for Slack."""
        pause = 1.0
        while True:
            try:
                me = await self.api.call(self.api.client.auth_test)
                await self.api.call(self.api.client.apps_connections_open, app_token=self._app_token)
            except Denied as no:
                raise Refusal(_WRONG_TOKEN(error=no.error)) from None
            except (Unreachable, Gone) as error:
                if str(error).split(": ")[-1] in WRONG:
                    raise Refusal(_WRONG_TOKEN(error=str(error))) from None
                log.warning("Slack does not answer yet: %s", error)
                await asyncio.sleep(max(pause, getattr(error, "retry_after", 0.0)))
                pause = min(pause * 2, 30.0)
            else:
                self.team, self.bot_user, self._bot_id = me["team_id"], me["user_id"], me.get("bot_id", "")
                return

    def _app(self) -> AsyncApp:
        """A bolt app that asks the Web API nothing of its own: acknowledging must not wait for it."""
        me = AuthorizeResult(
            enterprise_id=None,
            team_id=self.team,
            bot_token=self._bot_token,
            bot_id=self._bot_id,
            bot_user_id=self.bot_user,
        )

        async def authorize() -> AuthorizeResult:
            return me

        logger = logging.getLogger("slack_bolt")
        logger.setLevel(
            logging.ERROR
        )  # it warns of the token in the environment, which is where ours belongs
        return AsyncApp(
            name="defect-studio",
            client=self.api.bare_client(),
            authorize=authorize,
            request_verification_enabled=False,  # a socket of our own needs no signatures
            logger=logger,
        )

    # The Platform protocol.

    def limits(self, place: Place) -> Limits:
        return CARRIES

    async def post(self, place: Place, message: Message, key: str) -> str:
        await self.api.turn(place.channel)

        async def say(text: str, drawn: list[blocks.Block]) -> dict[str, Any]:
            return await self.api.call(
                self.api.client.chat_postMessage,
                channel=place.channel,
                thread_ts=place.thread or None,
                text=text,
                blocks=drawn,
                metadata={"event_type": EVENT, "event_payload": {"key": key}},
                unfurl_links=False,
                unfurl_media=False,
            )

        said, aside = await self._show(message, say)
        ts = str(said["ts"])
        try:
            await self._share(aside, message, place.channel, place.thread or ts)
        except (Unreachable, Gone, Denied) as error:  # the message itself stands: it must not be said again
            log.warning("files of job %s not shared: %s", message.job, error)
        return f"{said['channel']}:{ts}"

    async def edit(self, place: Place, message_id: str, message: Message) -> None:
        if not self.api.may_edit(droppable=message.kind in ("accepted", "progress")):
            return
        channel, _, ts = message_id.rpartition(":")

        async def say(text: str, drawn: list[blocks.Block]) -> dict[str, Any]:
            return await self.api.call(
                self.api.client.chat_update, channel=channel or place.channel, ts=ts, text=text, blocks=drawn
            )

        # Files first: sharing looks before it repeats, so an edit that fails may simply be tried again.
        await self._share(_aside(message), message, channel, place.thread or ts)
        _, more = await self._show(message, say)
        await self._share(more[len(_aside(message)) :], message, channel, place.thread or ts)

    async def find(self, place: Place, key: str, since: float) -> str | None:
        client, oldest = self.api.client, f"{max(since - SKEW, 0):.6f}"
        look = {"channel": place.channel, "oldest": oldest, "limit": 100, "include_all_metadata": True}
        method = client.conversations_replies if place.thread else client.conversations_history
        look |= {"ts": place.thread} if place.thread else {}
        cursor: str | None = None
        for _ in range(PAGES):
            try:
                page = await self.api.call(method, **look, cursor=cursor)
            except Denied as no:
                raise Unreachable(f"cannot look: {no}", retry_after=60.0) from None
            for said in page.get("messages", []):
                metadata = said.get("metadata") or {}
                if (
                    metadata.get("event_type") == EVENT
                    and metadata.get("event_payload", {}).get("key") == key
                ):
                    return f"{place.channel}:{said['ts']}"
            cursor = (page.get("response_metadata") or {}).get("next_cursor")
            if not cursor:
                return None
        raise Unreachable("too many messages to look through", retry_after=60.0)

    async def delete(self, place: Place, message_id: str) -> None:
        channel, _, ts = message_id.rpartition(":")
        channel = channel or place.channel
        try:
            pictures = await self._pictures_in(channel, ts, place.thread)
            await self.api.call(self.api.client.chat_delete, channel=channel, ts=ts)
        except Gone:
            return
        except Denied as no:
            log.warning("message %s not deleted: %s", message_id, no)
            return
        for file_id in pictures:  # taking the message away leaves its pictures in Slack's store
            await self._uploads.remove(file_id)

    async def _pictures_in(self, channel: str, ts: str, thread: str) -> list[str]:
        """Ids of the pictures that a message of ours shows."""
        client = self.api.client
        look = {"channel": channel, "oldest": ts, "latest": ts, "inclusive": True, "limit": 2}
        if thread:
            page = await self.api.call(client.conversations_replies, **look, ts=thread)
        else:
            page = await self.api.call(client.conversations_history, **look)
        said = [block for m in page.get("messages", []) if m["ts"] == ts for block in m.get("blocks") or ()]
        return [block["slack_file"]["id"] for block in said if block.get("slack_file", {}).get("id")]

    # Saying things that are no job's message.

    async def tell(self, asker: Asker, answer: Message, extra: Sequence[blocks.Block] = ()) -> None:
        """The first answer: for the asker's eyes, or openly in a direct message, where nobody else reads."""
        if asker.note is not None:
            answer = replace(answer, text=f"{answer.text}\n{asker.note.of(asker.language)}")
        if not answer.text and not answer.files:
            return
        user = asker.person.id.rpartition(":")[2]
        lasting = asker.place.private and answer.kind in ("said", "refused")
        if (
            asker.response_url
            and not lasting
            and not answer.files
            and await self._respond(asker, answer, extra)
        ):
            return
        where = {"channel": asker.place.channel, "thread_ts": asker.place.thread or None}

        async def say(text: str, drawn: list[blocks.Block]) -> dict[str, Any]:
            drawn = [*drawn, *extra]
            if lasting or not answer.private:
                return await self.api.call(self.api.client.chat_postMessage, **where, text=text, blocks=drawn)
            return await self.api.call(
                self.api.client.chat_postEphemeral, **where, user=user, text=text, blocks=drawn
            )

        _, aside = await self._show(answer, say)
        if aside:  # a whisper cannot hold them: by direct message then
            opened = await self.api.call(self.api.client.conversations_open, users=user)
            await self._share(aside, answer, opened["channel"]["id"], "")

    async def _respond(self, asker: Asker, answer: Message, extra: Sequence[blocks.Block]) -> bool:
        """Through the address Slack lent us: works even where the bot is no member. False if it did not work."""
        text = blocks.text_of(answer)
        body = {
            "response_type": "ephemeral",
            "replace_original": False,
            "text": text,
            "blocks": [*blocks.blocks_of(answer, text), *extra],
        }
        if not self.api.is_hook(asker.response_url):
            return False
        try:
            async with self.api.session.post(asker.response_url, json=body, allow_redirects=False) as said:
                return said.status == 200
        except (aiohttp.ClientError, TimeoutError, OSError, Unreachable):
            return False

    async def place_for(self, user: str, place: Place) -> tuple[Place, Words | None]:
        """`place`, or the direct message with `user` where we could not answer, with a sentence about it."""
        if place.channel in self._members:
            return place, None
        client = self.api.client
        try:
            await self.api.call(client.conversations_history, channel=place.channel, limit=1)
        except (Gone, Denied):
            opened = await self.api.call(client.conversations_open, users=user)
            return Place("slack", opened["channel"]["id"], "", place.guild, True), _NOT_IN
        except Unreachable:
            return place, None
        self.reachable(place.channel)
        return place, None

    def reachable(self, channel: str) -> None:
        self._members.add(channel)

    # Drawing.

    async def _show(self, message: Message, say: Callable[..., Any]) -> tuple[dict[str, Any], list[File]]:
        """Say it with its pictures in it; what could not be shown in it is handed back, to be shared beside it."""
        mention = message.mention.rpartition(":")[2] if message.mention.startswith("slack:") else ""
        text = blocks.text_of(message, mention)
        shown = [file for file in message.files if blocks.is_shown(file)]
        for pause in (*REFUSED_PICTURES, None):
            pictures = [(await self._uploads.picture(file), file) for file in shown]
            try:
                return await say(text, blocks.blocks_of(message, text, pictures)), _aside(message)
            except Denied as no:
                if no.error != "invalid_blocks" or not shown:
                    raise Unreachable(str(no), retry_after=60.0) from None
                log.info("Slack does not take the pictures of job %s yet: %s", message.job, no)
                if pause is not None:
                    await asyncio.sleep(pause)
        for file in shown:
            self._uploads.forget(file)
        try:
            return await say(text, blocks.blocks_of(message, text)), [*_aside(message), *shown]
        except Denied as no:
            raise Unreachable(str(no), retry_after=60.0) from None

    async def _share(self, files: Sequence[File], message: Message, channel: str, thread: str) -> None:
        for file in files:
            await self._uploads.share(file, f"{file.name} (#{message.job})", channel, thread)


def _aside(message: Message) -> list[File]:
    """What an image block cannot show."""
    return [file for file in message.files if not blocks.is_shown(file)]


async def _close(handler: AsyncSocketModeHandler) -> None:
    """Close the socket without waiting for a server that does not answer, and leave no task behind."""
    client = handler.client
    tasks = [client.message_processor, client.current_session_monitor, client.message_receiver]
    try:
        async with asyncio.timeout(CLOSING):
            await handler.close_async()
    except (TimeoutError, aiohttp.ClientError, OSError, SlackApiError):
        await client.aiohttp_client_session.close()
    running = [task for task in tasks if task is not None]
    for task in running:
        task.cancel()
    await asyncio.gather(*running, return_exceptions=True)


WRONG = frozenset(
    {
        "invalid_auth",
        "not_authed",
        "account_inactive",
        "token_revoked",
        "token_expired",
        "not_allowed_token_type",
    }
)
_WRONG_TOKEN = Words(
    "Slack does not accept the tokens ({error}). `[slack] bot_token` begins with xoxb-, `app_token` with xapp-; "
    "both are on the app's page at api.slack.com/apps.",
    "Slack이 토큰을 받아들이지 않습니다({error}). `[slack] bot_token`은 xoxb-로, `app_token`은 xapp-로 시작하며, "
    "둘 다 api.slack.com/apps 의 앱 페이지에 있습니다.",
)
_NOT_IN = Words(
    "I am not in that channel, so the answer comes here as a direct message. `/invite` me to have it there.",
    "제가 그 채널에 없어 답을 다이렉트 메시지로 보내 드립니다. 채널에서 받으시려면 `/invite` 로 저를 초대해 주십시오.",
)
