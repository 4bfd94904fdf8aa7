"""One training in Discord from the zip to the mention: the real client, desk, pool, audit and trainer, a tiny base."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import training_world
from data_sets import mvtec, zipped
from discord_world import Outside, World, at, buttons, host, inside, pictures, text

from bot.app import studio
from bot.platforms.discord import Discord
from bot.settings.config import Config
from bot.settings.sections import Models as ModelsOf
from engines.devices import Device
from engines.models.loading import reader
from engines.models.memory import Models
from engines.requests import Review
from engines.serving.lane import Pace
from engines.serving.pool import Pool
from engines.training.audit import Audit
from engines.training.engine import DreamBooth
from engines.training.request import Train

ZIP = zipped(mvtec(defects=("scratch",), photos=5, good=3, around="metal_nut/"))


class Quiet(Discord):
    """Connected by the simulation, not by itself."""

    async def serve(self, desk: object) -> None:
        await asyncio.Event().wait()


@asynccontextmanager
async def house(folder: Path, bases: Path) -> AsyncIterator[World]:
    read = reader(bases, "cpu", "float32")
    models = Models(read)
    engines = {
        Review: lambda device: Audit(models),
        Train: lambda device: DreamBooth(models, read, bases, sample_steps=2),
    }
    pool = Pool(engines, [Device("cpu", "a tiny base")], pace=Pace(preview_every=1))  # type: ignore[arg-type]
    config = Config(data=folder, models=ModelsOf(folder=str(bases), inpaint=training_world.INPAINT))
    async with host() as served:
        platform = Quiet("token", **at(served))
        async with (
            studio(config, [platform], pool) as house,
            inside(platform, Outside(house.desk), served, settle=30.0) as w,
        ):
            try:
                yield w
            finally:
                await platform.close()


async def says(w: World, part: str) -> Any:
    return await until(w, lambda: next((m for m in w.ours() if part in text(m)), None))


async def until(w: World, told: Callable[[], Any]) -> Any:
    async with asyncio.timeout(120):
        while not (found := told()):  # noqa: ASYNC110 - Discord is looked at, it does not tell
            await asyncio.sleep(0.05)
    await w.env.settle()
    return found


async def test_from_the_zip_to_the_mention(tmp_path: Path, bases: Path) -> None:
    async with house(tmp_path, bases) as w:
        asked = await w.ann.slash(
            w.channel, "train", dataset=("metal_nut.zip", ZIP), save_as="nut-scratch", mode="defect", steps=3
        )
        assert asked.ephemeral
        review = await says(w, "Draft 1")
        for part in ("nut-scratch", "a photo of a metal nut with a scratch", "VAE keeps", "about"):
            assert part in text(review)
        assert len(pictures(review)) == 2, "the contact sheet, and what the VAE keeps"
        assert {"ds:start:1:0", "ds:change:1:0", "ds:discard:1:0"} <= set(buttons(review))

        no = await w.bob.click(w.shown(review), custom_id="ds:start:1:0")
        assert "belongs to someone else" in text(no.response)
        started = await w.ann.click(w.shown(review), custom_id="ds:start:1:0")
        assert "#2" in text(started.response)

        report = await says(w, "nut-scratch is trained")
        assert set(report.ping_user_ids) == {w.ann.id}
        assert text(report).count("nut-scratch") == 2, "its name, and how it is used"
        assert "3 steps in" in text(report)
        assert "loss" in text(report)
        mentions = [m for m in w.ours() if w.ann.id in m.ping_user_ids and "#2" in text(m)]
        assert mentions == [report], "called once"
        assert len(pictures(report)) >= 1
        assert any(id.startswith("ds:try:2") for id in buttons(report))
        assert (bases / "nut-scratch" / "model.json").is_file()
        again = await w.ann.slash(
            w.channel, "train", dataset=("metal_nut.zip", ZIP), save_as="nut-scratch", steps=3
        )
        assert "already" in text(again.response)
