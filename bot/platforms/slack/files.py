"""Files from Slack and files to Slack."""

from __future__ import annotations

import asyncio
import logging
from collections import OrderedDict
from collections.abc import AsyncGenerator, Mapping
from contextlib import aclosing, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import aiohttp

from bot.locale.numbers import size as told
from bot.pictures.saving import save
from bot.platforms.slack.api import Api, Denied, Unwelcome, patiently
from bot.talk import File, Gone, TooLarge, Unreachable
from engines.words import Refusal, Words

log = logging.getLogger(__name__)

CHUNK = 64 * 1024
BYTES = aiohttp.ClientTimeout(total=300.0, sock_read=30.0)  # files take longer than calls
PROCESSED = (0.2, 0.3, 0.5, 1.0, 1.0, 2.0)  # seconds between looks at a file that Slack still processes
TOO_LARGE = frozenset({"file_upload_size_restricted", "file_too_large", "file_uploads_too_large"})
REMEMBERED = 256  # uploads kept in mind, so that an answer tried again does not upload again


@dataclass(slots=True)
class SlackFile:
    """A file someone sent; read from Slack's own host with the bot's token, and from nowhere else."""

    api: Api
    id: str
    name: str
    size: int = 0
    url: str = ""

    @classmethod
    def of(cls, api: Api, data: Mapping[str, Any]) -> SlackFile:
        """From a file object, a full one or one that holds an id alone."""
        url = str(data.get("url_private_download") or data.get("url_private") or "")
        # "tombstone", "hidden_by_limit" and "check_file_info" objects tell nothing that can be relied on
        known = (
            data.get("mode") not in ("tombstone", "hidden_by_limit")
            and data.get("file_access") != "check_file_info"
        )
        name = str(data.get("name") or data.get("title") or "picture")
        return cls(api, str(data.get("id", "")), name, int(data.get("size") or 0), url if known else "")

    async def read(self, limit: int) -> bytes:
        """The bytes. `Refusal` when there are more than `limit`, or Slack does not hand them over."""
        data = bytearray()
        async with aclosing(self._pieces(limit)) as pieces:
            async for piece in pieces:
                data += piece
        return bytes(data)

    async def save(self, path: Path, limit: int) -> None:
        async with aclosing(self._pieces(limit)) as pieces:
            await save(pieces, path)

    async def _pieces(self, limit: int) -> AsyncGenerator[bytes, None]:
        size, url = (self.size, self.url) if self.url else await self._look_up()
        if size > limit:
            raise Refusal(_TOO_BIG(name=self.name, size=told(size), limit=told(limit)))
        if not self.api.is_theirs(url):
            raise Refusal(_ELSEWHERE(name=self.name))
        try:
            async with (
                self.api.session.get(
                    url, headers=self.api.bearer, allow_redirects=False, timeout=BYTES
                ) as answer,
                aclosing(self._body(answer, limit)) as pieces,
            ):
                async for piece in pieces:
                    yield piece
        except (aiohttp.ClientError, TimeoutError, OSError, Unreachable) as error:
            log.warning("could not fetch file %s: %s", self.id, error)
            raise Refusal(_NOT_NOW(name=self.name)) from None

    async def _body(self, answer: aiohttp.ClientResponse, limit: int) -> AsyncGenerator[bytes, None]:
        if answer.status in (301, 302, 303, 307, 308) or answer.content_type == "text/html":
            log.error("Slack answered a login page for file %s: the app lacks the scope files:read", self.id)
            raise Refusal(_NO_SCOPE(name=self.name))
        if answer.status != 200:
            log.warning("file %s: HTTP %s", self.id, answer.status)
            raise Refusal((_NOT_THERE if answer.status in (403, 404, 410) else _NOT_NOW)(name=self.name))
        had = 0
        async for piece in answer.content.iter_chunked(CHUNK):
            had += len(piece)
            if had > limit:
                raise Refusal(_TOO_BIG(name=self.name, size=f"> {told(limit)}", limit=told(limit)))
            yield piece

    async def _look_up(self) -> tuple[int, str]:
        try:
            found = (await self.api.call(self.api.client.files_info, file=self.id)).get("file") or {}
        except Unreachable as error:
            scope = isinstance(error, Unwelcome) and error.error == "missing_scope"
            raise Refusal((_NO_SCOPE if scope else _NOT_NOW)(name=self.name)) from None
        except (Gone, Denied):
            raise Refusal(_NOT_THERE(name=self.name)) from None
        url = found.get("url_private_download") or found.get("url_private") or ""
        return int(found.get("size") or 0), str(url)


