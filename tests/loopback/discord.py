"""A Discord on the loopback: enough REST and gateway for the real discord.py, with books and with faults.

Its books are what people would see: messages with who was notified, and the answers to interactions.
"""

from __future__ import annotations

import asyncio
import itertools
import json
import random
import re
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Any

from aiohttp import WSMsgType, web

Json = dict[str, Any]
EPOCH = 1420070400.0
BOT = {
    "id": "1000",
    "username": "studio",
    "discriminator": "0",
    "avatar": None,
    "bot": True,
    "global_name": None,
}
GUILD, CHANNEL = "2000", "3000"
EVERYTHING = str((1 << 53) - 1)


@dataclass
class Faults:
    """Chances of each call: refused with a 500, told to wait with a 429, done but the answer dropped."""

    rng: random.Random
    refuse: float = 0.03
    wait: float = 0.03
    drop: float = 0.05
    counted: dict[str, int] = field(default_factory=dict)

    def strikes(self, which: str) -> bool:
        struck = self.rng.random() < getattr(self, which)
        self.counted[which] = self.counted.get(which, 0) + struck
        return struck


@dataclass
class Kept:
    """A message on the books."""

    id: str
    payload: Json
    nonce: str
    at: float
    notified: list[str]
    files: list[tuple[str, int]]
    edits: int = 0
    deleted: bool = False
    said: list[str] = field(default_factory=list)  # its texts, oldest first

    @property
    def text(self) -> str:
        return self.said[-1]


@dataclass
class Asked:
    """An interaction we sent."""

    id: str
    token: str
    at: float
    acknowledged: float | None = None
    answer: str = ""


