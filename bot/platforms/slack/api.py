"""The one door to Slack's Web API: its errors become ours, and its rates are kept."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable
from typing import Any, TypeVar
from urllib.parse import urlsplit

import aiohttp
from slack_sdk.errors import SlackApiError
from slack_sdk.web.async_client import AsyncWebClient
from slack_sdk.web.async_slack_response import AsyncSlackResponse

from bot.talk import Gone, Unreachable

log = logging.getLogger(__name__)

T = TypeVar("T")
Method = Callable[..., Awaitable[AsyncSlackResponse]]

API = "https://slack.com/api/"
TIMEOUT = 30.0  # seconds for one call
PER_MINUTE = 45  # chat.update: Slack's tier 3 is 50 a minute for the workspace, all jobs together
SPARE = 15  # of which progress edits never take the last ones: answers must always get through
PER_POST = 1.05  # seconds between two posts in one channel

CLOSED = frozenset({
    "channel_not_found",
    "is_archived",
    "not_in_channel",
    "message_not_found",
    "thread_not_found",
    "cant_update_message",
    "edit_window_closed",
    "user_not_found",
    "user_not_in_channel",
    "cannot_dm_bot",
    "restricted_action",
    "is_inactive",
})  # fmt: skip
UNSURE = frozenset({"internal_error", "fatal_error", "request_timeout", "service_unavailable"})
OURS = frozenset({
    "missing_scope",
    "not_authed",
    "invalid_auth",
    "account_inactive",
    "token_revoked",
    "token_expired",
    "not_allowed_token_type",
    "accesslimited",
    "org_login_required",
})  # fmt: skip


class Denied(Exception):
    """Slack understood and said no: `error` is its word for it (`invalid_blocks`, `expired_trigger_id`, …).
    Nothing was done, and the same call will be refused again."""

    def __init__(self, error: str, detail: str = "") -> None:
        super().__init__(f"{error} {detail}".strip())
        self.error = error


class Unwelcome(Unreachable):
    """Slack refuses our token or a scope (`error`): nothing gets better until somebody mends the app."""

    def __init__(self, method: str, error: str, scope: str = "") -> None:
        super().__init__(f"{method}: {error} {scope}".strip(), retry_after=60.0)
        self.error = error


class Api:
    """Calls with the bot's token. `open()` inside the running loop, `close()` at the end."""

    def __init__(self, token: str, base: str, *, clock: Callable[[], float] = time.monotonic) -> None:
        self._token, self._base, self._clock = token, base, clock
        self._session: aiohttp.ClientSession | None = None
        self._client: AsyncWebClient | None = None
        self._edits = Bucket(PER_MINUTE, clock)
        self._free_at: dict[str, float] = {}  # channel → when the next post may go out
        self._held_until: dict[str, float] = {}  # method → until when Slack told us to wait

    def open(self) -> None:
        self._session = aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=TIMEOUT))
        # No retry handlers: the library repeats a call whose connection broke, and a chat.postMessage that was
        # carried out and then lost its answer would be said twice. Repeating is the outbox's business.
        self._client = AsyncWebClient(
            self._token, self._base, session=self._session, retry_handlers=[], logger=log
        )

    async def close(self) -> None:
        session, self._session, self._client = self._session, None, None
        if session is not None:
            await session.close()

    @property
    def client(self) -> AsyncWebClient:
        if self._client is None:
            raise Unreachable("not connected to Slack", retry_after=1.0)
        return self._client

    def bare_client(self) -> AsyncWebClient:
        """A client without a token, for the library's own use."""
        return AsyncWebClient(None, self._base, session=self.session, retry_handlers=[], logger=log)

    def is_theirs(self, url: str) -> bool:
        """Whether `url` is Slack's own file host (or the configured test server): nothing else is fetched,
        and nobody else ever sees the token."""
        asked, home = urlsplit(url), urlsplit(self._base)
        if (home.hostname or "").endswith("slack.com"):
            return (asked.scheme, asked.hostname, asked.port) == ("https", "files.slack.com", None)
        return (asked.scheme, asked.netloc) == (home.scheme, home.netloc)

    def is_hook(self, url: str) -> bool:
        """Whether `url` is an address for answers that Slack hands out."""
        asked = urlsplit(url)
        return (asked.scheme, asked.hostname) == ("https", "hooks.slack.com") or self.is_theirs(url)

    @property
    def bearer(self) -> dict[str, str]:
        """The header for files. Only for an address that `is_theirs`."""
        return {"Authorization": f"Bearer {self._token}"}

    @property
    def session(self) -> aiohttp.ClientSession:
        if self._session is None:
            raise Unreachable("not connected to Slack", retry_after=1.0)
        return self._session

    async def call(self, method: Method, **arguments: Any) -> dict[str, Any]:
        """One call, once. Raises `Gone`, `Unreachable` or `Denied`."""
        name = getattr(method, "__name__", "call")
        wait = self._held_until.get(name, 0.0) - self._clock()
        if wait > 0:
            raise Unreachable(f"{name} is rate limited", retry_after=wait)
        try:
            answer = await method(**arguments)
        except SlackApiError as error:
            raise self._meaning(name, error) from None
        except (aiohttp.ClientConnectorError, aiohttp.InvalidURL) as error:
            raise Unreachable(f"{name}: {error}") from None
        except (aiohttp.ClientError, TimeoutError, OSError) as error:
            raise Unreachable(f"{name}: {type(error).__name__} {error}", uncertain=True) from None
        data: dict[str, Any] = answer.data if isinstance(answer.data, dict) else {}
        return data

    def _meaning(self, name: str, error: SlackApiError) -> Exception:
        answer = error.response
        status = getattr(answer, "status_code", 0) or getattr(answer, "status", 0)
        data = getattr(answer, "data", None)
        word = str(data.get("error", "")) if isinstance(data, dict) else ""
        if status == 429 or word in ("ratelimited", "rate_limited"):
            wait = _seconds(getattr(answer, "headers", {}))
            self._held_until[name] = self._clock() + wait
            return Unreachable(f"{name} is rate limited", retry_after=wait)
        if status >= 500 or word in UNSURE or not word:
            return Unreachable(f"{name}: HTTP {status} {word}", uncertain=True)
        if word in CLOSED:
            return Gone(f"{name}: {word}")
        if word in OURS:
            scope = str(data.get("needed", "")) if isinstance(data, dict) else ""
            log.error("Slack refuses %s: %s %s; `defect-studio doctor` tells the mend", name, word, scope)
            return Unwelcome(name, word, scope)
        return Denied(word, str(data.get("errors", "")) if isinstance(data, dict) else "")

    async def turn(self, channel: str) -> None:
        """Wait until a post in `channel` is due: about one a second."""
        now = self._clock()
        mine = max(now, self._free_at.get(channel, 0.0))
        self._free_at[channel] = mine + PER_POST
        if len(self._free_at) > 500:
            self._free_at = {c: t for c, t in self._free_at.items() if t > now}
        if mine > now:
            await asyncio.sleep(mine - now)

    def take_edit(self, *, droppable: bool) -> None:
        """Take one chat.update from the workspace's budget. A progress edit gets `Unreachable` when the budget
        runs short; an answer never does, and what it takes too much the next progress edits give back."""
        wait = self._edits.take(SPARE if droppable else -PER_MINUTE)
        if wait > 0:
            raise Unreachable("the budget for edits is used up", retry_after=wait)


async def patiently(act: Callable[[], Awaitable[T]], tries: int = 4) -> T:
    """Do what does no harm when it is done twice, again when Slack does not answer."""
    for tried in range(1, tries):
        try:
            return await act()
        except Unwelcome:
            raise
        except Unreachable as error:
            log.info("again in a moment: %s", error)
            await asyncio.sleep(min(max(error.retry_after, 0.3 * tried), 30.0))
    return await act()


class Bucket:
    """So many a minute, refilled evenly."""

    def __init__(self, per_minute: int, clock: Callable[[], float]) -> None:
        self._most, self._clock = float(per_minute), clock
        self._left, self._at = float(per_minute), clock()

    def take(self, keep: float) -> float:
        """Take one if `keep` are left after it (`keep` < 0: go into debt); else the seconds until one may."""
        now, each = self._clock(), 60 / self._most
        self._left = min(self._most, self._left + (now - self._at) / each)
        self._at = now
        if self._left - 1 < keep:
            return (keep + 1 - self._left) * each
        self._left -= 1
        return 0.0


def _seconds(headers: Any) -> float:
    try:
        return max(float(headers.get("Retry-After", 5)), 0.1)
    except (TypeError, ValueError):
        return 5.0
