"""The machine in words, without its name."""

from __future__ import annotations

import json
import os
import platform
from importlib.metadata import version
from pathlib import Path
from typing import Any

RESULTS = Path(__file__).parent / "results"


def described(device: str) -> dict[str, str]:
    """What figures depend on."""
    said = {"device": device, "cores": str(len(os.sched_getaffinity(0))), "processor": processor()}
    said |= {name: version(name) for name in ("torch", "diffusers")}
    said["load when begun"] = f"{os.getloadavg()[0]:.1f}"
    if device.startswith("cuda"):
        import torch

        said["gpu"] = torch.cuda.get_device_name(device)
    return said


def processor() -> str:
    """The processor's model as the kernel tells it."""
    info = Path("/proc/cpuinfo")
    lines = info.read_text().splitlines() if info.exists() else []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.machine()


def keep(name: str, figures: dict[str, Any]) -> Path:
    """The figures as benchmarks/results/NAME.json."""
    RESULTS.mkdir(exist_ok=True)
    path = RESULTS / f"{name}.json"
    path.write_text(json.dumps(figures, indent=2, ensure_ascii=False) + "\n")
    return path
