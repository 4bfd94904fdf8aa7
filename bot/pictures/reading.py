"""Attachments → checked pictures and masks. Decoding happens in worker processes with limits, never in the bot.

Each thread of the reader owns one worker, started when first needed and again whenever it died; the event loop
never carries the bytes.
"""

from __future__ import annotations

import asyncio
import re
import threading
import unicodedata
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

from bot.locale.numbers import size
from bot.pictures.process import Worker
from bot.pictures.words import TOO_MANY_BYTES
from engines.words import Refusal, Words

_NAME_LENGTH = 80


@dataclass(frozen=True, slots=True)
class PictureLimits:
    """What a stranger's file may cost."""

    file_bytes: int = 25_000_000
    pixels: int = 50_000_000
    memory_bytes: int = 3_000_000_000  # address space of one worker
    seconds: float = 30.0  # of CPU time for one request; on the clock it may be four times that
    workers: int = 2  # so that one slow file does not keep everybody waiting


@dataclass(frozen=True, slots=True)
class Picture:
    """A stranger's picture made safe: PNG bytes without metadata, upright."""

    png: bytes
    width: int
    height: int
    mode: str  # "L", "RGB", "RGBA" or "I;16"
    notes: tuple[Words, ...] = ()


@dataclass(frozen=True, slots=True)
class Mask:
    """Where to change: a one-channel PNG of the photo's size, 255 = change, 0 = keep."""

    png: bytes
    share: float  # of the photo, more than 0, at most 1
    notes: tuple[Words, ...] = ()


@dataclass(frozen=True, slots=True)
class Sample:
    """A photo to learn from, made safe."""

    png: bytes  # L or RGB
    mask: bytes | None  # a one-channel PNG of the photo's size, 255 = the defect
    width: int
    height: int
    share: float  # of the photo that the mask covers
    look: str  # alike for copies: see `bot.pictures.samples.look`
    wrong: Words | None  # why a mask that was given cannot be used
    notes: tuple[Words, ...]


