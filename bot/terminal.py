"""What the command line does with the console platform: chat, exec, and the models."""

from __future__ import annotations

import asyncio
import errno
import os
import signal
import sys
from collections.abc import Sequence
from pathlib import Path

from rich.console import Console as Terminal
from rich.progress import BarColumn, DownloadColumn, Progress, TaskID, TextColumn, TimeRemainingColumn
from rich.table import Table

from bot.app import known, studio
from bot.platforms.console import Console, Show, ShowJson
from bot.settings.config import Config
from bot.talk import Person
from engines.models import catalogue, downloadable, downloads, hub
from engines.models.catalogue import Model
from engines.words import Language, Refusal, Words


def _console(config: Config, name: str, lang: Language, out: Path | None, show: Show | ShowJson) -> Console:
    person = Person(id=f"console:{name}", name=name, admin=True)  # who has the terminal has the machine
    return Console(person, lang, folder_for_results(out) if out else config.data / "exports", show)


def folder_for_results(folder: Path) -> Path:
    """The folder, made where it is not there. Raises `Refusal` where nothing can be put into it."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        if not os.access(folder, os.W_OK):
            raise PermissionError(errno.EACCES, os.strerror(errno.EACCES))
    except OSError as error:
        raise Refusal(_NO_FOLDER(folder=folder, why=error.strerror)) from None
    return folder


async def execute(
    config: Config, commands: Sequence[str], name: str, lang: Language, out: Path | None, as_json: bool
) -> bool:
    """Say each command and wait for its answer. True if every one finished (talk-only ones: was answered)."""
    console = _console(config, name, lang, out, ShowJson() if as_json else Show(Terminal()))
    console.attended = False  # nobody is there to press a button
    _heed_signals(console)
    async with studio(config, [console]):
        kinds = [(await console.say(command)).kind for command in commands]
    return all(kind in ("finished", "said") for kind in kinds)


async def chat(config: Config, name: str, lang: Language, out: Path | None) -> None:
    """Read commands from the terminal (or a pipe) until its end."""
    terminal = Terminal()
    console = _console(config, name, lang, out, Show(terminal))
    terminal.print(_HELLO.of(lang), highlight=False)

    def ask() -> str | None:
        try:
            return terminal.input("[bold cyan]›[/] ") if sys.stdin.isatty() else input()
        except EOFError:
            return None

    _heed_signals(console)
    async with studio(config, [console]):
        await console.chat(ask)


def _heed_signals(console: Console) -> None:
    """SIGTERM leaves like Ctrl-D does: what runs goes back into the queue. Ctrl-C first cancels what is waited for."""
    task, loop = asyncio.current_task(), asyncio.get_running_loop()
    if task is None:
        return

    def leave_or_cancel() -> None:
        if not console.interrupt():
            task.cancel()

    loop.add_signal_handler(signal.SIGTERM, task.cancel)
    loop.add_signal_handler(signal.SIGINT, leave_or_cancel)


def model_table(config: Config, lang: Language) -> Table:
    """Every model known here: what for, licence, whether its files are here."""
    table = Table(title=_MODELS.of(lang))
    for column in _COLUMNS:
        table.add_column(column.of(lang))
    for model in known(config):
        here = _HERE if model.here else _NOT_HERE
        table.add_row(model.name, " ".join(sorted(model.kinds)), model.licence, here.of(lang))
    return table


def fetch(config: Config, name: str, lang: Language) -> bool:
    """Bring a model's files here; says why when it cannot."""
    terminal = Terminal()
    folder = config.engine_settings().models
    try:
        model = catalogue.find(name, None, folder)
        terminal.print(f"{model.name}: {model.licence}", highlight=False)
        if model.licence_note:
            terminal.print(model.licence_note.of(lang), highlight=False, markup=False)
        where = model.path or _fetched(model, folder, terminal)
    except Refusal as refusal:
        terminal.print(refusal.words.of(lang), style="red", highlight=False, markup=False)
        return False
    terminal.print(str(where), highlight=False, soft_wrap=True)
    return True


def _fetched(model: Model, folder: Path, terminal: Terminal) -> Path:
    """Fetch with a bar, or with the hub client's silence."""
    if not downloadable.named(model.name):
        return hub.fetch(model, folder, lambda place: terminal.print(f"… {place}", highlight=False))
    columns = (TextColumn("{task.description}"), BarColumn(), DownloadColumn(), TimeRemainingColumn())
    with Progress(*columns, console=terminal) as bar:
        tasks: dict[str, TaskID] = {}

        def tell(place: str, here: int, all: int) -> None:
            if place not in tasks:
                tasks[place] = bar.add_task(place, total=all)
            bar.update(tasks[place], completed=here)

        return downloads.fetch(model.name, folder, tell)


_HELLO = Words(
    "Defect Studio. Type /help for the commands, @path for a file, /quit to leave.",
    "Defect Studio입니다. /help 로 명령을 보고, 파일은 @경로 로 쓰고, /quit 로 나갑니다.",
)
_NO_FOLDER = Words(
    "Results cannot be written to {folder}: {why}. Choose another folder with `--out`.",
    "결과를 {folder} 폴더에 쓸 수 없습니다: {why}. `--out`으로 다른 폴더를 정해 주십시오.",
)
_MODELS = Words("Models", "모델")
_COLUMNS = (
    Words("name", "이름"),
    Words("for", "용도"),
    Words("licence", "라이선스"),
    Words("files", "파일"),
)
_HERE = Words("here", "있음")
_NOT_HERE = Words("fetched when first used", "처음 쓸 때 받음")