class Discord:
    """`async with Discord() as server:` then `server.api` and `server.gateway` are its addresses."""

    def __init__(self, faults: Faults | None = None, *, remembers: float = 300.0) -> None:
        """`remembers`: seconds for which a nonce is known."""
        self.faults = faults
        self.remembers = remembers
        self.messages: dict[str, Kept] = {}
        self.asked: dict[str, Asked] = {}
        self.unknown: list[str] = []  # calls that this server does not know
        self.identified = 0
        self.connected = asyncio.Event()
        self._commands: dict[str, list[Json]] = {}
        self._sockets: list[tuple[web.WebSocketResponse, itertools.count[int]]] = []
        self._serial = itertools.count(1)
        self._runner: web.AppRunner | None = None

    async def __aenter__(self) -> Discord:
        app = web.Application(client_max_size=64 << 20)
        app.router.add_get("/gateway", self._gateway)
        app.router.add_route("*", "/api/{rest:.*}", self._rest)
        self._runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.1)
        await self._runner.setup()
        site = web.TCPSite(self._runner, "127.0.0.1", 0)
        await site.start()
        self.port = int(self._runner.addresses[0][1])
        self.api = f"http://127.0.0.1:{self.port}/api"
        self.gateway = f"ws://127.0.0.1:{self.port}/gateway"
        return self

    async def __aexit__(self, *_: object) -> None:
        assert self._runner is not None
        for socket, _serial in list(self._sockets):
            await socket.close()
        await self._runner.cleanup()

    # What people do

    async def command(
        self, name: str, options: Json, *, user: int = 1, locale: str = "en-US"
    ) -> Asked | None:
        """Someone gives a slash command; None when the bot is not there to hear it."""
        kinds = {str: 3, int: 4, bool: 5, float: 10}
        given = [{"name": key, "type": kinds[type(value)], "value": value} for key, value in options.items()]
        return await self._interact(2, {"id": "77", "name": name, "type": 1, "options": given}, user, locale)

    async def press(self, custom_id: str, message: Kept, *, user: int = 1) -> Asked | None:
        """Someone presses a button."""
        data = {"custom_id": custom_id, "component_type": 2}
        return await self._interact(3, data, user, "en-US", message=self._shown(message))

    async def _interact(self, kind: int, data: Json, user: int, locale: str, **more: Any) -> Asked | None:
        if not self._sockets:
            return None
        asked = Asked(self._snowflake(), f"token{next(self._serial)}", time.time())
        self.asked[asked.id] = asked
        person = {
            "id": str(user),
            "username": f"p{user}",
            "discriminator": "0",
            "avatar": None,
            "global_name": None,
        }
        await self._dispatch(
            "INTERACTION_CREATE",
            {
                "id": asked.id, "application_id": BOT["id"], "type": kind, "data": data, "token": asked.token,
                "version": 1, "guild_id": GUILD, "channel_id": CHANNEL, "channel": _channel(),
                "guild": {"id": GUILD, "locale": "en-US", "features": []}, "locale": locale, "guild_locale": "en-US",
                "app_permissions": EVERYTHING, "entitlements": [], "context": 0,
                "authorizing_integration_owners": {"0": GUILD}, "attachment_size_limit": 10 << 20,
                "member": {
                    "user": person, "roles": [], "joined_at": "2024-01-01T00:00:00+00:00", "deaf": False,
                    "mute": False, "flags": 0, "permissions": EVERYTHING, "nick": None, "avatar": None,
                    "premium_since": None, "pending": False, "communication_disabled_until": None,
                },
                **more,
            },
        )  # fmt: skip
        return asked

    # The gateway

    async def _gateway(self, request: web.Request) -> web.WebSocketResponse:
        socket = web.WebSocketResponse()
        await socket.prepare(request)
        await socket.send_json({"op": 10, "d": {"heartbeat_interval": 41250}, "s": None, "t": None})
        entry = (socket, itertools.count(1))
        try:
            async for message in socket:
                if message.type is WSMsgType.TEXT:
                    await self._heard(entry, json.loads(message.data))
        finally:
            if entry in self._sockets:
                self._sockets.remove(entry)
            if not self._sockets:
                self.connected.clear()
        return socket

    async def _heard(self, entry: tuple[web.WebSocketResponse, itertools.count[int]], said: Json) -> None:
        socket, serial = entry
        if said["op"] == 1:
            await socket.send_json({"op": 11, "d": None, "s": None, "t": None})
        elif said["op"] == 6:  # sessions are not kept: ask for a new one
            await socket.send_json({"op": 9, "d": False, "s": None, "t": None})
        elif said["op"] == 2:
            self.identified += 1
            ready = {
                "v": 10, "user": BOT, "guilds": [{"id": GUILD, "unavailable": True}], "session_id": "s",
                "resume_gateway_url": self.gateway, "application": {"id": BOT["id"], "flags": 0},
            }  # fmt: skip
            await socket.send_json({"op": 0, "t": "READY", "s": next(serial), "d": ready})
            await socket.send_json({"op": 0, "t": "GUILD_CREATE", "s": next(serial), "d": _guild()})
            self._sockets.append(entry)
            self.connected.set()

    async def _dispatch(self, event: str, data: Json) -> None:
        for socket, serial in list(self._sockets)[-1:]:
            try:
                await socket.send_json({"op": 0, "t": event, "s": next(serial), "d": data})
            except (ConnectionError, RuntimeError):
                self._sockets = [entry for entry in self._sockets if entry[0] is not socket]

    # REST

    async def _rest(self, request: web.Request) -> web.StreamResponse:
        path = "/" + re.sub(r"^v\d+/", "", request.match_info["rest"])
        for method, pattern, act in self._routes:
            if method == request.method and (match := re.fullmatch(pattern, path)):
                return await self._with_faults(request, act, match)
        self.unknown.append(f"{request.method} {path}")
        return _error(404, 0, "404: Not Found")

    async def _with_faults(
        self,
        request: web.Request,
        act: Callable[[Discord, web.Request, re.Match[str]], Awaitable[web.StreamResponse]],
        match: re.Match[str],
    ) -> web.StreamResponse:
        faults = self.faults
        if faults and faults.strikes("refuse"):
            await request.read()
            return _json({"message": "500: Internal Server Error", "code": 0}, status=500)
        if faults and faults.strikes("wait"):
            await request.read()
            body = {"message": "You are being rate limited.", "retry_after": 0.1, "global": False}
            return _json(body, status=429, headers={"Retry-After": "1", "Via": "1.1 loopback"})
        try:
            response = await act(self, request, match)
        except ConnectionError:  # killed while it spoke: nothing was said
            return _error(400, 0, "hung up")
        if faults and faults.strikes("drop") and request.transport is not None:
            request.transport.abort()
        return response

    async def _me(self, request: web.Request, match: re.Match[str]) -> web.Response:
        return _json(BOT)

    async def _application(self, request: web.Request, match: re.Match[str]) -> web.Response:
        owner = {"id": "1", "username": "owner", "discriminator": "0", "avatar": None, "global_name": None}
        return _json(
            {
                "id": BOT["id"], "name": "studio", "icon": None, "description": "", "bot_public": True,
                "bot_require_code_grant": False, "verify_key": "", "flags": 0, "owner": owner, "team": None,
                "rpc_origins": [], "summary": "", "hook": False,
            }
        )  # fmt: skip

    async def _list_commands(self, request: web.Request, match: re.Match[str]) -> web.Response:
        return _json(self._commands.get(match[0], []))

    async def _put_commands(self, request: web.Request, match: re.Match[str]) -> web.Response:
        listed = await request.json()
        self._commands[match[0]] = [
            {
                "id": str(i),
                "application_id": BOT["id"],
                "version": "1",
                "default_member_permissions": None,
                **one,
            }
            for i, one in enumerate(listed, 1)
        ]
        return _json(self._commands[match[0]])

    async def _callback(self, request: web.Request, match: re.Match[str]) -> web.Response:
        asked = self.asked.get(match["id"])
        if asked is None or time.time() - asked.at > 3:
            return _error(404, 10062, "Unknown interaction")
        if asked.acknowledged is not None:
            return _error(400, 40060, "Interaction has already been acknowledged.")
        payload, _files = await _payload(request)
        asked.acknowledged = time.time()
        asked.answer = _text(payload.get("data") or {})
        shown = {
            "id": asked.id,
            "type": 2,
            "response_message_id": self._snowflake(),
            "response_message_ephemeral": True,
        }
        return _json({"interaction": shown})

    async def _answer(self, request: web.Request, match: re.Match[str]) -> web.Response:
        asked = next((a for a in self.asked.values() if a.token == match["token"]), None)
        if asked is None or asked.acknowledged is None:
            return _error(404, 10015, "Unknown Webhook")
        payload, files = await _payload(request)
        asked.answer = _text(payload)
        return _json(self._shown(Kept(self._snowflake(), payload, "", time.time(), [], files, said=[""])))

    async def _post(self, request: web.Request, match: re.Match[str]) -> web.Response:
        payload, files = await _payload(request)
        nonce = str(payload.get("nonce") or "")
        if nonce and payload.get("enforce_nonce"):
            for known in self.messages.values():
                if known.nonce == nonce and time.time() - known.at < self.remembers:
                    return _json(self._shown(known, nonce=True))
        text = _text(payload)
        allowed = payload.get("allowed_mentions") or {}
        named = set(re.findall(r"<@!?(\d+)>", text))
        notified = sorted(
            named if "users" in allowed.get("parse", []) else named & set(allowed.get("users", []))
        )
        kept = Kept(self._snowflake(), payload, nonce, time.time(), notified, files, said=[text])
        self.messages[kept.id] = kept
        return _json(self._shown(kept, nonce=True))

    async def _patch(self, request: web.Request, match: re.Match[str]) -> web.Response:
        kept = self.messages.get(match["id"])
        if kept is None or kept.deleted:
            return _error(404, 10008, "Unknown Message")
        payload, files = await _payload(request)
        kept.payload = {**kept.payload, **payload}
        kept.files, kept.edits = files, kept.edits + 1
        kept.said.append(_text(payload))
        return _json(self._shown(kept))

    async def _get(self, request: web.Request, match: re.Match[str]) -> web.Response:
        kept = self.messages.get(match["id"])
        return _error(404, 10008, "Unknown Message") if kept is None else _json(self._shown(kept))

    async def _delete(self, request: web.Request, match: re.Match[str]) -> web.Response:
        kept = self.messages.get(match["id"])
        if kept is None or kept.deleted:
            return _error(404, 10008, "Unknown Message")
        kept.deleted = True
        return web.Response(status=204)

    async def _history(self, request: web.Request, match: re.Match[str]) -> web.Response:
        """Newest first; with `after` the page next to it. Nonces are not shown: they are the sender's business."""
        after, before = (
            int(request.query.get(name, default)) for name, default in (("after", 0), ("before", 1 << 62))
        )
        limit = int(request.query.get("limit", 50))
        ids = sorted(int(id) for id, kept in self.messages.items() if not kept.deleted)
        ids = [id for id in ids if after < id < before]
        page = ids[:limit] if after else ids[-limit:]
        return _json([self._shown(self.messages[str(id)]) for id in reversed(page)])

    _routes = (
        ("GET", r"/users/@me", _me),
        ("GET", r"/(oauth2/)?applications/@me", _application),
        ("GET", r"/applications/\d+(/guilds/\d+)?/commands", _list_commands),
        ("PUT", r"/applications/\d+(/guilds/\d+)?/commands", _put_commands),
        ("POST", r"/interactions/(?P<id>\d+)/[^/]+/callback", _callback),
        ("PATCH", r"/webhooks/\d+/(?P<token>[^/]+)/messages/@original", _answer),
        ("POST", r"/channels/\d+/messages", _post),
        ("PATCH", r"/channels/\d+/messages/(?P<id>\d+)", _patch),
        ("GET", r"/channels/\d+/messages/(?P<id>\d+)", _get),
        ("DELETE", r"/channels/\d+/messages/(?P<id>\d+)", _delete),
        ("GET", r"/channels/\d+/messages", _history),
    )

    def _shown(self, kept: Kept, *, nonce: bool = False) -> Json:
        stamp = time.strftime("%Y-%m-%dT%H:%M:%S+00:00", time.gmtime(kept.at))
        return {
            "id": kept.id, "channel_id": CHANNEL, "author": BOT, "content": kept.payload.get("content") or "",
            "timestamp": stamp, "edited_timestamp": stamp if kept.edits else None, "tts": False, "type": 0,
            "mention_everyone": False, "mentions": [], "mention_roles": [], "embeds": [], "pinned": False,
            "flags": kept.payload.get("flags", 0), "components": _numbered(kept.payload.get("components") or []),
            "attachments": [
                {"id": str(i), "filename": name, "size": size, "url": f"{self.api}/files/{name}",
                 "proxy_url": f"{self.api}/files/{name}"}
                for i, (name, size) in enumerate(kept.files, 1)
            ],
            **({"nonce": kept.nonce} if nonce and kept.nonce else {}),
        }  # fmt: skip

    def _snowflake(self) -> str:
        return str((int((time.time() - EPOCH) * 1000) << 22) + next(self._serial) % (1 << 22))


