"""The command line `defect-studio`."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Coroutine
from pathlib import Path
from typing import Annotated, Any, Literal, TypeVar

import typer
from rich.console import Console as Terminal

from bot.leaving import leave
from bot.settings.config import Config, ConfigError, load
from engines.words import Language, Refusal, Words

T = TypeVar("T")

app = typer.Typer(
    name="defect-studio",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    help="Makes pictures of product defects where your team already talks: Discord, Slack or this terminal.",
)
models_app = typer.Typer(no_args_is_help=True, help="The models: which there are, and fetching them.")
app.add_typer(models_app, name="models")

ConfigPath = Annotated[
    Path | None, typer.Option("-c", "--config", help="The TOML file; without it, the built-in one.")
]
AsName = Annotated[str, typer.Option("--as", help="Who you are in the terminal's chat.")]
Lang = Annotated[Literal["en", "ko"], typer.Option("--lang", help="The language of the answers.")]
Out = Annotated[
    Path | None, typer.Option("--out", help="Where result files go; default: exports/ in the data folder.")
]

errors = Terminal(stderr=True)


def _config(path: Path | None) -> Config:
    try:
        config = load(path)
    except ConfigError as error:
        errors.print(str(error), style="red", highlight=False, markup=False)
        raise typer.Exit(2) from None
    from bot import log

    log.to_stderr(config.log.level)
    return config


def _run(main: Coroutine[Any, Any, T], lang: Language) -> T:
    """Run a coroutine; what a person can mend is a sentence, not a traceback."""
    from storage import StorageError

    try:
        return asyncio.run(main)
    except* (StorageError, Refusal) as group:
        words = _told(group)
        errors.print(words.of(lang), style="red", highlight=False, markup=False, soft_wrap=True)
        raise typer.Exit(3) from None
    except* (KeyboardInterrupt, asyncio.CancelledError):
        raise typer.Exit(130) from None


def _told(error: BaseException) -> Words:
    """What to say of the first of these errors."""
    from storage import Locked

    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    if isinstance(error, Refusal):
        return error.words
    if isinstance(error, Locked):
        return _LOCKED(folder=error.folder, pid=error.pid or "?")
    return _DISK(why=error)


@app.command()
def run(config: ConfigPath = None) -> None:
    """Answer on Discord and/or Slack, as configured, until SIGTERM."""
    from bot.app import serve
    from bot.platforms import connect

    settings = _config(config)
    platforms = connect(settings)
    if not platforms:
        errors.print(
            "Neither Discord nor Slack is configured: set DISCORD_TOKEN, or SLACK_BOT_TOKEN and SLACK_APP_TOKEN "
            "(or the same in the config file). `defect-studio console` needs no token.\n"
            "Discord도 Slack도 설정되지 않았습니다. DISCORD_TOKEN, 또는 SLACK_BOT_TOKEN과 SLACK_APP_TOKEN을 "
            "설정해 주십시오. `defect-studio console`은 토큰 없이 쓸 수 있습니다.",
            highlight=False,
            markup=False,
        )
        raise typer.Exit(2)
    _run(serve(settings, platforms), settings.language)


@app.command()
def console(config: ConfigPath = None, as_name: AsName = "you", lang: Lang = "en", out: Out = None) -> None:
    """Chat in the terminal: the same desk, queue and grammar."""
    from bot.terminal import chat

    _run(chat(_config(config), as_name, lang, out), lang)


@app.command("exec")
def exec_(
    commands: Annotated[
        list[str], typer.Argument(help="What to say, e.g. '/txt2img \"a photo of a tile\"'.")
    ],
    config: ConfigPath = None,
    as_name: AsName = "you",
    lang: Lang = "en",
    out: Out = None,
    as_json: Annotated[bool, typer.Option("--json", help="One JSON object per line on stdout.")] = False,
) -> None:
    """Say each command, wait for its answer and write the result files; exit 0 only if all finished."""
    from bot.terminal import execute

    if not _run(execute(_config(config), commands, as_name, lang, out, as_json), lang):
        raise typer.Exit(1)


@app.command()
def demo(lang: Lang = "en", out: Annotated[Path, typer.Option("--out")] = Path("demo-out")) -> None:
    """A photo of a product, a mask, and a scratch put into it: the whole path, with the embedded models."""
    from bot.demo import show

    if not _run(show(load(None), lang, out), lang):
        raise typer.Exit(1)


@app.command()
def doctor(config: ConfigPath = None, lang: Lang = "en") -> None:
    """Look at config, tokens, devices, disk, models and licences; one line each, with the mend."""
    from bot.doctor.doctor import examine

    findings = _run(examine(_config(config)), lang)
    marks = {"ok": "[green]ok     [/]", "warning": "[yellow]warning[/]", "error": "[red]error  [/]"}
    terminal = Terminal()
    for finding in findings:
        terminal.print(marks[finding.level], end=" ")
        terminal.print(finding.words.of(lang), highlight=False, markup=False, soft_wrap=True)
    if any(finding.level == "error" for finding in findings):
        raise typer.Exit(1)


@app.command()
def manifest(platform: Literal["discord", "slack"]) -> None:
    """What to register with Discord or Slack, as JSON."""
    from bot.platforms import manifest_of

    typer.echo(json.dumps(manifest_of(platform), ensure_ascii=False, indent=2))


@app.command()
def backup(file: Path, config: ConfigPath = None) -> None:
    """Copy the database while the studio runs."""
    from storage.database import backup as copy
    from storage.store import DATABASE

    settings = _config(config)
    _run(copy(settings.data / DATABASE, file), settings.language)
    typer.echo(str(file))


@models_app.command("list")
def models_list(config: ConfigPath = None, lang: Lang = "en") -> None:
    """Every model there is, with its licence."""
    from bot.terminal import model_table

    Terminal().print(model_table(_config(config), lang))


@models_app.command("fetch")
def models_fetch(name: str, config: ConfigPath = None, lang: Lang = "en") -> None:
    """Bring a model's files here from the first place that has them."""
    from bot.terminal import fetch

    if not fetch(_config(config), name, lang):
        raise typer.Exit(1)


def main() -> None:
    """The entry point of `defect-studio`."""
    try:
        app(prog_name="defect-studio")
    except SystemExit as end:
        if end.code is None or isinstance(end.code, int):
            leave(end.code or 0)
        raise


_LOCKED = Words(
    "The data folder {folder} is in use by process {pid}. One process at a time: stop that one, or name another "
    "folder as `data` in the configuration.",
    "데이터 폴더 {folder}은(는) 프로세스 {pid}에서 사용하고 있습니다. 한 번에 한 프로세스만 쓸 수 있으니 그 프로세스를 "
    "멈추거나 설정의 `data`에 다른 폴더를 적어 주십시오.",
)
_DISK = Words("The disk would not do it: {why}.", "디스크 작업을 하지 못했습니다: {why}.")


if __name__ == "__main__":
    main()
