"""A Discord on the loopback: enough REST and gateway for the real discord.py, with books and with faults.

Its books are what people would see: messages with who was notified, and the answers to interactions.
"""

from __future__ import annotations

import asyncio
import itertools
import json
import re
import time
from collections.abc import Awaitable, Callable, Mapping
from typing import Any

from aiohttp import WSMsgType, web

from . import discord_payloads as payloads
from .discord_books import Asked, Faults, Kept
from .discord_payloads import BOT, GUILD, Json, answer, error, guild, payload_of, text_of

EPOCH = 1420070400.0


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
        self._uploads: dict[str, bytes] = {}
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
        self,
        name: str,
        options: Json,
        *,
        user: int = 1,
        locale: str = "en-US",
        files: Mapping[str, tuple[str, bytes]] | None = None,
    ) -> Asked | None:
        """Someone gives a slash command, with `files` as name and bytes of an option; None when the bot is not there
        to hear it."""
        kinds = {str: 3, int: 4, bool: 5, float: 10}
        given = [{"name": key, "type": kinds[type(value)], "value": value} for key, value in options.items()]
        sent = {}
        for option, (file, data) in (files or {}).items():
            id = self._snowflake()
            self._uploads[f"{id}/{file}"] = data
            sent[id] = {
                "id": id,
                "filename": file,
                "size": len(data),
                "url": f"{self.api}/uploads/{id}/{file}",
            }
            sent[id] |= {"proxy_url": sent[id]["url"]}
            given.append({"name": option, "type": 11, "value": id})
        told = {"id": "77", "name": name, "type": 1, "options": given, "resolved": {"attachments": sent}}
        return await self._interact(2, told, user, locale)

    async def press(self, custom_id: str, message: Kept, *, user: int = 1) -> Asked | None:
        """Someone presses a button."""
        data = {"custom_id": custom_id, "component_type": 2}
        return await self._interact(3, data, user, "en-US", message=self._shown(message))

    async def _interact(self, kind: int, data: Json, user: int, locale: str, **more: Any) -> Asked | None:
        if not self._sockets:
            return None
        asked = Asked(self._snowflake(), f"token{next(self._serial)}", time.time())
        self.asked[asked.id] = asked
        told = payloads.interaction(kind, data, user, locale) | {"id": asked.id, "token": asked.token, **more}
        await self._dispatch("INTERACTION_CREATE", told)
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
            await socket.send_json({"op": 0, "t": "GUILD_CREATE", "s": next(serial), "d": guild()})
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
        return error(404, 0, "404: Not Found")

    async def _with_faults(
        self,
        request: web.Request,
        act: Callable[[Discord, web.Request, re.Match[str]], Awaitable[web.StreamResponse]],
        match: re.Match[str],
    ) -> web.StreamResponse:
        faults = self.faults
        try:
            if faults and faults.strikes("refuse"):
                await request.read()
                return answer({"message": "500: Internal Server Error", "code": 0}, status=500)
            if faults and faults.strikes("wait"):
                await request.read()
                body = {"message": "You are being rate limited.", "retry_after": 0.1, "global": False}
                return answer(body, status=429, headers={"Retry-After": "1", "Via": "1.1 loopback"})
            response = await act(self, request, match)
        except ConnectionError:  # killed while it spoke: nothing was said
            return error(400, 0, "hung up")
        if faults and faults.strikes("drop") and request.transport is not None:
            request.transport.abort()
        return response

    async def _uploaded(self, request: web.Request, match: re.Match[str]) -> web.Response:
        return web.Response(body=self._uploads[match["file"]], content_type="application/octet-stream")

    async def _me(self, request: web.Request, match: re.Match[str]) -> web.Response:
        return answer(BOT)

    async def _guilds(self, request: web.Request, match: re.Match[str]) -> web.Response:
        return answer([guild()])

    async def _application(self, request: web.Request, match: re.Match[str]) -> web.Response:
        return answer(payloads.application())

    async def _list_commands(self, request: web.Request, match: re.Match[str]) -> web.Response:
        return answer(self._commands.get(match[0], []))

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
        return answer(self._commands[match[0]])

    async def _callback(self, request: web.Request, match: re.Match[str]) -> web.Response:
        asked = self.asked.get(match["id"])
        if asked is None or time.time() - asked.at > 3:
            return error(404, 10062, "Unknown interaction")
        if asked.acknowledged is not None:
            return error(400, 40060, "Interaction has already been acknowledged.")
        payload, _files = await payload_of(request)
        asked.acknowledged = time.time()
        asked.answer = text_of(payload.get("data") or {})
        shown = {
            "id": asked.id,
            "type": 2,
            "response_message_id": self._snowflake(),
            "response_message_ephemeral": True,
        }
        return answer({"interaction": shown})

    async def _answer(self, request: web.Request, match: re.Match[str]) -> web.Response:
        asked = next((a for a in self.asked.values() if a.token == match["token"]), None)
        if asked is None or asked.acknowledged is None:
            return error(404, 10015, "Unknown Webhook")
        payload, files = await payload_of(request)
        asked.answer = text_of(payload)
        return answer(self._shown(Kept(self._snowflake(), payload, "", time.time(), [], files, said=[""])))

    async def _post(self, request: web.Request, match: re.Match[str]) -> web.Response:
        payload, files = await payload_of(request)
        nonce = str(payload.get("nonce") or "")
        if nonce and payload.get("enforce_nonce"):
            for known in self.messages.values():
                if known.nonce == nonce and time.time() - known.at < self.remembers:
                    return answer(self._shown(known, nonce=True))
        text = text_of(payload)
        allowed = payload.get("allowed_mentions") or {}
        named = set(re.findall(r"<@!?(\d+)>", text))
        users = {str(user) for user in allowed.get("users", [])}  # discord.py sends them as numbers
        notified = sorted(named if "users" in allowed.get("parse", []) else named & users)
        kept = Kept(self._snowflake(), payload, nonce, time.time(), notified, files, said=[text])
        self.messages[kept.id] = kept
        return answer(self._shown(kept, nonce=True))

    async def _patch(self, request: web.Request, match: re.Match[str]) -> web.Response:
        kept = self.messages.get(match["id"])
        if kept is None or kept.deleted:
            return error(404, 10008, "Unknown Message")
        payload, files = await payload_of(request)
        kept.payload = {**kept.payload, **payload}
        kept.files, kept.edits = files, kept.edits + 1
        kept.said.append(text_of(payload))
        return answer(self._shown(kept))

    async def _get(self, request: web.Request, match: re.Match[str]) -> web.Response:
        kept = self.messages.get(match["id"])
        return error(404, 10008, "Unknown Message") if kept is None else answer(self._shown(kept))

    async def _delete(self, request: web.Request, match: re.Match[str]) -> web.Response:
        kept = self.messages.get(match["id"])
        if kept is None or kept.deleted:
            return error(404, 10008, "Unknown Message")
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
        return answer([self._shown(self.messages[str(id)]) for id in reversed(page)])

    _routes = (
        ("GET", r"/users/@me", _me),
        ("GET", r"/users/@me/guilds", _guilds),
        ("GET", r"/uploads/(?P<file>\d+/[^/]+)", _uploaded),
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
        told = payloads.message(kept.id, kept.payload, kept.at, kept.files, f"{self.api}/files")
        return told | ({"nonce": kept.nonce} if nonce and kept.nonce else {})

    def _snowflake(self) -> str:
        return str((int((time.time() - EPOCH) * 1000) << 22) + next(self._serial) % (1 << 22))
