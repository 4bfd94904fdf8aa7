"""`defect-studio doctor`: is everything there that the studio needs? One finding a line, each with its mend."""

from __future__ import annotations

import asyncio
import io
import json
import os
import shutil
import sqlite3
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from bot.config import Config
from engines import catalogue, devices
from engines.catalogue import Model
from engines.devices import Device
from engines.words import Refusal, Words

Level = Literal["ok", "warning", "error"]

ROOM = 5_000_000_000  # bytes free on the data folder's disk, below which one should tidy up
LEAST = 500_000_000  # below which results may not be kept
KINDS = ("txt2img", "img2img", "inpaint")


@dataclass(frozen=True, slots=True)
class Finding:
    """What was found, and what to do about it where something is to be done."""

    level: Level
    what: Words
    mend: Words | None = None

    @property
    def words(self) -> Words:
        return self.what + self.mend if self.mend else self.what


async def examine(config: Config) -> list[Finding]:
    """Everything looked at, in the order in which one would mend it. Asks the platforms whose tokens are set."""
    found = [*_tokens(config), *await _live(config)]
    found += await asyncio.to_thread(lambda: [*_folder(config.data), *_libraries()])
    found += [await _pictures(config)]
    found += await asyncio.to_thread(lambda: [*_devices(config), *_models(config)])
    return found


def _tokens(config: Config) -> Iterator[Finding]:
    slack = config.slack
    halves = {
        "SLACK_BOT_TOKEN": slack.bot_token.get_secret_value(),
        "SLACK_APP_TOKEN": slack.app_token.get_secret_value(),
    }
    if any(halves.values()) and not slack.on:
        missing = next(name for name, value in halves.items() if not value)
        yield Finding("error", HALF_SLACK, SET_TOKEN(name=missing))
    if not config.discord.on and not slack.on:
        yield Finding("warning", NO_PLATFORM, SET_TOKENS)


async def _live(config: Config) -> list[Finding]:
    """What the platforms say to the tokens."""
    from bot.platforms import live_checks

    try:
        async with asyncio.timeout(30):
            told = await live_checks(config)
    except Exception as error:
        return [Finding("error", NO_ANSWER(why=f"{type(error).__name__}: {error}"[:200]), LOOK_AT_NETWORK)]
    return [Finding("ok" if good else "error", words) for good, words in told]


def _folder(folder: Path) -> Iterator[Finding]:
    there = next(path for path in (folder.absolute(), *folder.absolute().parents) if path.exists())
    try:
        with tempfile.TemporaryFile(dir=there) as file:  # where the folder is, or will be made
            file.write(b"x")
            os.fsync(file.fileno())
    except OSError as error:
        yield Finding("error", NOT_WRITABLE(folder=folder, why=error.strerror or error), CHANGE_FOLDER)
        return
    free = shutil.disk_usage(there).free
    told = FOLDER(folder=folder.resolve(), free=f"{free / 1e9:.1f}")
    if free < LEAST:
        yield Finding("error", told, MAKE_ROOM)
    elif free < ROOM:
        yield Finding("warning", told, MAKE_ROOM)
    else:
        yield Finding("ok", told)


def _libraries() -> Iterator[Finding]:
    import PIL

    python = ".".join(str(part) for part in sys.version_info[:3])
    told = VERSIONS(python=python, sqlite=sqlite3.sqlite_version, pillow=PIL.__version__)
    if sqlite3.sqlite_version_info < (3, 37):  # STRICT tables
        yield Finding("error", told, NEW_SQLITE)
    elif int(PIL.__version__.split(".")[0]) < 13:  # earlier ones have holes that a picture can use
        yield Finding("error", told, NEW_PILLOW)
    else:
        yield Finding("ok", told)


async def _pictures(config: Config) -> Finding:
    """Start a decoder with the configured limits and let it read a picture."""
    from PIL import Image

    from bot.pictures import PictureReader

    out = io.BytesIO()
    Image.new("RGB", (64, 64), "grey").save(out, "PNG")
    try:
        async with PictureReader(config.picture_limits()) as reader:
            await reader.mask((await reader.read(out.getvalue(), "doctor.png")).png, "box=25%,25%,50%,50%")
    except Exception as error:
        why = error.words if isinstance(error, Refusal) else f"{type(error).__name__}: {error}"
        return Finding("error", NO_DECODER(why=why), MORE_MEMORY)
    return Finding("ok", DECODER)


