"""A training on Discord and one on Slack, from the review to the mention, killed in the middle: the real clients, the
real trainer, a real process and a real SIGKILL."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Iterator
from multiprocessing.context import ForkServerContext
from pathlib import Path
from typing import Any

import pytest
import training_world as world
from data_sets import mvtec, zipped
from fork_server import fork_server
from kills.town import Town

ZIP = zipped(mvtec(defects=("scratch",), photos=4, good=3, around="metal_nut/"))
SAID = "steps:40 save_every:5 validate_every:0"
CHANNEL = "C0001"


@pytest.fixture(scope="module")
def server() -> Iterator[ForkServerContext]:
    with fork_server("kills.training_chats") as server:
        yield server


class Bot:
    """One data folder; each life a process."""

    def __init__(self, folder: Path, server: ForkServerContext, town: Town) -> None:
        self.folder, self._server, self._town = folder, server, town
        self.process: Any = None

    async def start(self) -> None:
        from kills import training_chats

        self._town.discord.connected.clear()
        told = (str(self.folder), self._town.addresses)
        self.process = self._server.Process(target=training_chats.live, args=told)
        await asyncio.to_thread(self.process.start)
        await asyncio.wait_for(self._town.discord.connected.wait(), 120)
        await until(lambda: any(not socket.closed for socket in self._town.slack.sockets))

    async def kill(self) -> None:
        self.process.kill()
        await asyncio.to_thread(self.process.join)

    def half_done(self) -> bool:
        return any((self.folder / "data" / "work").glob("*/checkpoint-*"))


async def until(told: Callable[[], Any], seconds: float = 240.0) -> Any:
    deadline = time.monotonic() + seconds
    while not (found := told()):
        assert time.monotonic() < deadline, "not in time"
        await asyncio.sleep(0.02)
    return found


def on_discord(town: Town, part: str) -> list[Any]:
    return [m for m in town.discord.messages.values() if not m.deleted and part in m.text]


def on_slack(town: Town, part: str) -> list[dict[str, Any]]:
    return [m for m in town.slack.messages(CHANNEL) if part in str(m)]


@pytest.mark.slow
@pytest.mark.timeout(900)
async def test_killed_in_the_middle_both_chats_show_one_training_from_start_to_mention(
    tmp_path: Path, server: ForkServerContext
) -> None:
    world.house(tmp_path / "models", world.bases(tmp_path / "bases"))
    async with Town(seed=4) as town:
        bot = Bot(tmp_path, server, town)
        await bot.start()
        try:
            options = {"save_as": "nut-d", "more": SAID}
            assert await town.discord.command("train", options, files={"dataset": ("nut.zip", ZIP)})
            (review,) = await until(lambda: on_discord(town, "Draft 1"))
            await town.discord.press("ds:start:1:0", review)
            await until(bot.half_done)
            await bot.kill()
            assert not on_discord(town, "is trained")

            await bot.start()
            (report,) = await until(lambda: on_discord(town, "nut-d is trained"))
            assert "went on from step" in report.text
            assert report.notified == ["1"]
            assert len(report.files) == 2, "samples and losses"

            file = town.slack.put_file("nut.zip", ZIP)
            await town.slack.mention(f"train name:nut-s {SAID}", [file], channel=CHANNEL)
            (review,) = await until(lambda: on_slack(town, "Draft 2"))
            await town.slack.press(review, "Start", channel=CHANNEL)
            await until(bot.half_done)
            await bot.kill()
            assert not on_slack(town, "is trained")

            await bot.start()
            (report,) = await until(lambda: on_slack(town, "nut-s is trained"))
            assert "went on from step" in str(report)
            assert "<@U0KIM>" in str(report)
            await asyncio.sleep(1.0)  # time for a second answer, were there one
            for chat, name in ((on_discord, "nut-d"), (on_slack, "nut-s")):
                assert len(chat(town, f"{name} is trained")) == 1
        finally:
            await bot.kill()
