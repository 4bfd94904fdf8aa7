"""A cluster of the bot's own, from its start to its end, in processes of their own (Ray is one to a process)."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import threading
from pathlib import Path
from typing import IO

import pytest

from engines.serving import ray_cluster

if ray_cluster.installed() is None:
    pytest.skip("Ray is not installed", allow_module_level=True)

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]
ROOT = Path(__file__).parents[1]
CLEAN = {name: value for name, value in os.environ.items() if not name.startswith("RAY_")}

SERVING = """
import asyncio, signal
from pathlib import Path
from engines.studio import EngineSettings, open_pool

async def main():
    stop = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stop.set)
    pool = open_pool(EngineSettings(Path("models"), backend="ray", devices=("cpu",)))
    await pool.start()
    print("open", flush=True)
    await stop.wait()
    await asyncio.sleep(4)  # Ray's own handler would have ended us by now
    await pool.stop(5)
    print("closed", flush=True)

asyncio.run(main())
"""


def test_sigterm_is_the_bots_to_handle(tmp_path: Path) -> None:
    argv = [sys.executable, "-c", SERVING]
    env = CLEAN | {"PYTHONPATH": str(ROOT)}
    with subprocess.Popen(argv, stdout=subprocess.PIPE, cwd=tmp_path, env=env, text=True) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "open\n"
        process.send_signal(signal.SIGTERM)
        assert process.stdout.read() == "closed\n"
    assert process.returncode == 0


def test_a_picture_is_made_though_its_actor_is_killed(tmp_path: Path) -> None:
    """Stdout has nothing but the answers, told once; with the embedded model."""
    config = tmp_path / "config.toml"
    config.write_text('data = "data"\n[engines]\ndevices = ["cpu"]\n[pool]\nbackend = "ray"\n')
    said = '/txt2img "a photo of a metal nut" steps:30 seed:3'
    argv = [sys.executable, "-m", "bot", "exec", "-c", str(config), "--json", "--out", str(tmp_path), said]
    pipe = subprocess.PIPE
    with subprocess.Popen(argv, stdout=pipe, stderr=pipe, cwd=ROOT, env=CLEAN, text=True) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        actors, log = list[int](), list[str]()
        reading = threading.Thread(target=_actors, args=(process.stderr, actors, log))
        reading.start()
        told = []
        for line in process.stdout:
            told.append(json.loads(line))
            if told[-1].get("step", 0) >= 5 and len(actors) == 1:
                os.kill(actors[0], signal.SIGKILL)
                actors.append(0)
        reading.join()
    assert process.returncode == 0, f"{told[-3:]}\n{''.join(log[-20:])}"
    assert actors[1] == 0, "it was killed"
    assert len(actors) == 3, "and started anew"
    (finished,) = [one for one in told if one["event"] == "finished"]
    assert [Path(file).suffix for file in finished["files"]] == [".png"]
    assert not any((tmp_path / "data" / "work").iterdir())


def _actors(stderr: IO[str], found: list[int], log: list[str]) -> None:
    """The processes that the log tells of, and the log."""
    for line in stderr:
        log.append(line)
        if told := re.search(r"ray:0 is on .*, process (\d+)", line):
            found.append(int(told[1]))