def _json(body: Any, status: int = 200, headers: dict[str, str] | None = None) -> web.Response:
    # discord.py compares the whole content type, so there must be no charset
    content = {"Content-Type": "application/json", **(headers or {})}
    return web.Response(body=json.dumps(body).encode(), status=status, headers=content)


def _error(status: int, code: int, message: str) -> web.Response:
    return _json({"code": code, "message": message}, status=status)


async def _payload(request: web.Request) -> tuple[Json, list[tuple[str, int]]]:
    """The JSON of a request and the names and sizes of the files beside it."""
    if not request.content_type.startswith("multipart/"):
        return (await request.json() if request.can_read_body else {}), []
    form = await request.post()
    files = []
    for name, value in form.items():
        if isinstance(value, web.FileField) and name != "payload_json":
            files.append((value.filename, len(value.file.read())))
    return json.loads(str(form["payload_json"])), files


def _text(payload: Any) -> str:
    """All text of a message, Components V2 included."""
    if isinstance(payload, list):
        return "\n".join(text for one in payload if (text := _text(one)))
    if not isinstance(payload, dict):
        return ""
    own = str(payload.get("content") or "")
    inner = [_text(payload.get(key)) for key in ("components", "component", "accessory")]
    return "\n".join(text for text in (own, *inner) if text)


