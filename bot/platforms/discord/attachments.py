"""Files people sent: fetched from Discord's own hosts only, streamed with a cap, never redirected."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Mapping
from contextlib import aclosing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import aiohttp
from yarl import URL

from bot.locale.numbers import size as told
from bot.pictures.saving import save
from engines.words import Refusal, Words

HOSTS = frozenset({"cdn.discordapp.com", "media.discordapp.net"})
TIMEOUT = aiohttp.ClientTimeout(total=60, sock_connect=10, sock_read=15)
PATIENT = aiohttp.ClientTimeout(total=900, sock_connect=10, sock_read=30)  # for archives
CHUNK = 1 << 16

TOO_BIG = Words(
    "“{name}” is too large ({size}). At most {limit} is allowed: make it smaller and send it again.",
    "“{name}” 파일이 너무 큽니다({size}). 최대 {limit}까지 가능합니다. 크기를 줄여 다시 보내 주십시오.",
)
NOT_HAD = Words(
    "“{name}” could not be fetched from Discord ({why}). Please send it again.",
    "Discord에서 “{name}” 파일을 가져오지 못했습니다({why}). 다시 보내 주십시오.",
)
FOREIGN = Words(
    "“{name}” is not a file uploaded to Discord. Please upload the picture itself.",
    "“{name}” 파일은 Discord에 올린 파일이 아닙니다. 사진을 직접 올려 주십시오.",
)


class Fetcher:
    """Reads files from the allowed hosts through one HTTP session, opened on first use. Mutable."""

    def __init__(self, own_host: str = "", proxy: str | None = None) -> None:
        """`own_host` is `host:port` of another server that stands for Discord, as tests have."""
        self._own_host = own_host
        self._proxy = proxy
        self._session: aiohttp.ClientSession | None = None

    def allows(self, url: URL) -> bool:
        """Whether a file at `url` may be fetched."""
        if self._own_host and url.authority == self._own_host:
            return True
        return url.scheme == "https" and url.host in HOSTS and url.explicit_port in (None, 443)

    async def read(self, url: str, name: str, limit: int) -> bytes:
        """At most `limit` bytes; `Refusal` where there are more or they cannot be had."""
        data = bytearray()
        async with aclosing(self.pieces(url, name, limit)) as pieces:
            async for piece in pieces:
                data += piece
        return bytes(data)

    async def pieces(
        self, url: str, name: str, limit: int, patience: aiohttp.ClientTimeout | None = None
    ) -> AsyncGenerator[bytes, None]:
        """The same bit by bit."""
        try:
            where = URL(url)
        except ValueError:
            raise Refusal(FOREIGN(name=name)) from None
        if not self.allows(where):
            raise Refusal(FOREIGN(name=name))
        try:
            async with aclosing(self._stream(where, name, limit, patience or TIMEOUT)) as pieces:
                async for piece in pieces:
                    yield piece
        except TimeoutError:
            raise Refusal(NOT_HAD(name=name, why="timeout")) from None
        except aiohttp.ClientError as error:
            raise Refusal(NOT_HAD(name=name, why=type(error).__name__)) from error

    async def _stream(
        self, url: URL, name: str, limit: int, patience: aiohttp.ClientTimeout
    ) -> AsyncGenerator[bytes, None]:
        # "identity": a compressed answer could unpack to more than it said.
        options: dict[str, Any] = {
            "allow_redirects": False,
            "headers": {"Accept-Encoding": "identity"},
            "proxy": self._proxy,
            "timeout": patience,
        }
        async with self._open().get(url, **options) as answer:
            if answer.status != 200:
                raise Refusal(NOT_HAD(name=name, why=f"HTTP {answer.status}"))
            if answer.content_length is not None and answer.content_length > limit:
                raise Refusal(too_big(name, answer.content_length, limit))
            had = 0
            async for piece in answer.content.iter_chunked(CHUNK):
                had += len(piece)
                if had > limit:
                    raise Refusal(too_big(name, had, limit))
                yield piece

    def _open(self) -> aiohttp.ClientSession:
        if self._session is None or self._session.closed:
            self._session = aiohttp.ClientSession(timeout=TIMEOUT, cookie_jar=aiohttp.DummyCookieJar())
        return self._session

    async def close(self) -> None:
        if self._session is not None:
            await self._session.close()


def too_big(name: str, size: int, limit: int) -> Words:
    return TOO_BIG(name=name, size=told(size), limit=told(limit))


@dataclass(frozen=True, slots=True)
class DiscordFile:
    """An `Attachment` of bot.talk. `name` and `size` are what Discord says; the bytes decide."""

    name: str
    size: int
    url: str
    fetcher: Fetcher

    async def read(self, limit: int) -> bytes:
        if self.size > limit:
            raise Refusal(too_big(self.name, self.size, limit))
        return await self.fetcher.read(self.url, self.name, limit)

    async def save(self, path: Path, limit: int) -> None:
        if self.size > limit:
            raise Refusal(too_big(self.name, self.size, limit))
        async with aclosing(self.fetcher.pieces(self.url, self.name, limit, PATIENT)) as pieces:
            await save(pieces, path)


def files_of(payload: Mapping[str, Any], fetcher: Fetcher) -> tuple[DiscordFile, ...]:
    """The files of a message payload: its attachments, else what its media gallery shows.

    A Components V2 message carries its pictures in components.
    """
    found = [
        DiscordFile(str(a["filename"])[:200], int(a["size"]), str(a["url"]), fetcher)
        for a in payload.get("attachments", ())
    ]
    return tuple(found) or tuple(_shown(payload.get("components", ()), fetcher))


def _shown(components: Any, fetcher: Fetcher) -> list[DiscordFile]:
    found = []
    for component in components:
        for item in component.get("items", ()):
            url = str(item["media"]["url"])
            found.append(DiscordFile(URL(url).name or "picture", 0, url, fetcher))
        found += _shown(component.get("components", ()), fetcher)
    return found
