"""The real client over real sockets: connecting, what a nonce is good for, answers that never arrive, leaving."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any
from unittest import mock

import pytest
from aiohttp import web
from discord_world import Desk, elsewhere, picture_file, png, until

from bot.platforms.discord import Discord, live_check, platform
from bot.platforms.discord.attachments import DiscordFile, Fetcher
from bot.talk import File, Message, Place, Unreachable
from engines.words import Refusal
from tests.loopback.discord import Discord as Server
from tests.loopback.discord_payloads import CHANNEL, GUILD

PLACE = Place("discord", CHANNEL, guild=GUILD)


@asynccontextmanager
async def connected(desk: Any, **settings: Any) -> AsyncIterator[tuple[Server, Discord]]:
    async with Server() as server, elsewhere():
        edge = Discord("token", api_base=server.api, gateway=server.gateway, **settings)
        serving = asyncio.create_task(edge.serve(desk))
        try:
            await asyncio.wait_for(server.connected.wait(), 10)
            yield server, edge
        finally:
            serving.cancel()
            await asyncio.wait([serving], timeout=10)
        assert serving.done()
        assert server.unknown == []


def failing(server: Server, kind: str, calls: list[str]) -> Any:
    """Wraps the server's REST: the first POST of a message meets with this."""
    whole = server._with_faults

    async def faulty(request: web.Request, act: Any, match: Any) -> web.StreamResponse:
        calls.append(f"{request.method} {request.path}")
        first = (
            request.method == "POST" and request.path.endswith("/messages") and calls.count(calls[-1]) == 1
        )
        if first and kind == "wait":
            body = {"message": "slow down", "retry_after": 900.0, "global": False}
            return web.json_response(body, status=429, headers={"Retry-After": "900", "Via": "1.1 loopback"})
        if first and kind == "refuse":
            return web.json_response({"message": "500", "code": 0}, status=500)
        response = await whole(request, act, match)
        if first and kind == "drop":
            assert request.transport is not None
            request.transport.abort()
        return response

    return mock.patch.object(server, "_with_faults", faulty)


async def test_a_command_over_the_gateway_is_acknowledged_and_answered() -> None:
    desk = Desk(lambda said: Message("said", f"heard {said.command}"), hold=asyncio.Event())
    async with connected(desk) as (server, _):
        asked = await server.command("help", {})
        assert asked is not None
        await until(lambda: asked.acknowledged)
        assert asked.acknowledged - asked.at < 1.0
        assert desk.hold is not None
        desk.hold.set()
        await until(lambda: asked.answer == "heard help")


async def test_the_same_key_is_said_once(tmp_path: Path) -> None:
    async with connected(Desk()) as (server, edge):
        message = Message("finished", "done", files=(File(picture_file(tmp_path), "a.png"),))
        first = await edge.post(PLACE, message, "ds1r")
        assert await edge.post(PLACE, message, "ds1r") == first
        assert len(server.messages) == 1
        assert server.messages[first].files == [("a.png", len(png()))]


async def test_a_message_whose_confirmation_was_lost_is_found() -> None:
    async with connected(Desk()) as (server, edge):
        since, calls = time.time(), []
        with failing(server, "drop", calls), pytest.raises(Unreachable) as error:
            await edge.post(PLACE, Message("failed", "#7 failed"), "ds7r")
        assert error.value.uncertain
        (said,) = server.messages
        assert await edge.find(PLACE, "ds7r", since) == said
        assert await edge.find(PLACE, "ds7s", since) is None
        assert await edge.find(PLACE, "ds8r", since) is None


async def test_an_error_that_passes_is_not_noticed() -> None:
    async with connected(Desk()) as (server, edge):
        with failing(server, "refuse", []):
            await edge.post(PLACE, Message("said", "x"), "ds1s")
        assert len(server.messages) == 1


async def test_a_long_rate_limit_is_told_and_not_slept_through() -> None:
    async with connected(Desk()) as (server, edge):
        began = time.monotonic()
        with failing(server, "wait", []), pytest.raises(Unreachable) as error:
            await edge.post(PLACE, Message("said", "x"), "ds1s")
        assert error.value.retry_after == 900.0
        assert time.monotonic() - began < 5


