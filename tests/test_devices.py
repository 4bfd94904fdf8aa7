"""The one place that looks at hardware."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from engines import devices
from engines.devices import Device
from engines.studio import EngineSettings, open_pool
from engines.words import Refusal


def test_there_is_always_a_device() -> None:
    found = devices.probe()
    assert found
    assert all(d.dtype in devices.DTYPES and d.threads >= 1 and d.memory > 0 for d in found)


def test_the_cpu_computes_in_float32_with_the_cores_it_may_use() -> None:
    (cpu,) = devices.probe(["CPU"])
    assert (cpu.name, cpu.kind, cpu.dtype) == ("cpu", "cpu", "float32")
    assert cpu.threads == len(os.sched_getaffinity(0))
    assert cpu.memory <= os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")


def test_what_is_said_is_taken() -> None:
    (cpu,) = devices.probe(["cpu", "cpu"], dtype="bfloat16", threads=3)
    assert (cpu.dtype, cpu.threads) == ("bfloat16", 3)


@pytest.mark.parametrize(("names", "dtype"), [(["gpu"], "auto"), (["cuda:99"], "auto"), (["cpu"], "float8")])
def test_what_is_not_there_is_refused_with_what_is(names: list[str], dtype: str) -> None:
    with pytest.raises(Refusal) as told:
        devices.probe(names, dtype=dtype)
    assert "auto" in told.value.words.en
    assert "auto" in told.value.words.ko


def test_a_container_has_the_memory_of_its_limit(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    limit = tmp_path / "memory.max"
    monkeypatch.setattr(devices, "MEMORY_LIMIT", limit)
    limit.write_text("123456789\n")
    assert devices.probe(["cpu"])[0].memory == 123456789
    limit.write_text("max\n")
    assert devices.probe(["cpu"])[0].memory > 123456789


def test_the_free_memory_is_the_machines_and_never_more_than_the_container_leaves(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (cpu,) = devices.probe(["cpu"])
    assert 10**6 < devices.memory_free(cpu) < cpu.memory
    told = tmp_path / "meminfo"
    told.write_text("MemTotal:  9000000 kB\nMemFree:  1000 kB\nMemAvailable:   2000 kB\n")
    monkeypatch.setattr(devices, "MEMORY_TOLD", told)
    assert devices.memory_free(cpu) == 2_048_000
    used = devices.memory_used(cpu)
    assert 1 <= devices.memory_free(Device("cpu", memory=used + 1_000_000)) < 2_048_000
    assert devices.memory_free(Device("cpu", memory=1)) == 1, "none is not unknown"
    assert devices.memory_free(Device("cpu")) == devices.memory_free(Device("mps", memory=9)) == 0


def test_part_of_a_device_is_for_models() -> None:
    budget = devices.model_budget(Device("cuda:0", memory=100))
    assert budget is not None
    assert 0 < budget < 100
    assert devices.model_budget(Device("cpu")) is None


def test_a_gpu_that_torch_cannot_use_is_replaced_by_the_cpu(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    import torch

    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    before = torch.get_num_threads()
    try:
        used = devices.ready(Device("cuda:0", "NVIDIA X", 10, "bfloat16", threads=2))
        assert (used.name, used.dtype) == ("cpu", "float32")
        assert torch.get_num_threads() == 2
        assert "NVIDIA X" in caplog.text
    finally:
        torch.set_num_threads(before)


def test_opening_a_pool_loads_no_torch(tmp_path: Path) -> None:
    code = (
        "import sys; from pathlib import Path; from engines.studio import EngineSettings, open_pool;"
        "open_pool(EngineSettings(models=Path('x'))); print('torch' in sys.modules, 'diffusers' in sys.modules)"
    )
    said = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert said.stdout.split() == ["False", "False"]


def test_a_pool_has_a_lane_for_each_device(tmp_path: Path) -> None:
    assert open_pool(EngineSettings(models=tmp_path, devices=("cpu",), slots=5)).room() == 0, (
        "not started yet"
    )
