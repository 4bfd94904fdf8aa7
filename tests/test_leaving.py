"""The command line's status is told though a device is left behind in a step."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
BUSY = """
import sys, threading, time
import torch
import bot.__main__ as program

@program.app.command()
def busy(status: int) -> None:
    torch.set_num_threads(1)

    def step() -> None:
        convolution, seen = torch.nn.Conv2d(64, 64, 3, padding=1), torch.randn(4, 64, 128, 128)
        with torch.inference_mode():
            while True:
                convolution(seen)

    if status != 3:
        threading.Thread(target=step, daemon=True).start()
        time.sleep(0.5)
    print("the last word")
    raise program.typer.Exit(status)

sys.argv = ["defect-studio", "busy", sys.argv[1]]
program.main()
"""


@pytest.mark.timeout(120)
@pytest.mark.parametrize("status", [0, 1, 3])
def test_a_thread_in_a_step_does_not_turn_the_end_into_a_crash(tmp_path: Path, status: int) -> None:
    """3: without such a thread."""
    ran = subprocess.run(
        [sys.executable, "-c", BUSY, str(status)],
        cwd=tmp_path,
        env=os.environ | {"PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert (ran.returncode, ran.stdout) == (status, "the last word\n"), ran.stderr
