"""What the defect mode is worth: none, normal DreamBooth, normal inpainting and defect mode at equal steps, judged.

`python -m benchmarks.dreambooth`: a task unseen in pre-training (few_shot.py); each seed draws its own references,
trains each arm and is one pair in the comparison. Every (arm, seed) is kept under build/dreambooth as soon as it is
there, so that a run that was stopped goes on; `--arms main` does the four arms without what is left out of the defect
mode, `--arms tray` what only photos larger than the model can show: the crops; `--kept` trains nothing. Figures in
benchmarks/results/dreambooth-METHOD.json, the arms' pictures side by side in build/dreambooth/…/sheet.png.
`python -m benchmarks.dreambooth concepts`: what a step costs with ten concepts.
"""

from __future__ import annotations

import argparse
import itertools
import statistics
import tempfile
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image, ImageDraw
from rich.console import Console

from benchmarks import few_shot
from benchmarks.arms import (
    ARMS,
    BUILD,
    MINI_INPAINT,
    ON_TRAY,
    WITH,
    WITHOUT,
    House,
    Scale,
    arm,
    ceiling,
    given,
)
from benchmarks.few_shot import KINDS
from benchmarks.machine import described, keep
from engines.models.loading import import_libraries
from engines.training import rows
from engines.training.request import Train
from engines.training.run import Training

CEILING = 0.8  # kinds that the judge finds less often in real defects after the VAE say nothing


def asked() -> argparse.Namespace:
    told = argparse.ArgumentParser(description=__doc__)
    told.add_argument("part", nargs="?", choices=("arms", "concepts"), default="arms")
    told.add_argument("--arms", choices=("main", "all", "tray"), default="all")
    told.add_argument("--kept", action="store_true", help="report what is on the disk, train nothing")
    told.add_argument("--seeds", type=int, default=6)
    told.add_argument("--steps", type=int, default=600)
    told.add_argument("--photos", type=int, default=6, help="pictures judged a kind")
    told.add_argument("--sampling", type=int, default=10)
    told.add_argument("--judge", type=int, default=400, help="steps of the judge's training")
    told.add_argument("--method", choices=("full", "lora"), default="full")
    told.add_argument("--batch", type=int, default=1)
    told.add_argument("--rate", type=float, default=None)
    return told.parse_args()


def main() -> None:
    said = asked()
    import_libraries()
    torch.set_num_threads(1)
    if said.part == "concepts":
        return concepts()
    tray = said.arms == "tray"
    scale = Scale(
        said.seeds, said.steps, said.photos, said.sampling, said.method, said.batch, said.rate, tray
    )
    own, console = few_shot.judge_kept(BUILD, said.judge), Console()
    main = ON_TRAY if tray else ARMS
    arms = {**main, **({**WITHOUT, **WITH} if said.arms == "all" else {})}
    with tempfile.TemporaryDirectory() as folder:
        house = House(Path(folder))
        limits = ceiling(house, own, 40)
        kinds = [kind for kind in KINDS if limits[kind] >= CEILING]
        console.print("ceiling", limits)
        found: dict[str, list[dict[str, Any]]] = {name: [] for name in arms}
        for part in (main, {name: more for name, more in arms.items() if name not in main}):
            for seed, (name, more) in itertools.product(range(scale.seeds), part.items()):
                if scale.kept(name, seed).exists() or not said.kept:
                    found[name].append(arm(house, own, name, more, seed, scale))
                    console.print(seed, name, {kind: found[name][-1][kind]["right"] for kind in KINDS})
    found = {name: all for name, all in found.items() if all}
    console.print(sheet(list(found), 0, scale))
    keep(f"dreambooth-{scale.method}" + "-tray" * tray, report(found, kinds, limits, scale))