def _devices(config: Config) -> Iterator[Finding]:
    engines = config.engines
    try:
        found = devices.probe(engines.devices, dtype=engines.dtype, threads=engines.threads)
    except Refusal as refusal:
        yield Finding("error", refusal.words, CHANGE_DEVICES)
        return
    for device in found:
        memory = f"{device.memory / 1e9:.0f} GB" if device.memory else "?"
        told = DEVICE(name=device.name, label=device.label, memory=memory, dtype=device.dtype)
        yield Finding("ok", told) if usable(device) else Finding("error", told + TORCH_CANNOT, NEW_TORCH)
    if all(device.kind == "cpu" for device in found):
        yield Finding("ok", CPU_ONLY)


def usable(device: Device) -> bool:
    """Can torch use it? Asked in a process of its own, so that the asker does not load torch."""
    if device.kind == "cpu":
        return True
    code = "import sys; from engines.devices import Device, ready; sys.exit(ready(Device(sys.argv[1])).name != sys.argv[1])"
    root = Path(__file__).resolve().parents[1]
    asked = [sys.executable, "-c", code, device.name]
    return subprocess.run(asked, cwd=root, capture_output=True, timeout=300, check=False).returncode == 0


def _models(config: Config) -> Iterator[Finding]:
    """The default model of each kind must be here; every model on this disk has a licence to know."""
    settings = config.engine_settings()
    told: set[str] = set()
    for kind in KINDS:
        name = settings.defaults.get(kind, "")
        try:
            model = catalogue.find(name, kind, settings.models, settings.model_paths)
        except Refusal as refusal:
            yield Finding("error", refusal.words, CHANGE_MODEL(kind=kind))
            continue
        if not model.here and model.name not in told:
            told.add(model.name)
            yield Finding(
                "warning", NOT_HERE(name=model.name, kind=kind, size=_size(model)), FETCH(name=model.name)
            )
    for model in catalogue.known(settings.models, settings.model_paths):
        if model.here:
            broken = damaged(model)
            yield (
                Finding("error", DAMAGED(name=model.name, files=", ".join(broken)), GET_AGAIN)
                if broken
                else _licence(model)
            )


def damaged(model: Model) -> list[str]:
    """The model's weight files that are missing, or not as long as their own headers say."""
    assert model.path is not None
    if model.path.is_file():
        return [] if _whole(model.path) else [model.path.name]
    files = {*model.path.rglob("*.safetensors")}
    for index in model.path.rglob("*.safetensors.index.json"):  # weights in several files
        with suppress(OSError, ValueError, KeyError, AttributeError):
            files |= {index.parent / name for name in json.loads(index.read_text())["weight_map"].values()}
    return sorted(file.name for file in files if not _whole(file))


def _whole(file: Path) -> bool:
    try:
        ends = [tensor["data_offsets"][1] for tensor in catalogue.header(file).values()]
        with file.open("rb") as opened:
            head = 8 + int.from_bytes(opened.read(8), "little")
    except (OSError, ValueError, KeyError):
        return False
    return file.stat().st_size == head + max(ends, default=0)


def _licence(model: Model) -> Finding:
    if not model.licence:
        return Finding("warning", NO_LICENCE(name=model.name), READ_LICENCE)
    told = LICENCE(name=model.name, size=_size(model), licence=model.licence)
    return Finding("ok", told, model.licence_note)


def _size(model: Model) -> str:
    if not model.size:
        return "? GB"
    return f"{model.size / 1e9:.1f} GB" if model.size >= 1e9 else f"{model.size / 1e6:.0f} MB"