def _numbered(components: list[Json]) -> list[Json]:
    """Components as Discord gives them back: each with an id, the one that was given or the next free one."""
    serial = itertools.count(1)

    def number(one: Json) -> Json:
        numbered = {**one, "id": one.get("id") or next(serial)}
        if "components" in one:
            numbered["components"] = [number(inner) for inner in one["components"]]
        for item in numbered.get("items", []):
            item["media"] = {**item["media"], "proxy_url": item["media"]["url"], "width": 1, "height": 1}
        return numbered

    return [number(one) for one in components]


def _channel() -> Json:
    return {
        "id": CHANNEL, "type": 0, "guild_id": GUILD, "name": "general", "position": 0, "topic": None, "nsfw": False,
        "permission_overwrites": [], "parent_id": None, "rate_limit_per_user": 0, "last_message_id": None,
        "permissions": EVERYTHING,
    }  # fmt: skip


def _guild() -> Json:
    everyone = {
        "id": GUILD, "name": "@everyone", "permissions": EVERYTHING, "position": 0, "color": 0, "hoist": False,
        "managed": False, "mentionable": False, "flags": 0, "icon": None, "unicode_emoji": None,
        "colors": {"primary_color": 0, "secondary_color": None, "tertiary_color": None},
    }  # fmt: skip
    return {
        "id": GUILD, "name": "factory", "icon": None, "owner_id": "1", "roles": [everyone], "emojis": [],
        "features": [], "members": [], "channels": [_channel()], "threads": [], "voice_states": [], "presences": [],
        "member_count": 2, "large": False, "joined_at": "2024-01-01T00:00:00+00:00", "verification_level": 0,
        "default_message_notifications": 0, "explicit_content_filter": 0, "mfa_level": 0, "premium_tier": 0,
        "premium_subscription_count": 0, "preferred_locale": "en-US", "nsfw_level": 0, "stickers": [],
        "stage_instances": [], "guild_scheduled_events": [], "system_channel_flags": 0, "afk_timeout": 300,
        "afk_channel_id": None, "system_channel_id": None, "rules_channel_id": None, "vanity_url_code": None,
        "application_id": None, "description": None, "banner": None, "splash": None, "discovery_splash": None,
        "public_updates_channel_id": None, "soundboard_sounds": [], "unavailable": False,
    }  # fmt: skip
