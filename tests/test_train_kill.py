"""A training whose process is killed in the middle: the next one goes on from the checkpoint, and calls once."""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import training_world
from chat import Chat
from data_sets import mvtec, zipped

from bot.app import studio
from bot.settings.config import Config, load

STEPS = 40


def first_life(config: Path, command: str, work: Path) -> int:
    """`exec` says the command, and is killed as soon as there is a checkpoint; the last step it told of."""
    argv = [sys.executable, "-m", "bot", "exec", "-c", str(config), "--as", "kim", "--json", command]
    with subprocess.Popen(argv, stdout=subprocess.PIPE, cwd=Path(__file__).parents[1], text=True) as process:
        assert process.stdout is not None
        for line in process.stdout:
            told = json.loads(line)
            assert told["event"] in ("accepted", "progress"), told
            if any(work.glob("checkpoint-*")):
                process.kill()
                return int(told.get("step", 0))
    raise AssertionError("it ended before it could be killed")


async def second_life(config: Config, job: int) -> tuple[Any, Chat]:
    chat = Chat("console")
    async with studio(config, [chat]) as house:
        async with asyncio.timeout(240):
            while (found := await house.store.jobs.get(job)) is None or found.state != "done":
                assert found is None or found.state in ("queued", "running"), found.error
                await asyncio.sleep(0.1)
            while not (said := await house.store.deliveries.get(job, "result")) or said.state != "sent":  # noqa: ASYNC110
                await asyncio.sleep(0.1)
    return found, chat


@pytest.mark.timeout(600)  # two processes that import torch
async def test_killed_in_the_middle_it_goes_on_and_calls_once(tmp_path: Path) -> None:
    bases = training_world.bases(tmp_path / "models")
    (tmp_path / "nut.zip").write_bytes(zipped(mvtec(photos=5, good=3)))
    file = tmp_path / "config.toml"
    file.write_text(
        f'data = "{tmp_path / "data"}"\n[engines]\ndevices = ["cpu"]\nthreads = 1\n'
        f'[models]\nfolder = "{bases}"\ninpaint = "{training_world.INPAINT}"\n'
    )
    said = f"/train dataset:@{tmp_path / 'nut.zip'} name:nut steps:{STEPS} save_every:5 validate_every:0"
    reached = await asyncio.to_thread(first_life, file, said, tmp_path / "data" / "work" / "1")
    assert reached > 0

    job, chat = await second_life(load(file), 1)
    notes = " ".join(en for en, _ in job.notes)
    assert "went on from step" in notes
    calling = [one for one in chat.standing(1) if one.message.mention and one.message.kind == "finished"]
    assert len(calling) == 1
    assert "nut is trained" in calling[0].message.text
    assert "went on from step" in calling[0].message.text
    assert (bases / "nut" / "model.json").is_file()
    assert not (tmp_path / "data" / "work" / "1").exists()
