"""The terminal as a chat: same desk, same queue, same grammar. Also what `exec` and `demo` speak through."""

from __future__ import annotations

import asyncio
import json
import shutil
import sys
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich.console import Console as Terminal
from rich.markdown import Markdown
from rich.progress import BarColumn, Progress, TaskID, TextColumn, TimeRemainingColumn

from bot import grammar, picks
from bot.platforms.local_file import LocalFile
from bot.talk import Invocation, Limits, Message, Person, Place, Press
from engines.words import Language, Refusal

if TYPE_CHECKING:
    from bot.desk import Desk

LIMITS = Limits(
    file_bytes=2**40, files=10_000, message_bytes=2**40, edit_every=0.15, text=100_000, edit_age=float("inf")
)


class Show:
    """How messages reach the terminal: words, a bar per running job, and the names of files."""

    def __init__(self, terminal: Terminal) -> None:
        self.terminal = terminal
        self.bars = Progress(
            TextColumn("[bold]#{task.fields[job]}"),
            BarColumn(),
            TextColumn("{task.completed:.0f}/{task.total:.0f}"),
            TimeRemainingColumn(),
            console=terminal,
            transient=True,
        )
        self.tasks: dict[int, TaskID] = {}

    def say(self, message: Message, files: list[Path]) -> None:
        if message.kind == "progress" and message.bar:
            self._bar(message)
            return
        if message.kind in ("finished", "failed"):
            self._drop(message.job)
        if message.text:
            self.terminal.print(Markdown(message.text.replace("\n", "  \n")))  # a line is a line
        if message.choices:
            named = "  ".join(f"{i} {one.label}" for i, one in enumerate(message.choices.options, 1))
            self.terminal.print(f"{named}\n  /pick {message.job} 1 2 txt2img", markup=False, highlight=False)
        for path in files:
            self.terminal.print(f"  → {path}", style="green", highlight=False, soft_wrap=True)

    def _bar(self, message: Message) -> None:
        if message.bar is None:
            return
        if message.job not in self.tasks:
            self.bars.start()
            self.tasks[message.job] = self.bars.add_task("", total=message.bar.total, job=message.job)
        self.bars.update(self.tasks[message.job], completed=message.bar.step)

    def _drop(self, job: int) -> None:
        if (task := self.tasks.pop(job, None)) is not None:
            self.bars.remove_task(task)
        if not self.tasks:
            self.bars.stop()


class ShowJson:
    """One JSON object per line on stdout, for programs."""

    def say(self, message: Message, files: list[Path]) -> None:
        line: dict[str, Any] = {"event": message.kind, "job": message.job or None, "command": message.command}
        line |= {"text": message.text}
        if message.bar:
            line |= {"step": message.bar.step, "total": message.bar.total}
        line |= dict(message.facts)
        if message.choices:
            line["choices"] = [option.label for option in message.choices.options]
        if message.kind == "finished":
            line["files"] = [str(path) for path in files]
            line.setdefault("seconds", 0.0)
        sys.stdout.write(json.dumps(line, ensure_ascii=False) + "\n")
        sys.stdout.flush()


