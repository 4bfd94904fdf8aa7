"""Slack, as the rest of the studio sees it: a `Platform` on slack_bolt over Socket Mode."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from typing import TYPE_CHECKING, Any

import aiohttp
from slack_bolt.adapter.socket_mode.aiohttp import AsyncSocketModeHandler
from slack_bolt.app.async_app import AsyncApp
from slack_bolt.authorization import AuthorizeResult
from slack_sdk.errors import SlackApiError

from bot.platforms.slack import blocks
from bot.platforms.slack.api import API, Api, Denied, Unwelcome
from bot.platforms.slack.ears import Ears
from bot.platforms.slack.mouth import Mouth, aside
from bot.platforms.slack.people import People
from bot.talk import Gone, Limits, Message, Place, Unreachable
from engines.words import Refusal, Words

if TYPE_CHECKING:
    from bot.desk import Desk

log = logging.getLogger(__name__)

EVENT = "defect_studio"  # the type of our messages' metadata
SKEW = 300.0  # seconds that our clock and Slack's may differ
PAGES = 20  # of history at most, 100 messages each
CLOSING = 2.0  # seconds for saying goodbye to the socket

CARRIES = Limits(file_bytes=100 * 2**20, files=10, message_bytes=1000 * 2**20, edit_every=3.0, text=3000)


class Slack:
    """One workspace. Messages' ids are `channel:ts:thread`."""

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
        groups: Iterable[str] = (),
    ) -> None:
        """`admins`: ids of people and user groups; `groups`: of groups that are roles. `models` gives the names for a
        command's model. `ping`: seconds between looks at the socket, and before a lost one is opened again."""
        self.api = Api(bot_token, api_base or API)
        self.people = People(self.api, admins, groups)
        self.team = self.bot_user = ""
        self._bot_token, self._app_token, self._ping = bot_token, app_token, ping
        self.mouth = Mouth(self.api)
        self._members: set[str] = set()  # channels we surely are in
        self._bot_id = ""
        self.models = models

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
            await asyncio.Event().wait()
        finally:
            await _close(handler)
            await ears.errands.stop()

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
                if isinstance(error, Unwelcome):
                    raise Refusal(_WRONG_TOKEN(error=error.error)) from None
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
        # it would warn of a token in the environment, which is where ours belongs
        logger.setLevel(logging.ERROR)
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
        try:
            return await self._post(place.channel, place.thread, message, key)
        except Gone as gone:
            if not place.thread or "thread_not_found" not in str(gone):
                raise
        # the message that asked was taken away: the answer stands in the channel then
        return await self._post(place.channel, "", message, key)

    async def _post(self, channel: str, thread: str, message: Message, key: str) -> str:
        async def say(text: str, drawn: list[blocks.Block]) -> dict[str, Any]:
            return await self.api.call(
                self.api.client.chat_postMessage,
                channel=channel,
                thread_ts=thread or None,
                text=text,
                blocks=drawn,
                metadata={"event_type": EVENT, "event_payload": {"key": key}},
                unfurl_links=False,
                unfurl_media=False,
            )

        said, left = await self.mouth.show(message, say)
        try:
            await self.mouth.share(left, message.job, channel, thread or said["ts"])
        except (Unreachable, Gone, Denied) as error:  # the message itself stands: it must not be said again
            log.warning("files of job %s not shared: %s", message.job, error)
        return f"{said['channel']}:{said['ts']}:{thread}"

    async def edit(self, place: Place, message_id: str, message: Message) -> None:
        self.api.take_edit(droppable=message.kind in ("accepted", "progress"))
        channel, ts, thread = message_id.split(":")

        async def say(text: str, drawn: list[blocks.Block]) -> dict[str, Any]:
            return await self.api.call(
                self.api.client.chat_update, channel=channel, ts=ts, text=text, blocks=drawn
            )

        # Files first: sharing looks before it repeats, so an edit that fails may simply be tried again.
        beside = aside(message)
        await self.mouth.share(beside, message.job, channel, thread or ts)
        _, left = await self.mouth.show(message, say)
        await self.mouth.share(left[len(beside) :], message.job, channel, thread or ts)

    async def find(self, place: Place, key: str, since: float) -> str | None:
        found = None
        if place.thread:
            with suppress(Gone):  # the thread: the answer may stand in the channel
                found = await self._look(place.channel, place.thread, key, since)
        return found or await self._look(place.channel, "", key, since)

    async def _look(self, channel: str, thread: str, key: str, since: float) -> str | None:
        client = self.api.client
        look: dict[str, Any] = {"channel": channel, "oldest": f"{max(since - SKEW, 0):.6f}", "limit": 100}
        method = client.conversations_replies if thread else client.conversations_history
        look |= {"include_all_metadata": True} | ({"ts": thread} if thread else {})
        for _ in range(PAGES):
            try:
                page = await self.api.call(method, **look)
            except Denied as no:
                raise Unreachable(f"cannot look: {no}", retry_after=60.0) from None
            for said in page.get("messages", []):
                if _key(said) == key:
                    return f"{channel}:{said['ts']}:{thread}"
            look["cursor"] = (page.get("response_metadata") or {}).get("next_cursor")
            if not look["cursor"]:
                return None
        raise Unreachable("too many messages to look through", retry_after=60.0)

    async def delete(self, place: Place, message_id: str) -> None:
        channel, ts, thread = message_id.split(":")
        try:
            pictures = await self._pictures_in(channel, ts, thread)
            await self.api.call(self.api.client.chat_delete, channel=channel, ts=ts)
        except Gone:
            return
        except Denied as no:
            log.warning("message %s not deleted: %s", message_id, no)
            return
        for file_id in pictures:  # taking the message away leaves its pictures in Slack's store
            await self.mouth.uploads.remove(file_id)

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

    # Where one can answer.

    async def place_for(self, user: str, place: Place) -> tuple[Place, Words | None]:
        """`place`, or the direct message with `user` where we could not answer, with a sentence about it.

        Asked before anything is promised: a slash command works in channels where the bot is no member.
        """
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
        """We were spoken to from there, or could look into it."""
        self._members.add(channel)


def _key(said: Mapping[str, Any]) -> str | None:
    """The key with which a message of ours was posted."""
    metadata = said.get("metadata") or {}
    found = metadata.get("event_payload", {}).get("key") if metadata.get("event_type") == EVENT else None
    return str(found) if found else None


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
