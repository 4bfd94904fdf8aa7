"""The command line as outside programs use it: `exec --json` in a process of its own, with the real models."""

from __future__ import annotations

import asyncio
import json
import signal
import sqlite3
import subprocess
import sys
from pathlib import Path
from typing import Any, cast

import numpy as np
import pytest
from PIL import Image
from typer.testing import CliRunner

from bot.__main__ import app
from bot.platforms import connect
from bot.platforms.console import Console, ShowJson
from bot.settings.config import load
from bot.talk import Invocation, Message, Person
from engines import embedded
from tests.loopback.slack import SlackServer

TXT2IMG = '/txt2img "a photo of a metal nut with a crack" seed:3 steps:2'
pytestmark = pytest.mark.timeout(300)


def studio(folder: Path, *words: str, ok: bool = True) -> list[dict[str, Any]]:
    """`defect-studio exec --json …` with its data in `folder`; the lines it printed."""
    done = subprocess.run(
        [sys.executable, "-m", "bot", "exec", "--json", "-c", str(config(folder)), *words],
        capture_output=True,
        text=True,
        timeout=280,
    )
    assert (done.returncode == 0) is ok, done.stderr
    assert "Traceback" not in done.stderr, done.stderr
    lines = [json.loads(line) for line in done.stdout.splitlines()]
    for job in {line["job"] for line in lines if line["job"]}:
        assert next(line for line in lines if line["job"] == job)["event"] == "accepted", (
            "however fast it ends"
        )
    return lines


def config(folder: Path) -> Path:
    folder.mkdir(exist_ok=True)
    path = folder / "config.toml"
    path.write_text(f'data = "{folder / "data"}"\n')
    return path


class Quick:
    """A desk whose jobs end before it has said that they are accepted."""

    def __init__(self, console: Console) -> None:
        self.console = console

    async def hear(self, said: Invocation) -> Message:
        ended = Message("finished", "done", job=7, command="cleanup")
        self.ending = asyncio.create_task(self.console.edit(said.place, "1", ended))
        await asyncio.sleep(0.05)
        return Message("accepted", "#7", job=7, command="cleanup")


async def test_a_job_is_told_as_accepted_before_it_is_told_as_finished(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    console = Console(Person("console:kim", "Kim"), "en", tmp_path, ShowJson())
    quick = Quick(console)
    serving = asyncio.create_task(console.serve(quick))  # type: ignore[arg-type]
    assert (await console.say("/cleanup")).kind == "finished"
    await quick.ending
    serving.cancel()
    lines = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert [line["event"] for line in lines] == ["accepted", "finished"]


def finished(lines: list[dict[str, Any]]) -> list[dict[str, Any]]:
    return [line for line in lines if line["event"] == "finished"]


@pytest.fixture(scope="module")
def photo_and_mask(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    folder = tmp_path_factory.mktemp("sent")
    image, _ = embedded.sample(5, "tile", None)
    photo, mask = image.resize((300, 260)), Image.new("L", (300, 260), 0)
    mask.paste(255, (120, 90, 180, 150))
    photo.save(folder / "my photo.png")
    mask.save(folder / "mask.png")
    return folder / "my photo.png", folder / "mask.png"


def test_the_same_words_give_the_same_bytes_and_the_photo_stays_untouched_outside_the_mask(
    tmp_path: Path, photo_and_mask: tuple[Path, Path]
) -> None:
    photo, mask = photo_and_mask
    inpaint = f'/inpaint image:@"{photo}" mask:@{mask} prompt:"a photo of a tile with a stain" seed:1 steps:3'
    lines = studio(tmp_path / "a", TXT2IMG, inpaint, "--out", str(tmp_path / "out"))
    assert [line["event"] for line in lines if line["event"] == "accepted"] == ["accepted"] * 2
    first, second = finished(lines)
    assert first["command"] == "txt2img"
    assert second["command"] == "inpaint"
    assert first["seconds"] > 0
    assert all(Path(path).parent == tmp_path / "out" for line in (first, second) for path in line["files"])

    again = finished(studio(tmp_path / "b", TXT2IMG, inpaint))
    for one, other in zip((first, second), again, strict=True):
        assert [Path(p).read_bytes() for p in one["files"]] == [Path(p).read_bytes() for p in other["files"]]

    before, after = np.asarray(Image.open(photo)), np.asarray(Image.open(second["files"][0]))
    far = np.ones(before.shape[:2], bool)
    far[90 - 8 : 150 + 8, 120 - 8 : 180 + 8] = False  # the mask and its feather
    assert after.shape == before.shape
    assert (before[far] == after[far]).all()
    assert (before[90:150, 120:180] != after[90:150, 120:180]).any()


def test_a_refusal_says_what_is_allowed_and_the_exit_code_tells(tmp_path: Path) -> None:
    lines = studio(tmp_path, "/txt2img tile sampler:fast", "/help", "--lang", "ko", ok=False)
    assert [line["event"] for line in lines] == ["refused", "said"]
    assert "Euler a" in lines[0]["text"]
    assert "골라 주십시오" in lines[0]["text"]
    assert "/inpaint" in lines[1]["text"]


def test_a_second_process_on_the_same_data_says_so_and_leaves(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "bot", "console", "-c", str(config(tmp_path))]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as first:
        assert first.stdin
        assert first.stdout
        assert "Defect Studio" in first.stdout.readline()
        while not (tmp_path / "data" / "lock").exists():
            pass
        second = subprocess.run(command, capture_output=True, text=True, stdin=subprocess.DEVNULL, timeout=60)
        assert second.returncode == 3
        assert f"process {first.pid}" in second.stderr
        assert "Traceback" not in second.stderr
        first.communicate("/models\n", timeout=60)
    assert first.returncode == 0


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (("console", "-c", "taken.toml"), "taken: File exists"),
        (("exec", "-c", "good.toml", "--out", "taken/out", "/help"), "`--out`"),
        (("demo", "--out", "taken/out"), "`--out`"),
        (("backup", "-c", "good.toml", "copy.db"), "unable to open database file"),
    ],
)
def test_what_a_person_can_mend_is_a_sentence(
    words: tuple[str, ...], told: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "taken").write_text("a file")
    (tmp_path / "taken.toml").write_text('data = "taken"\n')
    (tmp_path / "good.toml").write_text('data = "data"\n')
    monkeypatch.chdir(tmp_path)
    done = CliRunner().invoke(app, words)
    assert done.exit_code == 3, done.output
    assert told in done.output
    assert "Traceback" not in done.output