class Uploads:
    """Files on their way into Slack: get an address, send the bytes, complete."""

    def __init__(self, api: Api) -> None:
        self._api = api
        self._known: OrderedDict[tuple[str, str], str] = OrderedDict()  # (path, name) → file id

    async def picture(self, file: File) -> str:
        """The id of the uploaded picture, shared with nobody yet, ready for an image block."""
        key = (str(file.path), file.name)
        if key not in self._known:
            file_id = await patiently(lambda: self._upload(file))
            await self._processed(file_id)
            self._known[key] = file_id
            while len(self._known) > REMEMBERED:
                self._known.popitem(last=False)
        return self._known[key]

    async def _upload(self, file: File) -> str:
        file_id = await self._send(file)
        await self._complete(file_id, file.name)
        return file_id

    def forget(self, file: File) -> None:
        """Slack does not take this upload in a message: the next time it is uploaded anew."""
        self._known.pop((str(file.path), file.name), None)

    async def share(self, file: File, title: str, channel: str, thread: str) -> None:
        """Post a file in a thread, once: a look at the thread comes first, since sharing again shows it again."""
        if thread and await self._is_shared(title, channel, thread):
            return
        file_id = await self._send(file)
        await self._complete(file_id, title, channel_id=channel, thread_ts=thread or None)

    async def remove(self, file_id: str) -> None:
        """Delete an upload of ours; nothing happens where that cannot be done."""
        self._known = OrderedDict((key, id) for key, id in self._known.items() if id != file_id)
        try:
            await self._api.call(self._api.client.files_delete, file=file_id)
        except (Gone, Unreachable, Denied) as error:
            log.warning("file %s not deleted: %s", file_id, error)

    async def _is_shared(self, title: str, channel: str, thread: str) -> bool:
        client = self._api.client
        replies = await self._api.call(client.conversations_replies, channel=channel, ts=thread, limit=200)
        files = (one for message in replies.get("messages", []) for one in message.get("files") or ())
        return any(one.get("title") == title for one in files)

    async def _send(self, file: File) -> str:
        size = (await asyncio.to_thread(file.path.stat)).st_size
        try:
            told = await self._api.call(
                self._api.client.files_getUploadURLExternal, filename=file.name, length=size
            )
        except Denied as no:
            raise TooLarge(str(no)) if no.error in TOO_LARGE else no from None
        if not self._api.is_theirs(told["upload_url"]):
            raise Unreachable("Slack named an upload address that is not its own", retry_after=60.0)
        try:
            # no token here: the address itself is the permission; the file is streamed, it may be an archive
            with await asyncio.to_thread(file.path.open, "rb") as data:
                async with self._api.session.post(
                    told["upload_url"], data=data, allow_redirects=False, timeout=BYTES
                ) as answer:
                    status = answer.status
        except (aiohttp.ClientError, TimeoutError, OSError) as error:
            raise Unreachable(f"upload: {type(error).__name__} {error}") from None
        if status == 413:
            raise TooLarge(f"{file.name}: {size} bytes")
        if status != 200:
            raise Unreachable(f"upload: HTTP {status}")
        return str(told["file_id"])

    async def _complete(self, file_id: str, title: str, **where: Any) -> None:
        files: list[dict[str, str | None]] = [{"id": file_id, "title": title}]
        await self._api.call(self._api.client.files_completeUploadExternal, files=files, **where)

    async def _processed(self, file_id: str) -> None:
        """Wait until Slack knows what the file is; completing is asynchronous. Gives up quietly."""
        for pause in PROCESSED:
            with suppress(Unreachable):
                found = await self._api.call(self._api.client.files_info, file=file_id)
                if (found.get("file") or {}).get("mimetype"):
                    return
            await asyncio.sleep(pause)


_TOO_BIG = Words(
    "`{name}` is {size}; at most {limit} are taken. Please send a smaller file.",
    "`{name}` 파일은 {size}입니다. 최대 {limit}까지 받을 수 있으니 더 작은 파일을 보내 주십시오.",
)
_NO_SCOPE = Words(
    "Slack did not let me read `{name}`: this app lacks the scope `files:read`. "
    "Please ask whoever installed it to add the scope and install it again.",
    "Slack에서 `{name}` 파일을 읽지 못했습니다. 이 앱에 `files:read` 권한이 없습니다. "
    "앱을 설치하신 분께 권한을 추가하고 다시 설치해 달라고 요청해 주십시오.",
)
_ELSEWHERE = Words(
    "`{name}` is not stored in Slack itself. Please upload the picture into Slack.",
    "`{name}` 파일은 Slack에 저장된 파일이 아닙니다. 그림을 Slack에 직접 올려 주십시오.",
)
_NOT_THERE = Words(
    "`{name}` is no longer there, or I may not see it. Please upload it again.",
    "`{name}` 파일이 없거나 제가 볼 수 없습니다. 다시 올려 주십시오.",
)
_NOT_NOW = Words(
    "Slack did not hand over `{name}`. Please try again in a moment.",
    "Slack에서 `{name}` 파일을 받지 못했습니다. 잠시 후 다시 시도해 주십시오.",
)
