"""A stranger's file on its way to disk, piece by piece: it is never in memory as a whole."""

from __future__ import annotations

import asyncio
import errno
from collections.abc import AsyncIterable
from pathlib import Path

from storage import Full

ENOUGH = 1 << 20  # bytes worth a trip to the disk


async def save(pieces: AsyncIterable[bytes], path: Path) -> None:
    """All pieces in a new file at `path`; no file where they end in an error. Raises `storage.Full`."""
    try:
        file = await asyncio.to_thread(path.open, "xb")
        try:
            held = bytearray()
            async for piece in pieces:
                held += piece
                if len(held) >= ENOUGH:
                    await asyncio.to_thread(file.write, held)
                    held = bytearray()
            await asyncio.to_thread(file.write, held)
        finally:
            await asyncio.to_thread(file.close)
    except BaseException as error:
        await asyncio.to_thread(path.unlink, missing_ok=True)
        if isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG):
            raise Full("no room for a file that was sent") from error
        raise