async def test_a_message_is_found_among_hundreds() -> None:
    async with connected(Desk()) as (server, edge):
        since = time.time()
        wanted = await edge.post(PLACE, Message("said", "x"), "ds5r")
        for number in range(250):
            await server._post(*_said(f"other {number}"))  # type: ignore[arg-type]
        assert await edge.find(PLACE, "ds5r", since) == wanted
        assert await edge.find(PLACE, "ds6r", since) is None


def _said(text: str) -> tuple[Any, Any]:
    request = mock.MagicMock(content_type="application/json", can_read_body=True)
    request.json = mock.AsyncMock(return_value={"content": text})
    return request, None


async def test_the_connection_comes_back() -> None:
    desk = Desk()
    async with connected(desk) as (server, _):
        (socket, _serial) = server._sockets[0]
        await socket.close(code=1001)
        await until(lambda: server.identified == 2 and server.connected.is_set(), 20)
        assert await server.command("jobs", {})
        await until(lambda: desk.heard)


async def test_leaving_lets_an_answer_in_hand_go_out() -> None:
    desk = Desk(hold=asyncio.Event())
    async with Server() as server, elsewhere():
        serving = asyncio.create_task(
            Discord("token", api_base=server.api, gateway=server.gateway).serve(desk)
        )
        await asyncio.wait_for(server.connected.wait(), 10)
        asked = await server.command("help", {})
        assert asked is not None
        await until(lambda: desk.heard)
        serving.cancel()
        await asyncio.sleep(0.05)
        assert desk.hold is not None
        desk.hold.set()
        await asyncio.wait([serving], timeout=5)
        assert serving.cancelled()
        assert asked.answer == "heard"


