"""The people and the books: a Discord and a Slack on the loopback, asked of at random, and read at the end."""

from __future__ import annotations

import asyncio
import dataclasses
import io
import json
import random
import re
import zipfile
from collections import Counter
from collections.abc import Iterator
from contextlib import AsyncExitStack, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Self

from loopback.discord import Discord
from loopback.discord_books import Faults
from loopback.slack import SlackServer
from PIL import Image

JOB = re.compile(r"#(\d+)\b")
PROMISE = re.compile(r"#(\d+) (?:txt2img|img2img)")
ANSWER = re.compile(r"#\d+ (done in|(txt2img|img2img) (failed|· cancelled))")
CHANNELS = tuple(f"C{n:04d}" for n in range(10))


@dataclass(frozen=True)
class Standing:
    """A message that people see at the end."""

    job: int
    is_answer: bool
    notified: int


@dataclass
class Verdict:
    promised: list[int]  # jobs that someone was told of
    lost: list[int]  # promised, and never answered
    twice: list[int]  # with more than one message
    mentioned_twice: list[int]
    answered: set[int]


@dataclass
class Town:
    """`async with Town(seed) as town`. `remembers`: seconds for which Discord knows a nonce."""

    seed: int
    slack_too: bool = True
    remembers: float = 300.0
    asked: int = 0
    tasks: set[asyncio.Task[Any]] = field(default_factory=set)

    async def __aenter__(self) -> Self:
        self._open = AsyncExitStack()
        faults = Faults(random.Random(self.seed))
        self.discord = await self._open.enter_async_context(Discord(faults, remembers=self.remembers))
        dice = random.Random(self.seed + 1)

        def chaos(method: str) -> Any:
            luck = dice.random()
            return "500" if luck < 0.03 else "429" if luck < 0.06 else "dropped" if luck < 0.11 else None

        self.slack = SlackServer(chaos=chaos, members=set(CHANNELS))
        if self.slack_too:
            await self._open.enter_async_context(self.slack)
        return self

    async def __aexit__(self, *_: object) -> None:
        for task in self.tasks:
            task.cancel()
        await asyncio.gather(*self.tasks, return_exceptions=True)
        await self._open.aclose()

    @property
    def addresses(self) -> dict[str, str]:
        slack = self.slack.api_base if self.slack_too else ""
        return {"discord_api": self.discord.api, "discord_gateway": self.discord.gateway, "slack_api": slack}

    async def live(self, rng: random.Random) -> None:
        """People ask, now and then, where the bot is there to hear it; until cancelled."""
        while True:
            await asyncio.sleep(rng.uniform(0.02, 0.12))
            asking = self._on_slack(rng) if self.slack_too and rng.random() < 0.5 else self._on_discord(rng)
            task = asyncio.create_task(asking)
            self.tasks.add(task)
            task.add_done_callback(self.tasks.discard)

    async def _on_discord(self, rng: random.Random) -> None:
        options = {"prompt": f"nut {self.asked}", "steps": rng.randint(1, 8), "seed": rng.randint(0, 99)}
        if await self.discord.command("txt2img", options, user=rng.randint(1, 5)):
            self.asked += 1

    async def _on_slack(self, rng: random.Random) -> None:
        text = f'txt2img "nut {self.asked}" steps:{rng.randint(1, 8)} seed:{rng.randint(0, 99)}'
        if any(not socket.closed for socket in self.slack.sockets):
            self.asked += 1
            with suppress(TimeoutError, AssertionError, ConnectionError):  # it was killed before it heard
                await self.slack.slash(text, user=f"U000{rng.randint(1, 5)}", channel=rng.choice(CHANNELS))

    async def send_zip(self, photos: int, *, steps: int, user: int = 1) -> bool:
        """Someone sends one archive on Discord, to have the same done with each photo; whether the bot is there."""
        data = io.BytesIO()
        with zipfile.ZipFile(data, "w") as archive:
            for n in range(photos):
                photo = io.BytesIO()
                Image.new("RGB", (16, 16), (n, 0, 0)).save(photo, "PNG")
                archive.writestr(f"p{n:02d}.png", photo.getvalue())
        options = {"prompt": "rust", "steps": steps, "seed": 7}
        files = {"image": ("photos.zip", data.getvalue())}
        return await self.discord.command("img2img", options, user=user, files=files) is not None

    # The books.

    def verdict(self) -> Verdict:
        on_discord = [int(m[1]) for a in self.discord.asked.values() if (m := PROMISE.search(a.answer))]
        # on Slack a promise may be whispered twice: the first time it looked as if it had not arrived
        on_slack = {int(m[1]) for e in self.slack.ephemerals if (m := PROMISE.search(_all_text(e)))}
        promised = [*on_discord, *on_slack]
        said: dict[int, list[Standing]] = {}
        for standing in self._standing():
            said.setdefault(standing.job, []).append(standing)
        unanswered = [job for job in sorted(set(promised)) if not any(s.is_answer for s in said.get(job, []))]
        shared = [
            job for job, times in Counter(promised).items() if times > 1
        ]  # two people were told of one job
        return Verdict(
            promised,
            unanswered + shared,
            [job for job, all in said.items() if len(all) > 1],
            [job for job, all in said.items() if sum(s.notified for s in all) > 1],
            {job for job, all in said.items() if any(s.is_answer for s in all)},
        )

    def write(self, path: Path) -> None:
        """All that the books hold, for whoever wonders what happened."""
        discord = {id: dataclasses.asdict(kept) for id, kept in self.discord.messages.items()}
        books = {"discord": discord, "slack": self.slack.channels, "slack calls": self.slack.calls}
        path.write_text(json.dumps(books, indent=1, default=str))

    def _standing(self) -> Iterator[Standing]:
        for message in self.discord.messages.values():
            if not message.deleted and (match := JOB.search(message.text)):
                done = bool(ANSWER.search(message.text)) and bool(message.files)
                yield Standing(int(match[1]), done, len(message.notified))
        for channel in CHANNELS:
            for said in self.slack.messages(channel):
                text = _all_text(said)
                if match := JOB.search(text):
                    notified = "<@" in text and not said.get("edits")
                    yield Standing(int(match[1]), bool(ANSWER.search(text)), int(notified))


def _all_text(said: dict[str, Any]) -> str:
    def texts(one: Any) -> Iterator[str]:
        if isinstance(one, dict):
            for key, value in one.items():
                if key == "text" and isinstance(value, str):
                    yield value
                else:
                    yield from texts(value)
        elif isinstance(one, list):
            for inner in one:
                yield from texts(inner)

    return "\n".join([*texts(said.get("blocks")), str(said.get("text", ""))]).replace("*", "")
