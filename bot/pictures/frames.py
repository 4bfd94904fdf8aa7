"""Messages between the bot and its picture worker: a JSON header and any number of binary parts, over pipes."""

from __future__ import annotations

import json
import struct
from collections.abc import Sequence
from typing import Any, BinaryIO

_LENGTH = struct.Struct("<I")


def send(stream: BinaryIO, header: dict[str, Any], parts: Sequence[bytes] = ()) -> None:
    """Write one message: length, header (which says how long the parts are), parts."""
    head = json.dumps(header | {"parts": [len(part) for part in parts]}).encode()
    stream.write(_LENGTH.pack(len(head)) + head)
    for part in parts:
        stream.write(part)
    stream.flush()


def receive(stream: BinaryIO) -> tuple[dict[str, Any], list[bytes]]:
    """Read one message. Raises `EOFError` when the other side is gone, in the middle of one or before it."""
    (length,) = _LENGTH.unpack(_exactly(stream, _LENGTH.size))
    header: dict[str, Any] = json.loads(_exactly(stream, length))
    return header, [_exactly(stream, size) for size in header.pop("parts")]


def _exactly(stream: BinaryIO, size: int) -> bytes:
    data = stream.read(size)
    if len(data) != size:
        raise EOFError("the other end of the pipe is closed")
    return data
