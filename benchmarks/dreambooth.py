"""What the defect mode is worth: none, normal DreamBooth, normal inpainting and defect mode at equal steps, judged.

`python -m benchmarks.dreambooth --seeds 6 --steps 300`: a task unseen in pre-training (few_shot.py); each seed draws
its own references, trains each arm and is one pair in the comparison. Kept in benchmarks/results/dreambooth.json.
"""

from __future__ import annotations

import argparse
import itertools
import statistics
import tempfile
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from rich.console import Console

from benchmarks import few_shot
from benchmarks.few_shot import KINDS, TESTS, Verdict
from benchmarks.machine import described, keep
from engines.diffusion.engine import Diffusion
from engines.embedded.oracles import Oracle
from engines.engine import Engine, Run, Work
from engines.models.loading import import_libraries, reader
from engines.models.memory import Models
from engines.requests import Inpaint
from engines.training.engine import DreamBooth
from engines.training.request import Train

MINI, MINI_INPAINT = "defect-studio/mini", "defect-studio/mini-inpaint"
ARMS: Mapping[str, Mapping[str, Any]] = {
    "none": {},
    "normal": {"mode": "normal"},
    "normal-inpainting": {"mode": "normal-inpainting"},
    "defect": {"mode": "defect"},
}
WITHOUT: Mapping[str, Mapping[str, Any]] = {  # the defect mode with one thing left out
    "defect, no good photos": {"mode": "defect", "normals": 0.0},
    "defect, no prompt noise": {"mode": "defect", "prompt_noise": 0.0},
    "defect, no crops": {"mode": "defect", "crop": 20.0},
    "defect, no object pass": {"mode": "defect", "object_weight": 0.0},
    "defect, no full masks": {"mode": "defect", "full_masks": 0.0},
}
CEILING = 0.8  # kinds that the judge finds less often in real defects after the VAE say nothing


@dataclass(frozen=True, slots=True)
class Scale:
    """How large the benchmark is."""

    seeds: int
    steps: int
    photos: int  # a kind
    sampling: int
    method: str
    batch: int


class House:
    """One models folder with its two engines."""

    def __init__(self, folder: Path) -> None:
        read = reader(folder, "cpu", "float32")
        self.models = Models(read)
        self.pictures = Diffusion(self.models)
        self.training = DreamBooth(self.models, read, folder)
        self.folder = folder
        self._number = itertools.count(1)

    def work(self, request: Any, files: Mapping[str, Path]) -> Work:
        number = next(self._number)
        folder = self.folder / f".work-{number}"
        folder.mkdir()
        return Work(number, "bench", request, folder, files)


def driven(engine: Engine, work: Work) -> tuple[Run, list[Path]]:
    run = engine.begin(work)
    while not run.finished:
        engine.advance([run])
    made = engine.finish(run)
    engine.suspend(run)
    return run, [a.path for a in (made if isinstance(made, tuple) else made())]


def judged(
    house: House, own: Oracle, model: str, seed: int, scale: Scale, folder: Path
) -> dict[str, Verdict]:
    """Every kind put into good photos that nobody has learnt from, in masks of real defects."""
    found = {}
    for kind in KINDS:
        made, clean, masks = [], [], []
        for i in range(scale.photos):
            one = few_shot.scene(TESTS + 100 * seed + i, kind)
            photo, mask = folder / "photo.png", folder / "mask.png"
            Image.fromarray(one.clean).save(photo)
            Image.fromarray(one.mask).save(mask)
            request = Inpaint(image="p", mask="m", prompt=few_shot.prompt(kind), model=model, seed=i, steps=scale.sampling,
                              guidance=5.0, grow=3, feather=2)  # fmt: skip
            _, paths = driven(house.pictures, house.work(request, {"p": photo, "m": mask}))
            made.append(np.asarray(Image.open(paths[0]).convert("RGB")))
            clean.append(one.clean)
            masks.append(one.mask > 0)
        learnt = few_shot.patches([few_shot.scene(1000 * seed + i, kind) for i in range(few_shot.REFERENCES)])
        found[kind] = few_shot.verdict(own, kind, made, clean, masks, learnt)
    return found