class PictureReader:
    """`async with PictureReader(limits) as reader:`; ends its workers on leaving."""

    def __init__(self, limits: PictureLimits | None = None) -> None:
        self.limits = limits or PictureLimits()
        self._threads = ThreadPoolExecutor(self.limits.workers, thread_name_prefix="pictures")
        self._own = threading.local()
        self._workers: set[Worker] = set()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    async def close(self) -> None:
        """End the workers; what they were at ends as a `Refusal`."""
        for worker in list(self._workers):
            worker.kill()
        await asyncio.to_thread(self._threads.shutdown, cancel_futures=True)
        for worker in list(self._workers):
            worker.end()

    async def read(self, data: bytes, name: str) -> Picture:
        """The picture in `data`, clean; `Refusal` with the sentence that fits what is wrong with it."""
        name = safe_name(name)
        self._check_bytes(data, name)
        head, parts = await self._ask("read", {"name": name}, [data], name)
        return Picture(parts[0], head["width"], head["height"], head["mode"], _notes(head))

    async def mask(
        self,
        photo: bytes | Path,
        spec: str | None = None,
        attachment: bytes | None = None,
        name: str = "mask",
        outline: bytes | None = None,
        grow: int = 0,
        invert: bool = False,
    ) -> Mask:
        """The mask that words, a second picture (any file, unchecked) or the photo's own transparency mean, as it is.
        `outline`: our own picture of the object. `Refusal` where `grow` and `invert`, done later, leave nothing."""
        name = safe_name(name)
        if attachment is not None:
            self._check_bytes(attachment, name)
        args: dict[str, Any] = {"spec": spec or "", "name": name, "grow": grow, "invert": invert}
        args |= {"given": attachment is not None, "outlined": outline is not None}
        parts = _sent(args, photo=photo) + [part for part in (attachment, outline) if part is not None]
        head, answer = await self._ask("mask", args, parts, name)
        return Mask(answer[0], head["share"], _notes(head))

    async def overlay(
        self,
        photo: bytes | Path,
        mask: bytes | Path,
        *,
        grow: int = 0,
        feather: int = 0,
        invert: bool = False,
    ) -> bytes:
        """PNG of at most 1024 pixels: the photo with what will change in red."""
        args: dict[str, Any] = {"grow": grow, "feather": feather, "invert": invert}
        _, answer = await self._ask("overlay", args, _sent(args, photo=photo, mask=mask))
        return answer[0]

    async def shrink(
        self, path: Path, max_bytes: int, formats: Sequence[str] = ("jpg", "png"), name: str = ""
    ) -> tuple[bytes, str]:
        """A copy of our own picture that fits, and its file name. `formats`: of "webp", "jpg" and
        "png", the better liked first; Slack shows no WebP. Transparency is never lost to JPEG."""
        args: dict[str, Any] = {"max_bytes": max_bytes, "formats": list(formats)}
        head, answer = await self._ask("shrink", args, _sent(args, path=path))
        return answer[0], f"{Path(safe_name(name or path.name)).stem}.{head['suffix']}"

    async def thumbnail(self, picture: bytes | Path, side: int = 256) -> bytes:
        """A small JPEG of our own picture."""
        args: dict[str, Any] = {"side": side}
        return (await self._ask("thumbnail", args, _sent(args, picture=picture)))[1][0]

    async def sample(
        self, photo: bytes, name: str, mask: bytes | None = None, mask_name: str = "mask"
    ) -> Sample:
        """A photo to learn from, with its mask; `Refusal` where the photo cannot be read."""
        name, args = safe_name(name), {"name": safe_name(name), "mask": safe_name(mask_name)}
        self._check_bytes(photo, name)
        parts = [photo] if mask is None else [photo, mask]
        head, made = await self._ask("sample", args, parts, name)
        wrong = Words(*head["wrong"]) if head["wrong"] else None
        sides = head["width"], head["height"]
        clean = made[1] if len(made) > 1 else None
        return Sample(made[0], clean, *sides, head["share"], head["look"], wrong, _notes(head))

    async def sheet(self, rows: Sequence[Mapping[str, Any]], cell: int = 160) -> bytes:
        """A contact sheet as PNG, of our own files: see `bot.pictures.samples.sheet`."""
        return (await self._ask("sheet", {"rows": list(rows), "cell": cell}, []))[1][0]

    def _check_bytes(self, data: bytes, name: str) -> None:
        if len(data) > self.limits.file_bytes:
            sizes = {"size": size(len(data)), "limit": size(self.limits.file_bytes)}
            raise Refusal(TOO_MANY_BYTES(name=name, **sizes))

    async def _ask(
        self, verb: str, args: Mapping[str, Any], parts: Sequence[bytes], name: str = "picture"
    ) -> tuple[dict[str, Any], list[bytes]]:
        """One request to a worker. Raises `Refusal`, or `RuntimeError` for a bug there, with its traceback."""
        call = self._threads.submit(self._in_thread, {"verb": verb, "args": dict(args)}, parts, name)
        head, answer = await asyncio.wrap_future(call)
        if "refusal" in head:
            raise Refusal(Words(*head["refusal"]))
        if "bug" in head:
            raise RuntimeError(f"the picture worker failed at {verb}:\n{head['bug']}")
        return head, answer

    def _in_thread(
        self, header: dict[str, Any], parts: Sequence[bytes], name: str
    ) -> tuple[dict[str, Any], list[bytes]]:
        worker: Worker | None = getattr(self._own, "worker", None)
        if worker is None or not worker.alive:
            if worker is not None:
                worker.end()
                self._workers.discard(worker)
            worker = self._own.worker = Worker(self.limits)
            self._workers.add(worker)
        return worker.ask(header, parts, name)


def _sent(args: dict[str, Any], **pictures: bytes | Path) -> list[bytes]:
    """Stored files go by path (the process runs in another folder), the rest as bytes."""
    args |= {name: str(file.absolute()) for name, file in pictures.items() if isinstance(file, Path)}
    return [picture for picture in pictures.values() if isinstance(picture, bytes)]


def _notes(head: Mapping[str, Any]) -> tuple[Words, ...]:
    return tuple(Words(*pair) for pair in head["notes"])


def safe_name(name: str) -> str:
    """A stranger's file name as it may be shown or used for a new file: no path, no tricks, never empty."""
    name = unicodedata.normalize("NFC", name).replace("\\", "/").rsplit("/", 1)[-1]
    name = "".join(c if unicodedata.category(c)[0] != "C" else " " for c in name)  # controls, bidi marks
    name = re.sub(r"[^\w.()\[\] -]+", "_", name)
    name = re.sub(r"\s+", " ", name).strip(" .")
    stem, dot, suffix = name.rpartition(".")
    if len(name) > _NAME_LENGTH and dot and len(suffix) <= 8:
        name = f"{stem[: _NAME_LENGTH - len(suffix) - 1]}.{suffix}"
    return name[:_NAME_LENGTH] or "picture"
