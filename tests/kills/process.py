"""The process that is killed: the real studio with a tiny engine, told by its parent where to connect.

It imports everything once and then forks a child for every life, so that a life starts in no time. On its stdin:
one JSON object a life; on its stdout: `started PID`, then `ended STATUS`.
"""

from __future__ import annotations

import asyncio
import dataclasses
import functools
import json
import logging
import os
import random
import sys
import uuid
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve()
sys.path[:0] = [str(HERE.parents[2]), str(HERE.parents[1])]

from kills import brush  # noqa: E402
from kills.phases import Phases  # noqa: E402

import bot.answers.outbox  # noqa: E402
import bot.app  # noqa: E402
import bot.dispatcher  # noqa: E402
import bot.many.works  # noqa: E402
from bot.platforms.discord import Discord  # noqa: E402
from bot.platforms.slack import Slack, api  # noqa: E402
from bot.settings.config import Config  # noqa: E402
from bot.settings.sections import LimitsOf  # noqa: E402
from bot.talk import Unreachable  # noqa: E402
from storage.jobs import Job, Jobs  # noqa: E402

Method = Callable[..., Awaitable[Any]]


def around(owner: Any, name: str, wrap: Callable[[Method], Method]) -> None:
    """Replace the method by what `wrap` makes of it."""
    setattr(owner, name, functools.wraps(getattr(owner, name))(wrap(getattr(owner, name))))


def watch(owner: Any, name: str, phase: str, phases: Phases) -> None:
    """Tell when the method is inside; a little longer than it takes, so that kills fall before and after it too."""

    def wrap(method: Method) -> Method:
        async def watched(*args: Any, **more: Any) -> Any:
            with phases.inside(phase):
                await asyncio.sleep(random.uniform(0.0, 0.01))
                got = await method(*args, **more)
                await asyncio.sleep(random.uniform(0.0, 0.01))
                return got

        return watched

    around(owner, name, wrap)


def watch_all(phases: Phases) -> None:
    watch(Jobs, "add", "accept", phases)
    watch(Jobs, "finish", "record", phases)
    for platform in (Discord, Slack):
        for name in ("post", "edit", "find"):
            watch(platform, name, "send", phases)

    def counted(change: int) -> Callable[[Method], Method]:
        def wrap(method: Method) -> Method:
            async def queueing(*args: Any, **more: Any) -> Any:
                got = await method(*args, **more)
                if got:
                    phases.add("queued", change)
                return got

            return queueing

        return wrap

    around(Jobs, "add", counted(+1))
    around(Jobs, "claim", counted(-1))

    def recounted(method: Method) -> Method:
        async def recover(self: Jobs, *args: Any, **more: Any) -> Any:
            got = await method(self, *args, **more)
            phases.add("queued", await self.queued())
            return got

        return recover

    around(Jobs, "recover", recounted)


def hurry() -> None:
    """Not to wait for seconds where milliseconds do: lives are short here."""

    def impatient(method: Method) -> Method:
        async def sooner(*args: Any, **more: Any) -> Any:
            try:
                return await method(*args, **more)
            except Unreachable as error:
                raise Unreachable(
                    str(error), retry_after=error.retry_after / 10, uncertain=error.uncertain
                ) from error

        return sooner

    for platform in (Discord, Slack):
        for name in ("post", "edit", "find"):
            around(platform, name, impatient)
    api.PER_MINUTE, api.PER_POST = 6000, 0.02
    bot.app.Outbox = functools.partial(bot.answers.outbox.Outbox, settle=0.2)  # type: ignore[misc, assignment]
    bot.app.Dispatcher = functools.partial(bot.dispatcher.Dispatcher, crashes=1000)  # type: ignore[misc, assignment]


# What the tests must notice: the code broken on purpose.


def repeats() -> None:
    """An outbox that repeats without looking, and a nonce that is no use."""

    async def never(*_: Any) -> None:
        return None

    bot.answers.outbox._find = never  # type: ignore[assignment]

    def at_random(method: Method) -> Method:
        async def post(self: Any, place: Any, message: Any, key: str) -> Any:
            return await method(self, place, message, uuid.uuid4().hex[:20])

        return post

    for platform in (Discord, Slack):
        around(platform, "post", at_random)


def forgets() -> None:
    """What was running at a crash stays so for ever."""

    async def nothing(*_: Any) -> list[Job]:
        return []

    Jobs.recover = nothing  # type: ignore[method-assign]


def promises_too_early() -> None:
    """The person is told before the disk is."""

    def early(method: Method) -> Method:
        async def add(self: Jobs, **values: Any) -> tuple[Job, bool]:
            last = await self._database.read(lambda db: db.execute("SELECT max(id) FROM jobs").fetchone()[0])
            now, shown = (
                values["now"],
                {k: v for k, v in values.items() if k not in ("inputs", "now", "notes")},
            )
            tasks.add(asyncio.create_task(late(self, values)))
            return Job(
                (last or 0) + 1, **shown, notes=[], state="queued", attempts=0, created=now, started=None, ended=None,
                seconds=None, error=None,
            ), True  # fmt: skip

        async def late(self: Jobs, values: dict[str, Any]) -> None:
            await asyncio.sleep(0.15)
            await method(self, **values)

        tasks: set[asyncio.Task[None]] = set()
        return add

    around(Jobs, "add", early)


def starts_over() -> None:
    """Finished parts of a job are not looked for."""

    def nothing(course: Any) -> None:
        return None

    bot.many.works._recall = nothing


BROKEN = {
    "repeats": repeats,
    "forgets": forgets,
    "promises too early": promises_too_early,
    "starts over": starts_over,
}


@dataclasses.dataclass(frozen=True)
class Life:
    folder: str
    phases: str
    discord_api: str
    discord_gateway: str
    slack_api: str = ""
    broken: str = ""


def live(life: Life) -> None:
    phases = Phases(Path(life.phases))
    phases.clear()
    random.seed(os.getpid())
    if life.broken:
        BROKEN[life.broken]()
    watch_all(phases)
    hurry()
    folder = Path(life.folder)
    logging.basicConfig(
        filename=folder / "log", level=logging.INFO, format="%(asctime)s %(process)d %(name)s %(message)s"
    )
    config = Config(data=folder / "data", limits=LimitsOf(queue_per_person=1000, queue_total=1000))
    discord = Discord(
        "token", api_base=life.discord_api, gateway=life.discord_gateway, notes=folder / "commands.json"
    )
    slack = [Slack("xoxb-loopback", "xapp-loopback", api_base=life.slack_api)] if life.slack_api else []
    asyncio.run(bot.app.serve(config, [discord, *slack], brush.pool(phases.inside, folder / "ledger")))


def main() -> None:
    for line in sys.stdin:
        pid = os.fork()
        if pid == 0:
            status = 1
            try:
                live(Life(**json.loads(line)))
                status = 0
            except BaseException:
                logging.exception("ended badly")
            finally:
                os._exit(status)
        print("started", pid, flush=True)
        print("ended", os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]), flush=True)


if __name__ == "__main__":
    main()