@dataclass(slots=True)
class Console:
    """Implements `bot.talk.Platform`. Result files are copied to `out`."""

    person: Person
    language: Language
    out: Path
    show: Show | ShowJson
    name: str = "console"
    desk: Desk | None = None
    attended: bool = True
    _count: int = 0
    _waiting: int = 0  # the job whose end is waited for
    _presses: list[asyncio.Future[Message]] = field(default_factory=list)
    _ends: dict[int, asyncio.Future[Message]] = field(default_factory=dict)
    _ready: asyncio.Event = field(default_factory=asyncio.Event)
    _first: asyncio.Lock = field(default_factory=asyncio.Lock)  # the first answer comes before any news

    @property
    def place(self) -> Place:
        return Place(platform=self.name, channel=self.person.id, private=True)

    # what the outbox asks of a platform
    def limits(self, place: Place) -> Limits:
        return LIMITS

    async def serve(self, desk: Desk) -> None:
        self.desk = desk
        self._ready.set()
        await asyncio.get_running_loop().create_future()  # until cancelled

    async def post(self, place: Place, message: Message, key: str) -> str:
        await self._deliver(message)
        return key

    async def edit(self, place: Place, message_id: str, message: Message) -> None:
        await self._deliver(message)

    async def find(self, place: Place, key: str, since: float) -> str | None:
        return None  # what a dead terminal showed is not there any more: say it again

    async def delete(self, place: Place, message_id: str) -> None:
        return None

    async def _deliver(self, message: Message) -> None:
        if message.kind == "accepted":
            return  # `hear` has said so already
        files = await self._kept(message)
        async with self._first:
            self.show.say(message, files)
        if message.kind in ("finished", "failed"):
            self._end(message.job).set_result(message) if not self._end(message.job).done() else None

    async def _kept(self, message: Message) -> list[Path]:
        return [await asyncio.to_thread(self._keep, f.path, f"{message.job}-{f.name}") for f in message.files]

    def _keep(self, source: Path, name: str) -> Path:
        """Copy a result beside its final name first, so that no half file is ever seen there."""
        self.out.mkdir(parents=True, exist_ok=True)
        target = self.out / Path(name).name
        part = target.with_name(target.name + ".part")
        shutil.copyfile(source, part)
        part.replace(target)
        return target

    def _end(self, job: int) -> asyncio.Future[Message]:
        if job not in self._ends:
            self._ends[job] = asyncio.get_running_loop().create_future()
        return self._ends[job]

    # what the person at the keyboard does
    async def say(self, text: str) -> Message:
        """Say one command and wait for its last answer: finished, failed, refused or said."""
        await self._ready.wait()
        if self.desk is None:
            raise RuntimeError("the console is not connected to a desk")
        self._count += 1
        heard = Invocation(
            key=f"console:{self.person.id}:{time.time_ns()}:{self._count}",
            person=self.person,
            place=self.place,
            language=self.language,
            text=text,
            attended=self.attended,
            attachments=tuple(LocalFile(said) for said in grammar.references(text)),
        )
        async with self._first:
            answer = await self._picked(heard) or await self.desk.hear(heard)
            self.show.say(answer, await self._kept(answer))
        if answer.kind != "accepted":
            return answer
        return await self._until_end(answer.job)

    async def _picked(self, heard: Invocation) -> Message | None:
        """`/pick 42 1 3 txt2img` stands for what a chat's menu and buttons do; None for any other saying."""
        try:
            said = picks.pressed_by_words(heard.text)
        except Refusal as refusal:
            return Message("refused", refusal.words.of(heard.language), command="pick")
        if said is None or self.desk is None:
            return None
        job, values, action = said
        press = Press(heard.key, heard.person, heard.place, heard.language, action, job, values=values)
        return await self.desk.press(press)

    async def _until_end(self, job: int) -> Message:
        self._waiting = job
        try:
            return await self._end(job)
        finally:
            self._waiting = 0

    def interrupt(self) -> bool:
        """Ctrl-C: press Cancel on the job that is waited for. False where none is."""
        if not self._waiting or self.desk is None:
            return False
        key = f"console:cancel:{time.time_ns()}"
        press = Press(key, self.person, self.place, self.language, "cancel", self._waiting)
        self._presses.append(asyncio.ensure_future(self.desk.press(press)))
        return True

    async def chat(self, ask: Callable[[], str | None]) -> None:
        """Read commands until the end of input or `/quit`."""
        while (line := await _in_daemon(ask)) is not None:
            if line.strip() in ("/quit", "/exit", "/bye"):
                return
            if line.strip():
                await self.say(line)


async def _in_daemon(ask: Callable[[], str | None]) -> str | None:
    """What `ask` returns, asked on a thread that does not keep the process from ending."""
    loop = asyncio.get_running_loop()
    answer: asyncio.Future[str | None] = loop.create_future()

    def settle(line: str | None) -> None:
        if not answer.done():
            answer.set_result(line)

    def wait() -> None:
        line = ask()
        with suppress(RuntimeError):  # the loop is closed: nobody waits any more
            loop.call_soon_threadsafe(settle, line)

    threading.Thread(target=wait, daemon=True, name="keyboard").start()
    return await answer