@pytest.mark.parametrize("status", [401, 500])
async def test_a_token_discord_does_not_know_is_a_sentence(
    status: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(platform, "BACKOFF", (0.05,))
    monkeypatch.setattr("asyncio.sleep", _no_longer_than(asyncio.sleep, 0.05))

    async def me(request: web.Request, match: Any) -> web.Response:
        tries.append(1)
        return web.json_response({"code": 0, "message": "no"}, status=status)

    tries: list[int] = []
    async with Server() as server, elsewhere():
        with mock.patch.object(server, "_with_faults", lambda request, act, match: me(request, match)):
            found = await live_check("token", api_base=server.api)
            assert [right for right, _ in found] == [False]
            serving = asyncio.create_task(
                Discord("token", api_base=server.api, gateway=server.gateway).serve(Desk())  # type: ignore[arg-type]
            )
            if status == 401:
                assert "DISCORD_TOKEN" in found[0][1].en
                with pytest.raises(Refusal):
                    await serving
            else:
                await until(lambda: len(tries) > 12)
                assert not serving.done(), "Discord may come back"
                serving.cancel()
                await asyncio.wait([serving])


def _no_longer_than(sleep: Any, most: float) -> Any:
    return lambda seconds, *more: sleep(min(seconds, most), *more)


@pytest.mark.parametrize(
    ("guilds", "endpoint", "expected"),
    [
        ([{"id": "2", "name": "factory"}], None, [True, True, True]),
        ([], "https://x.example", [True, True, False, False]),
    ],
)
async def test_the_doctor_looks_at_what_can_be_wrong(
    guilds: list[Any], endpoint: str | None, expected: list[bool]
) -> None:
    rest = Server._rest

    async def answering(server: Server, request: web.Request) -> web.StreamResponse:
        if request.path.endswith("/guilds"):
            return _json([_guild(**one) for one in guilds])
        response = await rest(server, request)
        if request.path.endswith("/applications/@me") and isinstance(response, web.Response):
            return _json(json.loads(str(response.text)) | {"interactions_endpoint_url": endpoint})
        return response

    with mock.patch.object(Server, "_rest", answering):
        async with Server() as server, elsewhere():
            found = await live_check("token", api_base=server.api)
    assert [right for right, _ in found] == expected
    assert all(words.en != words.ko for _, words in found)
    if not guilds:
        assert "client_id=1000" in found[-1][1].en


async def test_the_doctor_names_a_missing_scope_and_spare_intents() -> None:
    rest = Server._rest

    async def answering(server: Server, request: web.Request) -> web.StreamResponse:
        if request.path.endswith("/guilds"):
            return _json([_guild("2", "factory"), _guild("3", "office")])
        if request.path.endswith("/guilds/3/commands"):
            return web.json_response({"code": 50001, "message": "Missing Access"}, status=403)
        response = await rest(server, request)
        if request.path.endswith("/applications/@me") and isinstance(response, web.Response):
            return _json(json.loads(str(response.text)) | {"flags": 1 << 19 | 1 << 15})
        return response

    with mock.patch.object(Server, "_rest", answering):
        async with Server() as server, elsewhere():
            found = await live_check("token", api_base=server.api)
    assert [right for right, _ in found] == [True, True, True, False]
    assert "Server Members, Message Content" in found[1][1].en
    assert "applications.commands is missing in office" in found[3][1].en
    assert "scope=bot+applications.commands" in found[3][1].ko


def test_the_bot_connects_with_no_intent_that_needs_leave() -> None:
    intents = Discord("token").client(Desk()).intents
    assert (intents.presences, intents.members, intents.message_content) == (False, False, False)


def _json(told: Any) -> web.Response:
    return web.Response(body=json.dumps(told).encode(), content_type="application/json")


def _guild(id: str, name: str) -> dict[str, Any]:
    return {
        "id": id,
        "name": name,
        "icon": None,
        "banner": None,
        "owner": False,
        "permissions": "0",
        "features": [],
    }


# Files


@asynccontextmanager
async def serving(answer: Callable[[web.Request], Any]) -> AsyncIterator[str]:
    async def handle(request: web.Request) -> web.StreamResponse:
        return await answer(request)

    app = web.Application()
    app.router.add_get("/{path:.*}", handle)
    runner = web.AppRunner(app, shutdown_timeout=0.1)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    try:
        yield f"127.0.0.1:{runner.addresses[0][1]}"
    finally:
        await runner.cleanup()


async def refused(url: str, fetcher: Fetcher, limit: int = 1000) -> str:
    with pytest.raises(Refusal) as refusal:
        await DiscordFile("p.png", 0, url, fetcher).read(limit)
    await fetcher.close()
    assert any("가" <= c <= "힣" for c in refusal.value.words.ko)
    return refusal.value.words.en


@pytest.mark.parametrize(
    "url",
    [
        "http://cdn.discordapp.com/a.png",
        "https://cdn.discordapp.com:8443/a.png",
        "https://cdn.discordapp.com.evil.example/a.png",
        "https://evil.example/cdn.discordapp.com/a.png",
        "https://user@evil.example/a.png",
        "http://127.0.0.1/a.png",
        "file:///etc/passwd",
        "not an address",
        "",
    ],
)
async def test_only_discords_own_hosts_are_asked(url: str) -> None:
    assert "upload the picture" in await refused(url, Fetcher())


async def test_a_redirect_is_not_followed() -> None:
    async def away(request: web.Request) -> web.Response:
        return web.Response(status=302, headers={"Location": "/secret"})

    async with serving(away) as own:
        assert "HTTP 302" in await refused(f"http://{own}/a.png", Fetcher(own))


async def test_a_file_that_says_nothing_of_its_length_is_cut_off() -> None:
    sent = 0

    async def endless(request: web.Request) -> web.StreamResponse:
        nonlocal sent
        response = web.StreamResponse()
        await response.prepare(request)
        while sent < 50_000_000:
            await response.write(b"x" * 65536)
            sent += 65536
        return response

    async with serving(endless) as own:
        assert "too large" in await refused(f"http://{own}/a.png", Fetcher(own), 100_000)
    assert sent < 20_000_000


async def test_a_server_that_stalls_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    import aiohttp

    from bot.platforms.discord import attachments

    monkeypatch.setattr(attachments, "TIMEOUT", aiohttp.ClientTimeout(sock_read=0.1))

    async def stalled(request: web.Request) -> web.Response:
        await asyncio.sleep(5)
        return web.Response()

    async with serving(stalled) as own:
        assert "timeout" in await refused(f"http://{own}/a.png", Fetcher(own))


async def test_a_file_of_the_right_size_is_read_whole() -> None:
    async def whole(request: web.Request) -> web.Response:
        assert request.headers["Accept-Encoding"] == "identity"
        return web.Response(body=b"y" * 1000)

    async with serving(whole) as own:
        fetcher = Fetcher(own)
        assert await DiscordFile("p.png", 1000, f"http://{own}/a.png", fetcher).read(1000) == b"y" * 1000
        await fetcher.close()
