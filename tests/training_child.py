"""One life of a training in a process of its own, which may end itself with SIGKILL at a chosen place."""

from __future__ import annotations

import json
import os
import signal
from pathlib import Path

import torch
import training_world as world

from engines.engine import Work
from engines.models.loading import import_libraries
from engines.training import checkpoints
from engines.training.request import Train

torch.set_num_threads(1)
import_libraries()


def live(models: str, work: str, spec: str, die: str, count: int) -> None:
    """Go on with the training at `work` to its end; die the `count`th time that `die` ("step", "file", "rename",
    "delete") is passed."""
    told = json.loads(Path(spec).read_text())
    files = {name: Path(path) for name, path in told["files"].items()}
    request = Train.from_json(told["request"])
    _plan(die, count)
    world.made(world.engine(Path(models)), Work(1, "anna", request, Path(work), files))


def _plan(die: str, count: int) -> None:
    places = {
        "step": (torch.optim.AdamW, "step"),
        "file": (checkpoints, "sync_file"),
        "rename": (checkpoints.os, "rename"),
        "delete": (checkpoints.shutil, "rmtree"),
    }
    if die not in places:
        return
    owner, name = places[die]
    original, passed = getattr(owner, name), [0]

    def deadly(*args: object, **more: object) -> object:
        passed[0] += 1
        if passed[0] == count:
            os.kill(os.getpid(), signal.SIGKILL)
        return original(*args, **more)

    setattr(owner, name, deadly)