@torch.no_grad()
def ceiling(house: House, own: Oracle, count: int) -> dict[str, float]:
    """How often the judge finds real defects after the base's VAE: what no training can be better than."""
    with house.models.lease(MINI_INPAINT, "inpaint") as lease:
        vae, found = lease.parts.vae, {}
        for kind in KINDS:
            scenes = [few_shot.scene(TESTS + 50_000 + i, kind) for i in range(count)]
            seen = few_shot.pixels_of([s.image for s in scenes])
            back = vae.decode(vae.encode(seen).latent_dist.mode()).sample.clamp(-1, 1)
            pictures = [np.asarray(((p + 1) * 127.5).permute(1, 2, 0).numpy(), np.uint8) for p in back]
            masks = [s.mask > 0 for s in scenes]
            found[kind] = few_shot.verdict(own, kind, pictures, [s.clean for s in scenes], masks, []).right
    return found


def arm(
    house: House, own: Oracle, name: str, more: Mapping[str, Any], seed: int, scale: Scale
) -> dict[str, Any]:
    """Train one arm with one seed's references, and judge it."""
    with tempfile.TemporaryDirectory() as where:
        folder = Path(where)
        model, seconds, loss = MINI_INPAINT, 0.0, None
        if more:
            told, files = few_shot.references(folder, seed)
            save_as = f"{name.replace(', ', '-').replace(' ', '-')}-{seed}"
            base = MINI if more["mode"] == "normal" else MINI_INPAINT
            request = Train(**{"save_as": save_as, "model": base, "method": scale.method, "steps": scale.steps, "seed": seed,
                               "batch": scale.batch, "validate_every": 0, "concepts": told, **more})  # fmt: skip
            began = time.process_time()
            run, _ = driven(house.training, house.work(request, files))
            seconds, model = time.process_time() - began, save_as
            loss = getattr(run, "record").whole.mean.value  # noqa: B009
        verdicts = judged(house, own, model, seed, scale, folder)
    return {"seconds": seconds, "loss": loss, **{kind: asdict(v) for kind, v in verdicts.items()}}


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


def main() -> None:
    told = argparse.ArgumentParser(description=__doc__)
    told.add_argument("--seeds", type=int, default=6)
    told.add_argument("--steps", type=int, default=300)
    told.add_argument("--photos", type=int, default=12)
    told.add_argument("--sampling", type=int, default=20)
    told.add_argument("--judge", type=int, default=400, help="steps of the judge's training")
    told.add_argument("--method", choices=("full", "lora"), default="full")
    told.add_argument("--batch", type=int, default=2)
    told.add_argument("--ablations", action="store_true")
    said = told.parse_args()
    import_libraries()
    scale = Scale(said.seeds, said.steps, said.photos, said.sampling, said.method, said.batch)
    own, console = few_shot.judge(said.judge), Console()
    arms = {**ARMS, **(WITHOUT if said.ablations else {})}
    with tempfile.TemporaryDirectory() as folder:
        house = House(Path(folder))
        limits = ceiling(house, own, 40)
        kinds = [kind for kind in KINDS if limits[kind] >= CEILING]
        console.print("ceiling", limits)
        found: dict[str, list[dict[str, Any]]] = {name: [] for name in arms}
        for seed in range(scale.seeds):
            for name, more in arms.items():
                found[name].append(arm(house, own, name, more, seed, scale))
                console.print(seed, name, {kind: found[name][-1][kind]["right"] for kind in KINDS})
    keep(f"dreambooth-{scale.method}", report(found, kinds, limits, scale))


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
    gaps = {
        f"defect − {name}": compared(shares["defect"], other)
        for name, other in shares.items()
        if name != "defect"
    }
    return {"scale": asdict(scale), "machine": described("cpu"), "ceiling": limits, "kinds": list(kinds), "means": means,
            "right": shares, "differences": gaps, "all": found}  # fmt: skip


if __name__ == "__main__":
    main()
