"""Bringing models here that are single files on the net (`engines.models.downloadable` lists them).

Each is known by its SHA-256, so it does not matter which place answers. A file is there whole or not at all:
bytes go into `.<name>.part`, which a later try goes on with, and only what has the right sum gets its name.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from errno import EDQUOT, ENOSPC
from pathlib import Path

from engines.models import transfer
from engines.models.downloadable import Download, File, named
from engines.models.transfer import Missed
from engines.words import Refusal, Words, alike, joined

Progress = Callable[[str, int, int], None]  # place, bytes here, bytes in all


def found(download: Download, folder: Path | None) -> Path | None:
    """The model's file in the models folder, in its own folder or beside the others, where it is as long as it
    should be."""
    if folder is None:
        return None
    for path in (download.path(folder), folder / f"{download.name}{Path(download.file.name).suffix}"):
        if path.is_file() and path.stat().st_size == download.file.size:
            return path
    return None


def intact(download: Download, path: Path) -> bool:
    """Whether the file at `path` is byte for byte the one it should be. Reads all of it."""
    return path.is_file() and sha256(path) == download.file.sha256


def fetch(name: str, folder: Path, progress: Progress = lambda place, here, all: None) -> Path:
    """Bring a known model into `folder/<name>/`; its file there. Nothing is done where it is there already.

    `progress` is told the place, the bytes here and the bytes in all. Several may ask at once, in several processes.

    Raises:
        Refusal: no place has it, the disk is full, or the folder cannot be written. Says what to do.
        KeyError: there is no such model.
    """
    download = named(name)
    if download is None:
        raise KeyError(name)
    return bring(download, folder, progress)


def bring(download: Download, folder: Path, progress: Progress = lambda place, here, all: None) -> Path:
    """`fetch` for a download that need not be one of `KNOWN`."""
    if there := found(download, folder):
        return there
    goal = download.path(folder)
    try:
        goal.parent.mkdir(parents=True, exist_ok=True)
        with _alone(folder):
            return found(download, folder) or _brought(download, goal, progress)
    except OSError as error:
        if error.errno in (ENOSPC, EDQUOT):
            _part(goal).unlink(missing_ok=True)  # half a model is no use to anybody on a full disk
            raise Refusal(_full(download, goal)) from error
        raise Refusal(_WRITE(name=download.name, why=error.strerror or error)) from error


def _brought(download: Download, goal: Path, progress: Progress) -> Path:
    file, part = download.file, _part(goal)
    missing = file.size - (part.stat().st_size if part.exists() else 0)
    if shutil.disk_usage(goal.parent).free < missing:
        raise Refusal(_full(download, goal))
    tried = []
    for place in file.places:
        label = transfer.label(place)
        progress(label, 0, file.size)
        try:
            _from_place(place, file, part, lambda here, label=label: progress(label, here, file.size))  # type: ignore[misc]
        except Missed as missed:
            tried.append(alike(label) + missed.words)
            continue
        finally:
            if part.exists() and not part.stat().st_size:
                part.unlink()
        os.replace(part, goal)
        _flush(goal.parent)
        return goal
    raise Refusal(
        _NOWHERE(
            name=download.name,
            tried=joined(tried, "; "),
            path=f"{download.name}/{file.name}",
            size=_size(file.size),
            sum=file.sha256,
        )
    )


def _part(goal: Path) -> Path:
    return goal.with_name(f".{goal.name}.part")


def _from_place(place: str, file: File, part: Path, tell: Callable[[int], None]) -> None:
    """`part` with the right bytes in it. What an earlier try left may be wrong: then once more from the start."""
    for _ in range(2):
        resumed = part.exists() and part.stat().st_size > 0
        transfer.get(place, part, file.size, tell)
        if sha256(part) == file.sha256:
            return
        part.unlink()
        if not resumed:
            break
    raise Missed(_WRONG_SUM)


@contextmanager
def _alone(folder: Path) -> Iterator[None]:
    """One download at a time into this folder: other threads wait, and other processes where the system can."""
    with _one_at_a_time, (folder / ".fetching").open("a") as file:
        try:
            import fcntl
        except ImportError:
            yield
            return
        fcntl.flock(file, fcntl.LOCK_EX)  # let go of when the file is closed, or the process dies
        yield


_one_at_a_time = threading.Lock()


def sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _flush(folder: Path) -> None:
    """The new name is on the disk, too."""
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def _full(download: Download, goal: Path) -> Words:
    free = shutil.disk_usage(goal.parent).free
    return _FULL(name=download.name, need=_size(download.file.size), free=_size(free))


def _size(count: int) -> str:
    return f"{count / 1e9:.1f} GB" if count >= 1e9 else f"{count / 1e6:.1f} MB"


_WRONG_SUM = Words(
    "sent other bytes than expected (wrong SHA-256)", "에서 받은 내용이 예상과 다릅니다 (SHA-256 불일치)"
)
_NOWHERE = Words(
    "The model `{name}` could not be fetched. Tried: {tried}. Look at the network and try again: it goes on where "
    "it stopped. Or put the file into the models folder as `{path}` ({size}, SHA-256 {sum}).",
    "`{name}` 모델을 내려받지 못했습니다. 시도한 곳: {tried}. 네트워크를 확인하고 다시 시도하시면 멈춘 곳부터 이어서 "
    "받습니다. 또는 파일을 모델 폴더에 `{path}` 이름으로 넣어 주십시오 ({size}, SHA-256 {sum}).",
)
_FULL = Words(
    "There is no room for the model `{name}`: it needs {need}, and the disk of the models folder has {free} left. Make "
    "room there, or set `models.folder` to another disk.",
    "`{name}` 모델을 둘 공간이 없습니다. {need}가 필요한데 모델 폴더의 디스크에는 {free}가 남아 있습니다. 공간을 비우거나 "
    "`models.folder`를 다른 디스크로 바꿔 주십시오.",
)
_WRITE = Words(
    "The model `{name}` could not be kept in the models folder: {why}. Let the studio write there, or change "
    "`models.folder`.",
    "`{name}` 모델을 모델 폴더에 저장하지 못했습니다: {why}. 쓰기 권한을 주거나 `models.folder`를 바꿔 주십시오.",
)
