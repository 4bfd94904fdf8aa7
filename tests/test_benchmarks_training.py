"""The benchmarks of the training: one for a GPU runs to its end on the CPU, and the comparison counts as it says."""

from __future__ import annotations

from pathlib import Path

import pytest

from benchmarks import arms, dreambooth, gpu_training, machine
from engines.devices import Device

SCALE = arms.Scale(seeds=6, steps=100, photos=6, sampling=10, method="full", batch=1, rate=None)


@pytest.mark.timeout(600)
def test_the_gpu_benchmark_runs_on_the_cpu_with_narrow_shapes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(machine, "RESULTS", tmp_path)
    gpu_training.main(["--tiny", "--warm", "1", "--steps", "2", "--sampling", "2"])
    said = capsys.readouterr().out
    for part in ("lora, alone", "full, a generation beside", "steps/s", "defect, bf16, batch 1"):
        assert part in said
    assert not any(tmp_path.iterdir()), "what a CPU says of narrow shapes is not kept"


def test_without_a_gpu_it_says_so_in_a_line_and_writes_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(machine, "RESULTS", tmp_path)
    monkeypatch.setattr(gpu_training, "probe", lambda names: [Device("cpu")])
    gpu_training.main([])
    assert "No CUDA device" in capsys.readouterr().out
    assert not any(tmp_path.iterdir())


def test_what_is_kept_depends_on_the_scale_and_not_on_how_many_seeds_there_are(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(arms, "_weights", lambda: "weights")
    more = arms.Scale(12, 100, 6, 10, "full", 1, None)
    longer = arms.Scale(6, 200, 6, 10, "full", 1, None)
    kept = SCALE.kept("defect, no masks", 3)
    assert kept == more.kept("defect, no masks", 3) != longer.kept("defect, no masks", 3)
    assert kept.name == "defect-no-masks-3.json"
    monkeypatch.setattr(arms, "_weights", lambda: "other weights")
    assert SCALE.kept("defect, no masks", 3) != kept


def test_the_difference_of_two_arms_is_tested_by_flipping_signs() -> None:
    told = dreambooth.compared([0.5, 0.6, 0.7, 0.5, 0.6, 0.7], [0.1, 0.2, 0.2, 0.1, 0.3, 0.2])
    assert told["mean"] == pytest.approx(2.5 / 6)
    assert told["p"] == 2 / 2**6, "all six the same way: this and its mirror image"
    low, high = told["interval"]
    assert 0 < low < told["mean"] < high
    assert dreambooth.compared([0.1, 0.2], [0.2, 0.1])["p"] == 1.0
