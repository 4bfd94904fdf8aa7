"""The benchmarks of memory and GPU run to their end, on the CPU and tiny, and say what they promise."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from benchmarks import cache, gpu
from engines.devices import Device, probe
from engines.models.loading import import_libraries


@pytest.fixture
def cpu() -> Device:
    import_libraries()
    torch.set_num_threads(1)
    return probe(("cpu",), threads=1)[0]


@pytest.mark.timeout(600)
def test_the_cache_benchmark_tells_its_figures(
    cpu: Device, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(cache, "ROUNDS", 1)
    monkeypatch.setattr(cache, "JOBS", 4)
    figures = cache.measured(tmp_path, cpu, narrow=True)
    assert figures["over budget events"] == 0
    assert figures["random events"] == 10_000
    assert figures["LoRA switch ms"] > 0
    assert 0 < figures["3 models in 2: switches"] <= 4
    assert figures["cold / device-warm"] > 0


@pytest.mark.timeout(600)
def test_the_gpu_benchmark_runs_on_the_cpu_with_tiny_shapes(
    cpu: Device, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(gpu, "PATIENT", 1)
    gpu.main(["--smoke", "--steps", "2"])
    said = capsys.readouterr().out
    assert "SD 2 inpainting" in said
    assert "images/s, pool" in said
    assert "2 people: p95 s" in said
    assert "training gated: p95 s" in said
    assert "training's throughput kept" in said


def test_without_a_gpu_it_says_so_in_a_line(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(gpu, "probe", lambda names: [Device("cpu")])
    gpu.main([])
    assert "No CUDA device" in capsys.readouterr().out
    assert gpu.percentile([3.0, 1.0, 2.0], 0.95) == 3.0
