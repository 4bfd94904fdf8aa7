"""Killed anywhere, a training goes on to the very weights it would have had: real processes, real SIGKILL."""

from __future__ import annotations

import json
import random
import signal
import time
from collections.abc import Iterator
from multiprocessing.context import ForkServerContext
from pathlib import Path
from typing import Any

import pytest
import torch
import training_world as world
from fork_server import fork_server

from engines.training import checkpoints
from engines.training.checkpoints import Checkpoint, NoRoom

WEIGHTS = "pytorch_lora_weights.safetensors"


@pytest.fixture(scope="module")
def server() -> Iterator[ForkServerContext]:
    with fork_server("training_child") as server:
        yield server


class House:
    """A training that can be lived in several lives."""

    def __init__(self, root: Path, bases: Path, server: ForkServerContext, **more: Any) -> None:
        root.mkdir()
        self.models = world.house(root / "models", bases)
        self.work = root / "work"
        self.work.mkdir()
        told, files = world.data(root / "data", concepts=2, shots=2, normals=2)
        request = world.train(**({"save_every": 3, "keep": 2, "concepts": tuple(told)} | more))
        self.spec = root / "spec.json"
        self.spec.write_text(
            json.dumps({"request": request.to_json(), "files": {k: str(v) for k, v in files.items()}})
        )
        self._server = server

    def start(self, die: str = "", count: int = 0) -> Any:
        import training_child

        where = (str(self.models), str(self.work), str(self.spec), die, count)
        process = self._server.Process(target=training_child.live, args=where)
        process.start()
        return process

    def live(self, die: str = "", count: int = 0) -> int:
        """One life; how it ended."""
        process = self.start(die, count)
        process.join(120)
        assert process.exitcode is not None, "it hangs"
        return int(process.exitcode)

    def result(self) -> tuple[bytes, bytes]:
        made = self.models / "mine"
        return (made / WEIGHTS).read_bytes(), (made / "training_log.csv").read_bytes()

    def names(self) -> list[str]:
        return sorted(p.name for p in self.work.iterdir() if "checkpoint" in p.name or "saving" in p.name)


@pytest.mark.timeout(900)  # a loaded machine takes its time to import the libraries twice
def test_killed_in_a_step_and_inside_saves_it_ends_with_the_same_bytes(
    tmp_path: Path, bases: Path, server: ForkServerContext
) -> None:
    more = {"steps": 9, "mode": "defect", "schedule": "cosine", "warmup": 2}
    whole = House(tmp_path / "whole", bases, server, **more)
    assert whole.live() == 0
    torn = House(tmp_path / "torn", bases, server, **more)
    kill = -signal.SIGKILL
    assert torn.live("step", 5) == kill  # one checkpoint there, one step beyond it done
    assert torn.names() == ["checkpoint-000003"]
    assert torn.live("file", 2) == kill  # half of the second checkpoint written
    assert torn.names() == [".saving-000006", "checkpoint-000003"]
    assert torn.live("rename", 1) == kill  # all of it written, and not yet in place
    assert torn.live("step", 5) == kill
    assert torn.names() == ["checkpoint-000003", "checkpoint-000006"]
    assert torn.live() == 0
    assert torn.result() == whole.result()
    assert torn.names() == ["checkpoint-000006", "checkpoint-000009"], "the two newest are kept"


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(10))
@pytest.mark.parametrize("method", ["lora", "full"])
def test_killed_at_random_moments_it_ends_with_the_same_bytes(
    tmp_path: Path, bases: Path, server: ForkServerContext, seed: int, method: str
) -> None:
    more = {
        "steps": 30,
        "seed": seed,
        "save_every": 4,
        "method": method,
        "mode": random.Random(seed).choice(["defect", "normal-inpainting"]),
    }
    whole = House(tmp_path / "whole", bases, server, **more)
    assert whole.live() == 0
    torn, chance, kills = House(tmp_path / "torn", bases, server, **more), random.Random(seed), 0
    while kills < 8:
        process = torn.start(chance.choice(["", "file", "rename", "step"]), chance.randint(1, 8))
        time.sleep(chance.uniform(0.2, 3.0))
        process.kill()
        process.join()
        kills += 1
    assert torn.live() == 0
    name = WEIGHTS if method == "lora" else "unet/diffusion_pytorch_model.safetensors"
    assert (torn.models / "mine" / name).read_bytes() == (whole.models / "mine" / name).read_bytes()
    assert (torn.models / "mine" / "training_log.csv").read_bytes() == (
        whole.models / "mine" / "training_log.csv"
    ).read_bytes()


# ------------------------------------------------------------------ checkpoints alone


def made(step: int) -> Checkpoint:
    return Checkpoint(step, {"at": step}, {"w": torch.full((4,), float(step))}, {"0.exp_avg": torch.zeros(4)})


def test_the_newest_valid_checkpoint_wins(tmp_path: Path) -> None:
    for step in (3, 6, 9):
        checkpoints.save(tmp_path, made(step), keep=3)
    weights = tmp_path / "checkpoint-000009" / checkpoints.WEIGHTS
    weights.write_bytes(weights.read_bytes()[:-1] + b"\x01")
    (tmp_path / "checkpoint-000006" / checkpoints.STATE).unlink()
    found = checkpoints.newest(tmp_path)
    assert found is not None
    assert (found.step, found.state, found.weights["w"][0].item()) == (3, {"at": 3}, 3.0)
    checkpoints.save(tmp_path, made(9), keep=1)  # the broken one is written anew
    again = checkpoints.newest(tmp_path)
    assert again is not None
    assert again.step == 9
    assert [p.name for p in tmp_path.iterdir()] == ["checkpoint-000009"]


def test_a_full_disk_keeps_the_last_checkpoint(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    checkpoints.save(tmp_path, made(3), keep=1)

    def no_space(path: Path) -> None:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(checkpoints, "sync_file", no_space)
        with pytest.raises(NoRoom, match="no room"):
            checkpoints.save(tmp_path, made(6), keep=1)
    with monkeypatch.context() as patch:
        patch.setattr(checkpoints, "_free", lambda folder: 1000)
        with pytest.raises(NoRoom, match="no room"):
            checkpoints.save(tmp_path, made(6), keep=1)
    assert [p.name for p in tmp_path.iterdir()] == ["checkpoint-000003"]
    assert checkpoints.valid(tmp_path / "checkpoint-000003")
