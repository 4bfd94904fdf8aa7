"""The whole bot with the real Discord and Slack clients and the real trainer, in a process that is killed."""

from __future__ import annotations

import asyncio
import functools
import logging
from pathlib import Path
from typing import Any

import training_world as world
from kills.phases import Phases
from kills.training_life import DATA, MAP, MODELS, PHASES, watch

import bot.answers.outbox
import bot.app
from bot.platforms.discord import Discord
from bot.platforms.slack import Slack, api
from bot.settings.config import Config
from bot.settings.sections import Models as ModelsOf
from engines.devices import Device
from engines.models.loading import reader
from engines.models.memory import Models
from engines.requests import Review, Train
from engines.serving.pool import Pool
from engines.training.audit import Audit
from engines.training.engine import DreamBooth


def live(folder: str, addresses: dict[str, str]) -> None:
    """In a process of its own, until it is told to stop."""
    house = Path(folder)
    logging.basicConfig(filename=house / "log", level=logging.INFO)
    phases = Phases(house / MAP, PHASES)
    phases.clear()
    watch(phases)
    api.PER_MINUTE, api.PER_POST = 6000, 0.02
    bot.app.Outbox = functools.partial(bot.answers.outbox.Outbox, settle=0.2)  # type: ignore[misc, assignment]
    config = Config(data=house / DATA, models=ModelsOf(folder=str(house / MODELS), inpaint=world.INPAINT))
    discord = Discord(
        "token",
        api_base=addresses["discord_api"],
        gateway=addresses["discord_gateway"],
        notes=house / "commands.json",
    )
    slack = Slack("xoxb-loopback", "xapp-loopback", api_base=addresses["slack_api"])
    asyncio.run(bot.app.serve(config, [discord, slack], _pool(house / MODELS)))


def _pool(folder: Path) -> Pool:
    read = reader(folder, "cpu", "float32")
    models = Models(read)
    engines: dict[Any, Any] = {
        Review: lambda device: Audit(models),
        Train: lambda device: DreamBooth(models, read, folder, sample_steps=2),
    }
    return Pool(engines, [Device("cpu", "a tiny base")])
