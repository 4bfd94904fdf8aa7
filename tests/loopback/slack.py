"""A thin Slack of our own: Web API, Socket Mode, uploads and downloads on 127.0.0.1, with a book to look into.

`async with SlackServer() as slack:` then point the bot at `slack.api_base`. People act through `slash`,
`mention`, `direct`, `shortcut`, `press` and `submit`, which wait for the acknowledgement and time it. Faults:
`slack.faults` (a list) or `slack.chaos` (a function). Anything Slack would refuse by its documented limits is
kept in `slack.complaints`, and leaving the `async with` raises them.
"""

from __future__ import annotations

import asyncio
import itertools
import time
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, Self

from aiohttp import web

from . import slack_payloads as payloads
from .slack_api import Error
from .slack_http import Http

# What goes wrong: `500`, `429` and `lost` before anything is done; `dropped` (the connection) and `500-after`
# when it was done all the same.
What = Literal["500", "429", "lost", "dropped", "500-after", "refused"]


@dataclass
class Fault:
    method: str  # `chat.postMessage`, `upload`, `download`, `response_url`, or `*`
    what: What
    times: int = 1
    retry_after: int = 1
    error: str = "fatal_error"  # for `refused`: the word Slack says


@dataclass(frozen=True)
class Ack:
    seconds: float
    payload: dict[str, Any] | None  # what the bot answered with, e.g. `response_action`


