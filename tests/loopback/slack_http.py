"""The loopback Slack's wire: HTTP routes, the socket, and whatever is to go wrong with them."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from aiohttp import WSMsgType, web

from .slack_api import Error, arguments, methods
from .slack_kit import check_message

if TYPE_CHECKING:
    from .slack import SlackServer

LOGIN_PAGE = "<!DOCTYPE html><html><head><title>Sign in to Slack</title></head><body>Sign in</body></html>"
HELLO = {"type": "hello", "num_connections": 1, "connection_info": {"app_id": "A0"}, "debug_info": {}}


class Http:
    def __init__(self, book: SlackServer) -> None:
        self.book = book
        self.sockets: list[web.WebSocketResponse] = []
        self._methods = methods(book)
        self._acks: dict[str, asyncio.Future[dict[str, Any] | None]] = {}
        self._unacked: dict[str, dict[str, Any]] = {}

    async def start(self, port: int) -> int:
        app = web.Application(client_max_size=200 * 2**20)
        app.router.add_route("*", "/api/{method}", self._call)
        app.router.add_get("/socket", self._socket)
        app.router.add_post("/upload/{id}", self._upload)
        app.router.add_get("/files/{id}/{name}", self._download)
        app.router.add_post("/respond/{channel}/{user}", self._respond)
        self._runner = web.AppRunner(app, shutdown_timeout=0.2)
        await self._runner.setup()
        await web.TCPSite(self._runner, "127.0.0.1", port).start()
        return int(self._runner.addresses[0][1])

    async def stop(self) -> None:
        for socket in list(self.sockets):
            await socket.close()
        await self._runner.cleanup()

    # Socket Mode.

    async def deliver(self, envelope: dict[str, Any], wait: float) -> tuple[float, dict[str, Any] | None]:
        """Seconds until the acknowledgement, and its payload. `TimeoutError` when there was none."""
        await self.book.until(lambda: any(not s.closed for s in self.sockets))
        socket = next(s for s in reversed(self.sockets) if not s.closed)
        id, start = envelope["envelope_id"], time.monotonic()
        acked = self._acks[id] = asyncio.get_running_loop().create_future()
        self._unacked[id] = envelope
        try:
            await socket.send_json(envelope)
            payload = await asyncio.wait_for(acked, wait)
            return time.monotonic() - start, payload
        finally:
            self._acks.pop(id, None)

    async def _socket(self, request: web.Request) -> web.WebSocketResponse:
        socket = web.WebSocketResponse()
        await socket.prepare(request)
        await socket.send_json(HELLO)
        self.sockets.append(socket)
        try:
            # events that nobody acknowledged are delivered again; commands and clicks are not
            for envelope in [e for e in self._unacked.values() if e["type"] == "events_api"]:
                envelope |= {"retry_attempt": envelope.get("retry_attempt", 0) + 1, "retry_reason": "timeout"}
                await socket.send_json(envelope)
            async for said in socket:
                if said.type == WSMsgType.TEXT:
                    self._acknowledged(json.loads(said.data))
        except ConnectionError:
            pass  # the bot was killed
        finally:
            self.sockets.remove(socket)
        return socket

    def _acknowledged(self, said: dict[str, Any]) -> None:
        id = said.get("envelope_id", "")
        self._unacked.pop(id, None)
        waiting = self._acks.get(id)
        if waiting is not None and not waiting.done():
            waiting.set_result(said.get("payload"))

    # HTTP.

    async def _faulty(
        self, request: web.Request, method: str, work: Callable[[], web.Response]
    ) -> web.Response:
        """Do `work`, with whatever is to go wrong with it."""
        fault = self.book.next_fault(method)
        if fault is None:
            return work()
        if fault.what == "429":
            told = {"Retry-After": str(fault.retry_after)}
            return web.json_response({"ok": False, "error": "ratelimited"}, status=429, headers=told)
        if fault.what == "refused":
            return web.json_response({"ok": False, "error": fault.error})
        if fault.what in ("dropped", "500-after"):
            work()
        if fault.what in ("lost", "dropped") and request.transport is not None:
            request.transport.close()
        return web.Response(status=500, text="server error")

    async def _call(self, request: web.Request) -> web.Response:
        method, args = request.match_info["method"], await arguments(request)
        self.book.calls.append((time.monotonic(), method, args))
        token = request.headers.get("Authorization", "").removeprefix("Bearer ") or args.get("token", "")
        connecting = method == "apps.connections.open"
        headers = {"X-OAuth-Scopes": self.book.scopes} if self.book.scopes else {}

        def work() -> web.Response:
            if token != (self.book.app_token if connecting else self.book.bot_token):
                return web.json_response({"ok": False, "error": "invalid_auth"})
            if connecting:
                return web.json_response({"ok": True, "url": f"ws://127.0.0.1:{self.book.port}/socket"})
            try:
                return web.json_response({"ok": True, **self._methods[method](args)}, headers=headers)
            except Error as error:
                return web.json_response(error.answer)

        return await self._faulty(request, method, work)

    async def _upload(self, request: web.Request) -> web.Response:
        data = await request.read()
        if "Authorization" in request.headers:
            self.book.complaints.append("the token was sent to an upload address")

        def work() -> web.Response:
            file = self.book.files[request.match_info["id"]]
            if len(data) != file["size"]:
                self.book.complaints.append(f"{len(data)} bytes uploaded, {file['size']} announced")
            file["data"] = data
            return web.Response(text=f"OK - {len(data)}")

        return await self._faulty(request, "upload", work)

    async def _download(self, request: web.Request) -> web.Response:
        def work() -> web.Response:
            file = self.book.files.get(request.match_info["id"])
            if file is None:
                return web.Response(status=404)
            allowed = request.headers.get("Authorization") == f"Bearer {self.book.bot_token}"
            if not allowed or not self.book.can_read_files:
                return web.Response(text=LOGIN_PAGE, content_type="text/html")
            return web.Response(body=file["data"], content_type="image/png")

        return await self._faulty(request, "download", work)

    async def _respond(self, request: web.Request) -> web.Response:
        args = await request.json()
        self.book.calls.append((time.monotonic(), "response_url", args))

        def work() -> web.Response:
            self.book.complaints += check_message(args)
            self.book.ephemerals.append(args | dict(request.match_info))
            return web.Response(text="ok")

        return await self._faulty(request, "response_url", work)
