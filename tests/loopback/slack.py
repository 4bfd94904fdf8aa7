"""A thin Slack of our own: Web API, Socket Mode, uploads and downloads on 127.0.0.1, with a book to look into.

`async with SlackServer() as slack:` then point the bot at `slack.api_base`. People act through `slash`,
`mention`, `direct`, `shortcut`, `press` and `submit`, which wait for the acknowledgement and time it. Faults:
`slack.faults` (a list) or `slack.chaos` (a function). Anything Slack would refuse by its documented limits is
kept in `slack.complaints`, and leaving the `async with` raises them.
"""

from __future__ import annotations

import asyncio
import itertools
import json
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, Self

from aiohttp import WSMsgType, web

from tests.loopback.slack_api import Error, arguments, methods
from tests.loopback.slack_kit import number_fits

# What goes wrong: `500`, `429` and `lost` before anything is done; `dropped` (the connection) and `500-after`
# when it was done all the same.
What = Literal["500", "429", "lost", "dropped", "500-after", "refused"]
LOGIN_PAGE = "<!DOCTYPE html><html><head><title>Sign in to Slack</title></head><body>Sign in</body></html>"


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
    sockets: list[web.WebSocketResponse] = field(default_factory=list)

    async def __aenter__(self) -> Self:
        self._ids, self._last_ts = itertools.count(1), 0.0
        self._acks: dict[str, asyncio.Future[dict[str, Any] | None]] = {}
        self._unacked: dict[str, dict[str, Any]] = {}
        self._methods = methods(self)
        app = web.Application(client_max_size=200 * 2**20)
        app.router.add_route("*", "/api/{method}", self._call)
        app.router.add_get("/socket", self._socket)
        app.router.add_post("/upload/{id}", self._upload)
        app.router.add_get("/files/{id}/{name}", self._download)
        app.router.add_post("/respond/{channel}/{user}", self._respond)
        self._runner = web.AppRunner(app, shutdown_timeout=0.2)
        await self._runner.setup()
        site = web.TCPSite(self._runner, "127.0.0.1", self.port)
        await site.start()
        self.port = self._runner.addresses[0][1]
        return self

    async def __aexit__(self, *_: object) -> None:
        for socket in list(self.sockets):
            await socket.close()
        await self._runner.cleanup()
        assert not self.complaints, "\n".join(self.complaints)

    @property
    def root(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    @property
    def api_base(self) -> str:
        return f"{self.root}/api/"

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
        """A full file object, as events and view_submissions carry it."""
        file = self.files[id]
        kind = Path(file["name"]).suffix.lstrip(".").lower()
        url = f"{self.root}/files/{id}/{file['name']}"
        done = self.is_processed(file)
        return {
            "id": id,
            "created": int(time.time()),
            "timestamp": int(time.time()),
            "name": file["name"],
            "title": file.get("title") or file["name"],
            "mimetype": f"image/{kind}" if done else "",
            "filetype": kind if done else "",
            "user": file.get("user", self.bot),
            "user_team": self.team,
            "mode": "hosted",
            "editable": False,
            "is_external": False,
            "external_type": "",
            "file_access": "visible",
            "size": file["size"],
            "is_public": False,
            "url_private": file.get("url", url),
            "url_private_download": file.get("url", url),
        }

    def put_file(self, name: str, data: bytes, **more: Any) -> str:
        """A file that a person uploaded. `url=` for one that lies elsewhere."""
        id = self.new_id("F")
        self.files[id] = {"id": id, "name": name, "size": len(data), "data": data, "done": -1e9, **more}
        return id

    def messages(self, channel: str = "C0FLOOR", key: str = "") -> list[dict[str, Any]]:
        """Messages of the bot in a channel, in order; only those posted with `key` where it is given."""
        said = [m for m in self.channels.get(channel, []) if m.get("bot_id")]
        posted = [c for _, name, c in self.calls if name == "chat.postMessage" and c.get("metadata")]
        if not key:
            return said
        assert any(c["metadata"]["event_payload"].get("key") == key for c in posted), f"never posted: {key}"
        return [m for m in said if (m.get("metadata") or {}).get("event_payload", {}).get("key") == key]

    def called(self, method: str) -> list[dict[str, Any]]:
        return [args for _, name, args in self.calls if name == method]

    async def until(self, condition: Callable[[], Any], seconds: float = 10.0) -> Any:
        """Wait until it is true of the book, and return what it gave."""
        end = time.monotonic() + seconds
        while not (found := condition()):
            if time.monotonic() > end:
                raise AssertionError(f"not within {seconds} s; complaints: {self.complaints}")
            await asyncio.sleep(0.01)
        return found

    # What people do. Each returns the acknowledgement.

    async def slash(self, text: str, *, user: str = "U0KIM", channel: str = "C0FLOOR", **how: Any) -> Ack:
        payload = self._interaction(user, channel) | {
            "command": "/studio",
            "text": _escaped(text),
            "api_app_id": "A0",
        }
        flat = {"team_id": self.team, "user_id": user, "user_name": self._name(user), "channel_id": channel}
        payload = {k: v for k, v in payload.items() if k not in ("user", "channel", "team")}
        return await self._send("slash_commands", payload | flat, **how)

    async def mention(
        self, text: str, files: Sequence[str] = (), *, channel: str = "C0FLOOR", **how: Any
    ) -> Ack:
        self.members.add(channel)
        return await self._event(
            "app_mention", f"<@{self.bot}> {_escaped(text)}", files, channel=channel, **how
        )

    async def direct(self, text: str, files: Sequence[str] = (), *, user: str = "U0KIM", **how: Any) -> Ack:
        channel = f"D{user[1:]}"
        self.members.add(channel)
        subtype = {"subtype": "file_share"} if files else {}
        more = {"channel_type": "im", **subtype}
        return await self._event(
            "message", _escaped(text), files, user=user, channel=channel, more=more, **how
        )

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
        buttons = [e for b in message.get("blocks", []) if b["type"] == "actions" for e in b["elements"]]
        button = next((b for b in buttons if b["text"]["text"].startswith(label)), None)
        assert button is not None, f"no button {label!r} among {[b['text']['text'] for b in buttons]}"
        action = {
            "type": "button",
            "action_id": button["action_id"],
            "value": button["value"],
            "action_ts": self.next_ts(),
        }
        ts = message.get("ts", "")
        container = {"type": "message", "message_ts": ts, "channel_id": channel, "is_ephemeral": not ts}
        more = {"type": "block_actions", "actions": [action], "container": container}
        more |= {"message": message} if ts else {}
        return await self._send("interactive", self._interaction(user, channel) | more, **how)

    async def shortcut(
        self,
        callback: str,
        message: dict[str, Any],
        *,
        user: str = "U0KIM",
        channel: str = "C0FLOOR",
        **how: Any,
    ) -> Ack:
        more = {
            "type": "message_action",
            "callback_id": callback,
            "message": message,
            "message_ts": message["ts"],
        }
        return await self._send("interactive", self._interaction(user, channel) | more, **how)

    async def submit(self, view_id: str, *, user: str = "U0KIM", **values: Any) -> Ack:
        """Fill a modal in and submit it. Texts and numbers as they are typed, `True` ticks, lists are file ids;
        `__` stands for a dot in a block's name. Fails where Slack's own client would not let the person submit."""
        view = self.views[view_id]
        said = {k.replace("__", "."): v for k, v in values.items()}
        state = {
            b["block_id"]: {b["element"]["action_id"]: self._filled(b, said.pop(b["block_id"], None))}
            for b in view["blocks"]
            if b["type"] == "input"
        }
        assert not said, f"no such input: {list(said)}"
        user_part = {
            k: v
            for k, v in self._interaction(user, "").items()
            if k in ("user", "team", "trigger_id", "token", "api_app_id")
        }
        payload = user_part | {
            "type": "view_submission",
            "view": view | {"state": {"values": state}},
            "response_urls": [],
        }
        ack = await self._send("interactive", payload)
        if not ack.payload or ack.payload.get("response_action") == "clear":
            self.views.pop(view_id, None)
        return ack

    def _filled(self, block: dict[str, Any], value: Any) -> dict[str, Any]:
        element = block["element"]
        kind = element["type"]
        if kind == "file_input":
            assert value or block.get("optional"), f"{block['block_id']} needs a file"
            assert len(value or ()) <= element.get("max_files", 10)
            return {"type": kind, "files": [self.file_object(id) for id in value or ()]}
        if kind == "checkboxes":
            ticked = bool(element.get("initial_options")) if value is None else bool(value)
            return {"type": kind, "selected_options": element["options"] if ticked else []}
        if kind == "static_select":
            chosen = next(
                (o for o in element["options"] if o["value"] == value), element.get("initial_option")
            )
            return {"type": kind, "selected_option": chosen}
        text = element.get("initial_value") if value is None else str(value)
        assert text or block.get("optional"), f"{block['block_id']} is required"
        if kind == "number_input":
            assert not list(number_fits(element, text)), f"{block['block_id']}: {text}"
        return {"type": kind, "value": text or None}

    # Sending.

    def _name(self, user: str) -> str:
        return self.people.get(user, (user.lower(), ""))[0]

    def _interaction(self, user: str, channel: str) -> dict[str, Any]:
        trigger = f"{next(self._ids)}.{self.team}.loop"
        self.triggers[trigger] = time.monotonic()
        return {
            "token": "deprecated",
            "api_app_id": "A0",
            "team": {"id": self.team, "domain": "factory"},
            "user": {
                "id": user,
                "username": self._name(user),
                "name": self._name(user),
                "team_id": self.team,
            },
            "channel": {"id": channel, "name": "floor"},
            "trigger_id": trigger,
            "response_url": f"{self.root}/respond/{channel}/{user}",
        }

    async def _event(
        self,
        kind: str,
        text: str,
        files: Sequence[str],
        *,
        user: str = "U0KIM",
        channel: str = "C0FLOOR",
        thread: str = "",
        more: dict[str, Any] | None = None,
        **how: Any,
    ) -> Ack:
        ts = self.next_ts()
        event = {
            "type": kind,
            "user": user,
            "text": text,
            "ts": ts,
            "event_ts": ts,
            "channel": channel,
            "team": self.team,
        }
        event |= {"files": [self.file_object(id) for id in files]} if files else {}
        event |= {"thread_ts": thread} if thread else {}
        self.channels.setdefault(channel, []).append(event | {"type": "message"})
        payload = {
            "token": "deprecated",
            "team_id": self.team,
            "api_app_id": "A0",
            "event": event | (more or {}),
            "type": "event_callback",
            "event_id": self.new_id("Ev"),
            "event_time": int(float(ts)),
            "authorizations": [{"team_id": self.team, "user_id": self.bot, "is_bot": True}],
        }
        return await self._send("events_api", payload, **how)

    async def _send(
        self, kind: str, payload: dict[str, Any], *, deliveries: int = 1, wait: float = 5.0
    ) -> Ack:
        """`deliveries` > 1: the same thing again, as Slack does when it thinks it was not heard."""
        first = None
        for attempt in range(deliveries):
            envelope = {
                "envelope_id": self.new_id("e"),
                "type": kind,
                "payload": payload,
                "accepts_response_payload": kind != "events_api",
            }
            if attempt:
                envelope |= {"retry_attempt": attempt, "retry_reason": "timeout"}
            ack = await self._deliver(envelope, wait)
            first = first or ack
        assert first is not None
        return first

    async def _deliver(self, envelope: dict[str, Any], wait: float) -> Ack:
        await self.until(lambda: any(not s.closed for s in self.sockets))
        socket = next(s for s in reversed(self.sockets) if not s.closed)
        id, start = envelope["envelope_id"], time.monotonic()
        self._acks[id] = asyncio.get_running_loop().create_future()
        self._unacked[id] = envelope
        try:
            await socket.send_json(envelope)
            payload = await asyncio.wait_for(self._acks[id], wait)
        finally:
            self._acks.pop(id, None)
        return Ack(time.monotonic() - start, payload)

    async def refresh(self) -> None:
        """Tell the bot to open a new socket, as Slack does every few hours."""
        await self.sockets[-1].send_json(
            {"type": "disconnect", "reason": "refresh_requested", "debug_info": {}}
        )

    # The server's side of HTTP.

    def _fault(self, method: str) -> Fault | None:
        for fault in self.faults:
            if fault.method in (method, "*") and fault.times > 0:
                fault.times -= 1
                return fault
        what = self.chaos(method)
        return Fault(method, what) if what else None

    async def _faulty(
        self, request: web.Request, method: str, work: Callable[[], web.Response]
    ) -> web.Response:
        """Do `work`, with whatever is to go wrong with it."""
        fault = self._fault(method)
        if fault is None:
            return work()
        if fault.what == "429":
            return web.json_response(
                {"ok": False, "error": "ratelimited"},
                status=429,
                headers={"Retry-After": str(fault.retry_after)},
            )
        if fault.what == "refused":
            return web.json_response({"ok": False, "error": fault.error})
        if fault.what in ("dropped", "500-after"):
            work()
        if fault.what in ("lost", "dropped") and request.transport is not None:
            request.transport.close()
        return web.Response(status=500, text="server error")

    async def _call(self, request: web.Request) -> web.Response:
        method = request.match_info["method"]
        args = await arguments(request)
        self.calls.append((time.monotonic(), method, args))
        token = request.headers.get("Authorization", "").removeprefix("Bearer ") or args.get("token", "")
        wanted = self.app_token if method == "apps.connections.open" else self.bot_token
        headers = {"X-OAuth-Scopes": self.scopes} if self.scopes else {}

        def work() -> web.Response:
            if token != wanted:
                return web.json_response({"ok": False, "error": "invalid_auth"})
            if method == "apps.connections.open":
                return web.json_response({"ok": True, "url": f"ws://127.0.0.1:{self.port}/socket"})
            try:
                return web.json_response({"ok": True, **self._methods[method](args)}, headers=headers)
            except Error as error:
                return web.json_response(error.answer)

        return await self._faulty(request, method, work)

    async def _socket(self, request: web.Request) -> web.WebSocketResponse:
        socket = web.WebSocketResponse()
        await socket.prepare(request)
        await socket.send_json(
            {"type": "hello", "num_connections": 1, "connection_info": {"app_id": "A0"}, "debug_info": {}}
        )
        self.sockets.append(socket)
        try:
            # events that nobody acknowledged are delivered again; commands and clicks are not
            for envelope in [e for e in self._unacked.values() if e["type"] == "events_api"]:
                await socket.send_json(
                    envelope
                    | {"retry_attempt": envelope.get("retry_attempt", 0) + 1, "retry_reason": "timeout"}
                )
            async for said in socket:
                if said.type == WSMsgType.TEXT:
                    self._acknowledged(json.loads(said.data))
        finally:
            self.sockets.remove(socket)
        return socket

    def _acknowledged(self, said: dict[str, Any]) -> None:
        id = said.get("envelope_id", "")
        self._unacked.pop(id, None)
        waiting = self._acks.get(id)
        if waiting is not None and not waiting.done():
            waiting.set_result(said.get("payload"))

    async def _upload(self, request: web.Request) -> web.Response:
        data = await request.read()
        if "Authorization" in request.headers:
            self.complaints.append("the token was sent to an upload address")

        def work() -> web.Response:
            file = self.files[request.match_info["id"]]
            if len(data) != file["size"]:
                self.complaints.append(f"{len(data)} bytes uploaded, {file['size']} announced")
            file["data"] = data
            return web.Response(text=f"OK - {len(data)}")

        return await self._faulty(request, "upload", work)

    async def _download(self, request: web.Request) -> web.Response:
        def work() -> web.Response:
            file = self.files.get(request.match_info["id"])
            if file is None:
                return web.Response(status=404)
            allowed = request.headers.get("Authorization") == f"Bearer {self.bot_token}"
            if not allowed or not self.can_read_files:
                return web.Response(text=LOGIN_PAGE, content_type="text/html")
            return web.Response(body=file["data"], content_type="image/png")

        return await self._faulty(request, "download", work)

    async def _respond(self, request: web.Request) -> web.Response:
        args = await request.json()
        self.calls.append((time.monotonic(), "response_url", args))

        def work() -> web.Response:
            self._methods_check(args)
            self.ephemerals.append(
                {"channel": request.match_info["channel"], "user": request.match_info["user"], **args}
            )
            return web.Response(text="ok")

        return await self._faulty(request, "response_url", work)

    def _methods_check(self, args: dict[str, Any]) -> None:
        from tests.loopback.slack_kit import check_message

        self.complaints += check_message(args)


def _escaped(text: str) -> str:
    """Text as Slack hands it over."""
    return text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