@dataclass
class SlackServer:
    bot_token: str = "xoxb-loopback"
    app_token: str = "xapp-loopback"
    team: str = "T0FACTORY"
    bot: str = "U0STUDIO"
    file_delay: float = 0.0  # seconds that Slack processes an upload
    trigger_life: float = 3.0
    page: int = 100  # messages in one page of history, at most
    scopes: str = ""  # told by auth.test's header
    can_read_files: bool = True  # without files:read a download is a login page
    chaos: Callable[[str], What | None] = lambda method: None
    port: int = 0

    faults: list[Fault] = field(default_factory=list)
    went_wrong: Counter[What] = field(default_factory=Counter)
    complaints: list[str] = field(default_factory=list)
    calls: list[tuple[float, str, dict[str, Any]]] = field(default_factory=list)
    channels: dict[str, list[dict[str, Any]]] = field(default_factory=dict)
    ephemerals: list[dict[str, Any]] = field(default_factory=list)
    files: dict[str, dict[str, Any]] = field(default_factory=dict)
    views: dict[str, dict[str, Any]] = field(default_factory=dict)
    triggers: dict[str, float] = field(default_factory=dict)
    members: set[str] = field(default_factory=lambda: {"C0FLOOR"})
    archived: set[str] = field(default_factory=set)
    people: dict[str, tuple[str, str]] = field(default_factory=dict)  # id → name, locale
    groups: dict[str, list[str]] = field(default_factory=dict)

    async def __aenter__(self) -> Self:
        self._ids, self._last_ts = itertools.count(1), 0.0
        self._http = Http(self)
        self.port = await self._http.start(self.port)
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._http.stop()
        assert not self.complaints, "\n".join(self.complaints)

    @property
    def root(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    @property
    def api_base(self) -> str:
        return f"{self.root}/api/"

    @property
    def sockets(self) -> list[web.WebSocketResponse]:
        """The bot's open sockets, oldest first."""
        return self._http.sockets

    # The book.

    def new_id(self, letter: str) -> str:
        return f"{letter}0LOOP{next(self._ids):06d}"

    def next_ts(self) -> str:
        self._last_ts = max(time.time(), self._last_ts + 0.000002)
        return f"{self._last_ts:.6f}"

    def complain(self, *wrong: str) -> None:
        if wrong:
            self.complaints += wrong
            raise Error("invalid_blocks", errors=list(wrong))

    def is_processed(self, file: dict[str, Any]) -> bool:
        return file["done"] is not None and time.monotonic() - file["done"] >= self.file_delay

    def file_object(self, id: str) -> dict[str, Any]:
        """As events and view_submissions carry it."""
        file = self.files[id]
        url = file.get("url", f"{self.root}/files/{id}/{file['name']}")
        return payloads.file_object(file, url, self.team, self.bot, self.is_processed(file))

    def put_file(self, name: str, data: bytes, **more: Any) -> str:
        """A file that a person uploaded. `url=` for one that lies elsewhere."""
        id = self.new_id("F")
        self.files[id] = {"id": id, "name": name, "size": len(data), "data": data, "done": -1e9, **more}
        return id

    def messages(self, channel: str = "C0FLOOR") -> list[dict[str, Any]]:
        """What the bot says in a channel and its threads, in order; files shared beside it left out."""
        return [m for m in self.channels.get(channel, []) if m.get("bot_id")]

    def called(self, method: str) -> list[dict[str, Any]]:
        return [args for _, name, args in self.calls if name == method]

    def next_fault(self, method: str) -> Fault | None:
        """What goes wrong with this call."""
        for fault in self.faults:
            if fault.method in (method, "*") and fault.times > 0:
                fault.times -= 1
                self.went_wrong[fault.what] += 1
                return fault
        if what := self.chaos(method):
            self.went_wrong[what] += 1
            return Fault(method, what)
        return None

    async def until(self, condition: Callable[[], Any], seconds: float = 10.0) -> Any:
        """Wait until it is true of the book, and return what it gave."""
        end = time.monotonic() + seconds
        while not (found := condition()):
            if time.monotonic() > end:
                raise AssertionError(f"not within {seconds} s; complaints: {self.complaints}")
            await asyncio.sleep(0.01)
        return found

    # What people do. Each returns the acknowledgement; `deliveries=2` says it twice.

    async def slash(self, text: str, *, user: str = "U0KIM", channel: str = "C0FLOOR", **how: Any) -> Ack:
        return await self.send("slash_commands", payloads.slash(self._common(user, channel), text), **how)

    async def mention(self, text: str, files: Sequence[str] = (), **how: Any) -> Ack:
        return await self._say("app_mention", f"<@{self.bot}> {payloads.escaped(text)}", files, {}, **how)

    async def direct(self, text: str, files: Sequence[str] = (), *, user: str = "U0KIM", **how: Any) -> Ack:
        more = {"channel_type": "im"} | ({"subtype": "file_share"} if files else {})
        how = {"user": user, "channel": f"D{user[1:]}", **how}
        return await self._say("message", payloads.escaped(text), files, more, **how)

    async def press(
        self,
        message: dict[str, Any],
        label: str,
        *,
        user: str = "U0KIM",
        channel: str = "C0FLOOR",
        **how: Any,
    ) -> Ack:
        """Press the button whose label starts so."""
        pressed = payloads.pressed(self._common(user, channel), message, label, self.next_ts())
        return await self.send("interactive", pressed, **how)

    async def shortcut(
        self,
        callback: str,
        message: dict[str, Any],
        *,
        user: str = "U0KIM",
        channel: str = "C0FLOOR",
        **how: Any,
    ) -> Ack:
        """Choose an entry of a message's menu."""
        more = {
            "type": "message_action",
            "callback_id": callback,
            "message_ts": message["ts"],
            "message": message,
        }
        return await self.send("interactive", self._common(user, channel) | more, **how)

    async def submit(self, view_id: str, *, user: str = "U0KIM", **values: Any) -> Ack:
        """Fill a modal in and submit it. Texts and numbers as they are typed, `True` ticks, lists are file ids;
        `__` stands for a dot in a block's name."""
        said = {k.replace("__", "."): v for k, v in values.items()}
        files = {id: self.file_object(id) for id in self.files}
        view = self.views[view_id]
        ack = await self.send("interactive", payloads.submission(self._common(user, ""), view, said, files))
        if not ack.payload or ack.payload.get("response_action") == "clear":
            self.views.pop(view_id, None)
        return ack

    async def refresh(self) -> None:
        """Tell the bot to open a new socket, as Slack does every few hours."""
        told = {"type": "disconnect", "reason": "refresh_requested", "debug_info": {}}
        await self.sockets[-1].send_json(told)

    async def send(
        self, kind: str, payload: dict[str, Any], *, deliveries: int = 1, wait: float = 5.0
    ) -> Ack:
        """One envelope, or the same payload again as Slack does when it thinks it was not heard."""
        acks = []
        for attempt in range(deliveries):
            envelope: dict[str, Any] = {"envelope_id": self.new_id("e"), "type": kind, "payload": payload}
            envelope |= {"accepts_response_payload": kind != "events_api"}
            envelope |= {"retry_attempt": attempt, "retry_reason": "timeout"} if attempt else {}
            acks.append(Ack(*await self._http.deliver(envelope, wait)))
        return acks[0]

    async def _say(
        self,
        kind: str,
        text: str,
        files: Sequence[str],
        more: dict[str, Any],
        *,
        user: str = "U0KIM",
        channel: str = "C0FLOOR",
        thread: str = "",
        **how: Any,
    ) -> Ack:
        """A message that stands in the channel, and the event about it."""
        self.members.add(channel)
        ts = self.next_ts()
        event: dict[str, Any] = {"user": user, "text": text, "ts": ts, "team": self.team}
        event |= {"files": [self.file_object(id) for id in files]} if files else {}
        event |= {"thread_ts": thread} if thread else {}
        self.channels.setdefault(channel, []).append(event | {"type": "message"})
        event |= {"type": kind, "event_ts": ts, "channel": channel, **more}
        told = payloads.callback(event, self.team, self.bot, self.new_id("Ev"))
        return await self.send("events_api", told, **how)

    def _common(self, user: str, channel: str) -> dict[str, Any]:
        trigger = f"{next(self._ids)}.{self.team}.loop"
        self.triggers[trigger] = time.monotonic()
        name = self.people.get(user, (user.lower(), ""))[0]
        return payloads.interaction(self.team, user, name, channel, trigger, self.root)
