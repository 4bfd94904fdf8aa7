"""Files of this machine as attachments: what `@path` means at the console."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from bot.locale.numbers import size
from bot.pictures.saving import save
from engines.words import Refusal, Words

CHUNK = 1 << 20


@dataclass(frozen=True, slots=True)
class LocalFile:
    """A file of this machine as an attachment. The person at the console may read what the process may."""

    name: str  # the path, as typed after the `@`

    @property
    def path(self) -> Path:
        return Path(self.name).expanduser()

    @property
    def size(self) -> int:
        with suppress(OSError):
            return self.path.stat().st_size
        return 0

    async def read(self, limit: int) -> bytes:
        def bounded() -> bytes:
            with self.path.open("rb") as file:
                return file.read(limit + 1)

        try:
            data = await asyncio.to_thread(bounded)
        except OSError as error:
            raise Refusal(_NO_FILE(name=self.name, why=error.strerror or type(error).__name__)) from None
        if len(data) > limit:
            raise Refusal(_TOO_BIG(name=self.name, size=size(self.size), limit=size(limit)))
        return data

    async def save(self, path: Path, limit: int) -> None:
        if self.size > limit:
            raise Refusal(_TOO_BIG(name=self.name, size=size(self.size), limit=size(limit)))
        try:
            source = await asyncio.to_thread(self.path.open, "rb")
        except OSError as error:
            raise Refusal(_NO_FILE(name=self.name, why=error.strerror or type(error).__name__)) from None
        with source:
            await save(self._pieces(source, limit), path)

    async def _pieces(self, source: BinaryIO, limit: int) -> AsyncIterator[bytes]:
        """The file may be a pipe, or grow while it is read: its size was a claim."""
        read = 0
        while piece := await asyncio.to_thread(source.read, CHUNK):
            read += len(piece)
            if read > limit:
                raise Refusal(_TOO_BIG(name=self.name, size=size(read), limit=size(limit)))
            yield piece


_NO_FILE = Words(
    "The file `{name}` cannot be read: {why}. Check the path after the @.",
    "`{name}` 파일을 읽을 수 없습니다: {why}. @ 뒤의 경로를 확인해 주십시오.",
)
_TOO_BIG = Words(
    "The file `{name}` has {size}; at most {limit} are allowed.",
    "`{name}` 파일은 {size}입니다. 최대 {limit}까지 보낼 수 있습니다.",
)