def report(
    found: Mapping[str, Sequence[Mapping[str, Any]]],
    kinds: Sequence[str],
    limits: Mapping[str, float],
    scale: Scale,
) -> dict[str, Any]:
    """All figures; the shares over the kinds whose ceiling says something."""
    shares = {name: [share(one, kinds) for one in all] for name, all in found.items()} if kinds else {}
    means = {
        what: {name: statistics.fmean(share(one, KINDS, what) for one in all) for name, all in found.items()}
        for what in ("right", "background", "diversity", "copies")
    }
    asked_good = {
        name: [one["faultless"] for one in all if "faultless" in one] for name, all in found.items()
    }
    gaps = {
        f"defect − {name}": compared(shares["defect"][: len(other)], other)
        for name, other in shares.items()
        if name != "defect"
    }
    return {"scale": asdict(scale), "machine": described("cpu"), "ceiling": limits, "kinds": list(kinds), "means": means,
            "right": shares, "faultless where that is asked": asked_good, "differences": gaps, "all": found}  # fmt: skip


def sheet(arms: Sequence[str], seed: int, scale: Scale) -> Path:
    """The real defects and each arm's pictures of one seed side by side: a row a kind, three photos an arm."""
    real = np.concatenate([np.concatenate([s.image for s in given(seed, kind, 3)], 1) for kind in KINDS])
    columns = [("real", Image.fromarray(real))]
    for name in arms:
        with Image.open(scale.kept(name, seed).with_suffix(".png")) as made:
            columns.append((name, made.crop((0, 0, real.shape[1], real.shape[0]))))
    width = max(column.width for _, column in columns) + 8
    made = Image.new("RGB", (width * len(columns), columns[0][1].height + 16), "white")
    for i, (title, column) in enumerate(columns):
        ImageDraw.Draw(made).text((i * width + 2, 2), title, fill="black")
        made.paste(column, (i * width, 16))
    path = BUILD / scale.key / "sheet.png"
    made.save(path)
    return path


def share(told: Mapping[str, Any], kinds: Sequence[str], what: str = "right") -> float:
    return statistics.fmean(told[kind][what] for kind in kinds)


def compared(better: Sequence[float], worse: Sequence[float]) -> dict[str, Any]:
    """The paired difference: mean, 95 % interval (bootstrap over seeds), and the two-sided sign-flip test's p."""
    gaps = np.array(better) - np.array(worse)
    drawn = np.random.default_rng(0).choice(gaps, (10_000, len(gaps))).mean(1)
    flips = np.array(list(itertools.product((1, -1), repeat=len(gaps)))) @ gaps / len(gaps)
    return {
        "mean": float(gaps.mean()),
        "interval": [float(v) for v in np.quantile(drawn, (0.025, 0.975))],
        "p": float((np.abs(flips) >= abs(gaps.mean()) - 1e-12).mean()),
        "each": gaps.tolist(),
    }


def concepts(steps: int = 10) -> None:
    """CPU seconds of a step with one concept and with ten, in turns; the same rows, so it should be the same."""
    spent: dict[int, list[float]] = {1: [], 10: []}
    with tempfile.TemporaryDirectory() as where:
        house = House(Path(where))
        told, files = few_shot.references(Path(where), 0)
        ten = tuple({**told[i % len(told)], "name": f"{i}"} for i in range(10))
        runs = {}
        for count in spent:
            request = Train(save_as=f"c{count}", model=MINI_INPAINT, steps=10 * steps, seed=0, validate_every=0,
                            concepts=ten[:count])  # fmt: skip
            runs[count] = house.training.begin(house.work(request, files))
            runs[count].done = runs[count].timeline.at(0).span  # past the samples
            warm(runs[count], 20 + steps)
        for at in range(steps):
            for count, run in runs.items():
                began = time.process_time()
                house.training.advance([run])
                spent[count].append(time.process_time() - began)
                assert run.learnt == at + 1
        for run in runs.values():
            run.cancelled = True
            house.training.suspend(run)
    one, many = (statistics.median(spent[count]) for count in (1, 10))
    figures = {
        "cost per step 10 concepts / 1": many / one,
        "seconds a step, 1": one,
        "seconds a step, 10": many,
    }
    Console().print(figures)
    keep("dreambooth-concepts", {"machine": described("cpu"), **figures})


def warm(run: Training, samples: int) -> None:
    """Encode the pictures of the first samples ahead: each is encoded once in a training, however many concepts."""
    for sample in run.order.span(0, samples):
        for row in rows.of(sample, run.request, run.concepts):
            run.sights.see(row.ask)


if __name__ == "__main__":
    main()
