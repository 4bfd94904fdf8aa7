"""`defect-studio doctor`: is everything there that the studio needs? One finding a line, each with its mend."""

from __future__ import annotations

import asyncio
import hashlib
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
from pathlib import Path

from bot.doctor import cluster
from bot.doctor.finding import Finding as Finding
from bot.doctor.words import (
    BFLOAT16,
    BUILT_IN,
    CHANGE_DEVICES,
    CHANGE_FOLDER,
    CHANGE_MODEL,
    CPU_ONLY,
    DAMAGED,
    DECODER,
    DEVICE,
    DRIVER,
    FETCH,
    FOLDER,
    GET_AGAIN,
    HALF_SLACK,
    LICENCE,
    LOOK_AT_NETWORK,
    MAKE_ROOM,
    MORE_MEMORY,
    NEW_PILLOW,
    NEW_SQLITE,
    NEW_TORCH,
    NO_ANSWER,
    NO_DECODER,
    NO_LICENCE,
    NO_PLATFORM,
    NOT_HERE,
    NOT_WRITABLE,
    READ_LICENCE,
    SET_TOKEN,
    SET_TOKENS,
    TORCH_CANNOT,
    VERSIONS,
)
from bot.settings.config import Config
from engines import devices
from engines.devices import Device
from engines.models import catalogue, downloadable, downloads
from engines.models.catalogue import Model
from engines.words import Refusal

ROOM = 5_000_000_000  # bytes free on the data folder's disk, below which one should tidy up
LEAST = 500_000_000  # below which results may not be kept
WEIGHTS = (".safetensors", ".onnx", ".pt")
KINDS = ("txt2img", "img2img", "inpaint", "removebg", "cleanup", "interrogate")


async def examine(config: Config) -> list[Finding]:
    """Everything looked at, in the order in which one would mend it. Asks the platforms whose tokens are set."""
    found = [*_tokens(config), *await _live(config)]
    found += await asyncio.to_thread(lambda: [*_folder(config.data), *_libraries()])
    found += [await _pictures(config)]
    found += await asyncio.to_thread(lambda: [*_devices(config), *cluster.examined(config), *_models(config)])
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

    from bot.pictures.reading import PictureReader

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
    """This machine's own, unless others do the work."""
    engines = config.engines
    if config.pool.backend == "ray" and config.pool.address:
        return
    try:
        found = devices.probe(engines.devices, dtype=engines.dtype, threads=engines.threads)
    except Refusal as refusal:
        yield Finding("error", refusal.words, CHANGE_DEVICES)
        return
    for device in found:
        memory = f"{device.memory / 1e9:.0f} GB" if device.memory else "?"
        told = DEVICE(name=device.name, label=device.label, memory=memory, dtype=device.dtype)
        yield Finding("ok", told) if usable(device) else Finding("error", told + TORCH_CANNOT, NEW_TORCH)
    if (version := devices.driver()) and any(device.kind == "cuda" for device in found):
        yield Finding("ok", DRIVER(version=version))
    if all(device.kind == "cpu" for device in found):
        yield Finding("ok", CPU_ONLY)
    if any(d.kind == "cpu" and d.dtype == "float32" for d in found) and devices.quick_bfloat16():
        yield Finding("ok", BFLOAT16)


def usable(device: Device) -> bool:
    """Can torch use it? Asked in a process of its own, so that the asker does not load torch."""
    if device.kind == "cpu":
        return True
    code = "import sys; from engines.devices import Device, ready; sys.exit(ready(Device(sys.argv[1])).name != sys.argv[1])"
    root = Path(__file__).resolve().parents[2]
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
            broken = damaged(model) if model.path else []
            yield (
                Finding("error", DAMAGED(name=model.name, files=", ".join(broken)), GET_AGAIN)
                if broken
                else _licence(model)
            )


def damaged(model: Model) -> list[str]:
    """The model's weight files that are missing, not as long as their own headers say, or not what they should be."""
    assert model.path is not None
    if known := downloadable.named(model.name):
        return [] if downloads.intact(known, model.path) else [model.path.name]
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
    if model.path is None:
        return Finding("ok", BUILT_IN(name=model.name, licence=model.licence), model.licence_note)
    told = LICENCE(name=model.name, size=_size(model), licence=model.licence, hash=fingerprint(model))
    return Finding("ok", told, model.licence_note)


def fingerprint(model: Model) -> str:
    """The first 12 digits of the SHA-256 of its weights, file after file by name: the same files, the same digits."""
    assert model.path is not None
    folder = model.path
    files = [folder] if folder.is_file() else sorted(f for f in folder.rglob("*") if f.suffix in WEIGHTS)
    whole = hashlib.sha256()
    for file in files:
        with file.open("rb") as opened:
            whole.update(hashlib.file_digest(opened, "sha256").digest())
    return whole.hexdigest()[:12]


def _size(model: Model) -> str:
    if not model.size:
        return "? GB"
    return f"{model.size / 1e9:.1f} GB" if model.size >= 1e9 else f"{model.size / 1e6:.0f} MB"
