"""Attempts at a work by machines that may be cut off and go on writing: each has a folder of its own.

The folder's number is the fencing number. A new attempt takes over what the earlier ones left (checkpoints by hard
link, the rest by copy, since their writer may still have a file open), and their folders go: whoever is still writing
there finds nothing to write into, and nothing of theirs is looked at again. Only what the attempt in hand has made is
put into the work's own folder, by the one who handed it out.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from secrets import token_hex

from engines.events import Artifact

ATTEMPT = "attempt-"
CHECKPOINT = "checkpoint-"  # folders whose files are never changed once they have this name


def opened(folder: Path) -> Path:
    """A new attempt's folder in the work's `folder`, with all that is there; complete when it has its name.

    Raises:
        OSError: the disk is full, or gone.
    """
    for broken in folder.glob(f".{ATTEMPT}*"):  # its maker died
        shutil.rmtree(broken, ignore_errors=True)
    earlier = _numbered(folder)
    number = 1 + max((_number(path) for path in earlier), default=0)
    name = f"{ATTEMPT}{number:04}-{token_hex(4)}"  # no two ever share one, were the folder emptied in between
    part = folder / f".{name}"
    part.mkdir()
    left = list(_left(folder))
    for source in (folder, *earlier):
        _carry(source, part)
    os.rename(part, folder / name)
    for path in (*left, *earlier):
        _remove(path)
    return folder / name


def accepted(attempt: Path, artifacts: Sequence[Artifact] = ()) -> tuple[Artifact, ...]:
    """Put what an attempt left, now that it is over, into the work's own folder; its artifacts, where they are then.

    Raises:
        ValueError: an artifact is not this attempt's.
    """
    folder = attempt.parent
    for path in _left(attempt):
        if (there := folder / path.name).is_dir():
            shutil.rmtree(there)
        os.replace(path, there)
    _remove(attempt)
    return tuple(replace(a, path=folder / a.path.relative_to(attempt)) for a in artifacts)


def _numbered(folder: Path) -> list[Path]:
    """All attempts, the newest last."""
    return sorted((p for p in folder.glob(f"{ATTEMPT}*") if p.is_dir()), key=_number)


def _number(attempt: Path) -> int:
    told = attempt.name.removeprefix(ATTEMPT).partition("-")[0]
    return int(told) if told.isdecimal() else 0


def _left(folder: Path) -> Iterator[Path]:
    """What is in a folder but for attempts, and for what is half-written."""
    for path in sorted(folder.iterdir()):
        if not path.name.startswith((".", ATTEMPT)):
            yield path


def _carry(source: Path, to: Path) -> None:
    """Everything in `source` into `to` as well. What its writer deletes meanwhile is left out."""
    for path in _left(source):
        if not path.is_dir():
            with suppress(FileNotFoundError):
                shutil.copy2(path, to / path.name)
            continue
        copy = _linked if path.name.startswith(CHECKPOINT) else shutil.copy2
        for at, _, names in os.walk(path):
            into = to / Path(at).relative_to(source)
            into.mkdir(parents=True, exist_ok=True)
            for name in names:
                with suppress(FileNotFoundError):
                    copy(Path(at) / name, into / name)


def _linked(source: Path, to: Path) -> None:
    """One more name for the same bytes; a copy where the disk knows no such thing."""
    to.unlink(missing_ok=True)
    try:
        os.link(source, to)
    except FileNotFoundError:
        raise
    except OSError:
        shutil.copy2(source, to)


def _remove(path: Path) -> None:
    if path.is_dir():
        shutil.rmtree(path, ignore_errors=True)
    else:
        path.unlink(missing_ok=True)