NO_PLATFORM = Words(
    "Neither Discord nor Slack has its tokens; the terminal works without.",
    "Discord와 Slack의 토큰이 없습니다. 터미널은 토큰 없이 쓸 수 있습니다.",
)
SET_TOKENS = Words(
    "Set DISCORD_TOKEN, or SLACK_BOT_TOKEN and SLACK_APP_TOKEN, or write them into the config file.",
    "DISCORD_TOKEN, 또는 SLACK_BOT_TOKEN과 SLACK_APP_TOKEN을 설정하거나 설정 파일에 적어 주세요.",
)
HALF_SLACK = Words("Slack has only one of its two tokens.", "Slack 토큰 두 개 중 하나만 있습니다.")
SET_TOKEN = Words("Set {name} as well.", "{name}도 설정해 주세요.")
NO_ANSWER = Words("The platforms could not be asked: {why}.", "플랫폼에 확인하지 못했습니다: {why}.")
LOOK_AT_NETWORK = Words(
    "Look at the network, the proxy and api_base.", "네트워크, 프록시, api_base를 확인해 주세요."
)
NOT_WRITABLE = Words(
    "The data folder {folder} cannot be written: {why}.", "데이터 폴더 {folder}에 쓸 수 없습니다: {why}."
)
CHANGE_FOLDER = Words(
    "Give this user the right to write there, or set `data` to another folder.",
    "이 사용자에게 쓰기 권한을 주거나 `data`를 다른 폴더로 바꿔 주세요.",
)
FOLDER = Words("Data folder {folder}, {free} GB free.", "데이터 폴더 {folder}, 남은 공간 {free} GB.")
MAKE_ROOM = Words(
    "Make room on this disk, or set `data` to another one.",
    "디스크 공간을 비우거나 `data`를 다른 디스크로 바꿔 주세요.",
)
VERSIONS = Words(
    "Python {python}, SQLite {sqlite}, Pillow {pillow}.",
    "Python {python}, SQLite {sqlite}, Pillow {pillow} 버전입니다.",
)
NEW_SQLITE = Words(
    "SQLite 3.37 or later is needed: use a newer Python or system.",
    "SQLite 3.37 이상이 필요합니다. 더 새로운 Python이나 시스템을 사용해 주세요.",
)
NEW_PILLOW = Words(
    "Pillow 13 or later is needed: install the pinned requirements again with `make setup`.",
    "Pillow 13 이상이 필요합니다. `make setup`으로 고정된 패키지를 다시 설치해 주세요.",
)
DECODER = Words("Pictures are unpacked in their own process.", "사진은 별도 프로세스에서 풉니다.")
NO_DECODER = Words("Pictures cannot be unpacked: {why}", "사진을 풀 수 없습니다: {why}")
MORE_MEMORY = Words("Raise `limits.decoder_mb`.", "`limits.decoder_mb` 값을 높여 주세요.")
DEVICE = Words(
    "Device {name}: {label}, {memory}, {dtype}.", "장치 {name}: {label}, 메모리 {memory}, 형식 {dtype}."
)
CPU_ONLY = Words(
    "No GPU is used: the embedded models are quick enough, the large ones take minutes a picture.",
    "GPU를 쓰지 않습니다. 내장 모델은 충분히 빠르지만, 큰 모델은 그림 한 장에 몇 분이 걸립니다.",
)
TORCH_CANNOT = Words("This torch cannot use it.", "지금 설치된 torch로는 쓸 수 없습니다.")
NEW_TORCH = Words(
    'Install the torch build for this device\'s driver, or set `engines.devices` to ["cpu"].',
    '장치 드라이버에 맞는 torch를 설치하거나 `engines.devices`를 ["cpu"]로 바꿔 주세요.',
)
DAMAGED = Words("The model {name} is damaged: {files}.", "{name} 모델의 파일이 손상되었습니다: {files}.")
GET_AGAIN = Words(
    "Delete its folder and fetch it again with `defect-studio models fetch`.",
    "폴더를 지우고 `defect-studio models fetch`로 다시 받아 주세요.",
)
CHANGE_DEVICES = Words("Change `engines.devices`.", "`engines.devices`를 바꿔 주세요.")
CHANGE_MODEL = Words("Change `models.{kind}`.", "`models.{kind}`을(를) 바꿔 주세요.")
NOT_HERE = Words(
    "The model {name}, used for {kind}, is not on this disk ({size}).",
    "{kind}에 쓰는 {name} 모델이 이 디스크에 없습니다 ({size}).",
)
FETCH = Words(
    "It is fetched when first asked for; `defect-studio models fetch {name}` does it now.",
    "처음 요청할 때 내려받습니다. 지금 받으려면 `defect-studio models fetch {name}` 명령을 쓰세요.",
)
LICENCE = Words("Model {name}, {size}: {licence}.", "{name} 모델, {size}: {licence}.")
NO_LICENCE = Words(
    "The licence of the model {name} is not known.", "{name} 모델의 라이선스를 알 수 없습니다."
)
READ_LICENCE = Words(
    "Read it where the model came from before its pictures are sold.",
    "그림을 상업적으로 쓰기 전에 모델을 받은 곳에서 라이선스를 확인해 주세요.",
)
