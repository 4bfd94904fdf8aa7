"""The worker process that alone decodes what strangers send: `python -m bot.pictures.worker MEMORY CPU PIXELS`.

It reads requests from stdin and answers on stdout (`bot.pictures.frames`), has no secrets, no network to speak of, a
memory limit, a CPU limit for each request, and may write no file. Whatever kills it costs one request.
"""

from __future__ import annotations

import io
import resource
import signal
import sys
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any

from PIL import Image

from bot.pictures import frames
from bot.pictures.fast_png import fast_png
from bot.pictures.files import Clean, clean
from bot.pictures.shrinking import shrunk, thumbnail
from engines.words import Refusal

Answer = tuple[dict[str, Any], list[bytes]]
MAX_PIXELS = 50_000_000  # set from the command line


def _read(args: dict[str, Any], parts: list[bytes]) -> Answer:
    found = clean(parts[0], args["name"], MAX_PIXELS)
    head = {"width": found.image.width, "height": found.image.height, "mode": found.image.mode}
    return head | {"notes": _pairs(found.notes)}, [fast_png(found.image)]


def _mask(args: dict[str, Any], parts: list[bytes]) -> Answer:
    from bot.masks.finding import find_mask
    from engines.compose import remaining

    photo = _picture(args, parts, "photo")
    given = clean(parts.pop(0), args["name"], MAX_PIXELS) if args["given"] else Clean(Image.new("L", (1, 1)))
    outline = _own(parts.pop(0)) if args["outlined"] else None
    mask, share, notes = find_mask(photo, args["spec"], given.image if args["given"] else None, outline)
    if args["grow"] < 0:
        white = mask >= 128
        remaining(~white if args["invert"] else white, args["grow"])
    told = [*given.notes, *notes]
    return {"share": share, "notes": _pairs(told)}, [_png(Image.fromarray(mask))]


def _overlay(args: dict[str, Any], parts: list[bytes]) -> Answer:
    from bot.pictures.overlay import overlay

    photo, mask = _picture(args, parts, "photo"), _picture(args, parts, "mask")
    shown = overlay(photo, mask, grow=args["grow"], feather=args["feather"], invert=args["invert"])
    return {}, [_png(shown)]


def _shrink(args: dict[str, Any], parts: list[bytes]) -> Answer:
    data = Path(args["path"]).read_bytes()
    small, suffix = shrunk(_own(data), args["max_bytes"], args["formats"])
    return {"suffix": suffix}, [small]


def _thumbnail(args: dict[str, Any], parts: list[bytes]) -> Answer:
    return {}, [thumbnail(_picture(args, parts, "picture"), args["side"])]


def _sample(args: dict[str, Any], parts: list[bytes]) -> Answer:
    from bot.pictures.samples import sample

    return sample(args, parts, MAX_PIXELS)


def _sheet(args: dict[str, Any], parts: list[bytes]) -> Answer:
    from bot.pictures.samples import sheet

    return {}, [sheet(args)]


def _picture(args: dict[str, Any], parts: list[bytes], field: str) -> Image.Image:
    """A picture of our own: by its path, or the next binary part."""
    path = args.get(field)
    return _own(Path(path).read_bytes() if path else parts.pop(0))


def _own(data: bytes) -> Image.Image:
    Image.MAX_IMAGE_PIXELS = None
    return Image.open(io.BytesIO(data))  # its pixels are read only if they are asked for


def _png(image: Image.Image) -> bytes:
    out = io.BytesIO()
    image.save(out, "PNG")
    return out.getvalue()


VERBS: dict[str, Callable[[dict[str, Any], list[bytes]], Answer]] = {
    "read": _read,
    "mask": _mask,
    "overlay": _overlay,
    "shrink": _shrink,
    "thumbnail": _thumbnail,
    "sample": _sample,
    "sheet": _sheet,
}


def _pairs(notes: Any) -> list[list[str]]:
    return [[note.en, note.ko] for note in notes]


def _answer(header: dict[str, Any], parts: list[bytes]) -> Answer:
    """What is to be said to one request; a refusal and a bug are answers too. `MemoryError` passes."""
    try:
        return VERBS[header["verb"]](header["args"], parts)
    except Refusal as refusal:
        return {"refusal": [refusal.words.en, refusal.words.ko]}, []
    except MemoryError:
        raise
    except Exception:
        return {"bug": traceback.format_exc()}, []


def serve(memory: int, cpu_seconds: int) -> None:
    """Answer until the bot goes away. A request that wants too much memory is the last one."""
    signal.signal(
        signal.SIGINT, signal.SIG_IGN
    )  # Ctrl-C in a terminal is for the bot, who then closes the pipe
    resource.setrlimit(resource.RLIMIT_AS, (memory, memory))
    resource.setrlimit(resource.RLIMIT_FSIZE, (0, 0))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    while True:
        try:
            header, parts = frames.receive(sys.stdin.buffer)
        except EOFError:
            return
        used = resource.getrusage(resource.RUSAGE_SELF)
        so_far = int(used.ru_utime + used.ru_stime)
        resource.setrlimit(resource.RLIMIT_CPU, (so_far + cpu_seconds + 1, resource.RLIM_INFINITY))
        try:
            answer = _answer(header, parts)
        except MemoryError:
            frames.send(sys.stdout.buffer, {"memory": True})
            return
        del header, parts
        frames.send(sys.stdout.buffer, *answer)


if __name__ == "__main__":
    MAX_PIXELS = int(sys.argv[3])
    serve(int(sys.argv[1]), int(sys.argv[2]))