BOTH = {"DISCORD_TOKEN": "t", "SLACK_BOT_TOKEN": "xoxb-t", "SLACK_APP_TOKEN": "xapp-t"}


@pytest.mark.parametrize(
    ("tokens", "names"),
    [
        (("DISCORD_TOKEN", "SLACK_BOT_TOKEN", "SLACK_APP_TOKEN"), ["discord", "slack"]),
        (("DISCORD_TOKEN",), ["discord"]),
        (("SLACK_BOT_TOKEN", "SLACK_APP_TOKEN"), ["slack"]),
        (("SLACK_BOT_TOKEN",), []),
        ((), []),
    ],
)
def test_a_platform_runs_where_its_tokens_are(tokens: tuple[str, ...], names: list[str]) -> None:
    config = load(None, {token: BOTH[token] for token in tokens})
    assert [platform.name for platform in connect(config)] == names


def test_without_tokens_nothing_is_started(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for token in BOTH:
        monkeypatch.delenv(token, raising=False)
    monkeypatch.chdir(tmp_path)
    done = CliRunner().invoke(app, ["run"])
    assert done.exit_code == 2
    assert "DISCORD_TOKEN, or SLACK_BOT_TOKEN and SLACK_APP_TOKEN" in " ".join(done.output.split())
    assert "설정되지 않았습니다" in done.output
    assert list(tmp_path.iterdir()) == []


async def test_a_wrong_token_is_a_sentence(tmp_path: Path) -> None:
    async with SlackServer() as slack:
        file = tmp_path / "config.toml"
        file.write_text(
            f'data = "data"\n[slack]\nbot_token = "xoxb-wrong"\napp_token = "xapp-wrong"\napi_base = "{slack.api_base}"\n'
        )
        command = [sys.executable, "-m", "bot", "run", "-c", str(file)]
        process = await asyncio.create_subprocess_exec(*command, stderr=subprocess.PIPE)
        _, errors = await asyncio.wait_for(process.communicate(), 120)
    assert process.returncode == 3
    assert b"xoxb-" in errors
    assert b"Traceback" not in errors


async def test_the_first_answer_comes_before_all_news_of_a_job(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """A job can end while its first answer is still being drawn."""

    class Quick:
        async def hear(self, said: Invocation) -> Message:
            news.append(asyncio.create_task(console.post(said.place, Message("finished", "end", job=1), "k")))
            await asyncio.sleep(0.05)
            return Message("accepted", "begin", job=1)

    news: list[asyncio.Task[str]] = []
    console = Console(Person("console:kim", "kim"), "en", tmp_path, ShowJson())
    serving = asyncio.create_task(console.serve(cast(Any, Quick())))
    assert (await console.say("/txt2img tile")).text == "end"
    serving.cancel()
    assert [json.loads(line)["text"] for line in capsys.readouterr().out.splitlines()] == ["begin", "end"]


def running(folder: Path, words: str) -> subprocess.Popen[str]:
    """A process whose job is on the device."""
    command = [sys.executable, "-m", "bot", "exec", "--json", "-c", str(config(folder)), words]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    assert process.stdout is not None
    assert next((line for line in process.stdout if '"running"' in line), "")
    return process


def test_sigterm_puts_what_runs_back_into_the_queue(tmp_path: Path) -> None:
    process = running(tmp_path, "/txt2img tile steps:150 seed:1")
    process.send_signal(signal.SIGTERM)
    _, errors = process.communicate(timeout=15)
    assert process.returncode != 0
    assert "Traceback" not in errors
    with sqlite3.connect(tmp_path / "data" / "studio.db") as database:
        assert database.execute("SELECT state, attempts FROM jobs").fetchall() == [("queued", 0)]


def test_ctrl_c_cancels_the_job_that_is_waited_for(tmp_path: Path) -> None:
    process = running(tmp_path, "/txt2img tile steps:150")
    process.send_signal(signal.SIGINT)
    printed, _ = process.communicate(timeout=60)
    last = json.loads(printed.splitlines()[-1])
    assert (last["event"], last["state"]) == ("failed", "cancelled")
    assert process.returncode == 1
