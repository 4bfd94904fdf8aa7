"""What the defect mode is worth: none, normal DreamBooth, normal inpainting and defect mode at equal steps, judged.

`python -m benchmarks.dreambooth --seeds 6`: a task unseen in pre-training (few_shot.py); each seed draws its own
references, trains each arm and is one pair in the comparison. Every (arm, seed) is kept under build/dreambooth as soon as
it is there, so that a run that was stopped goes on; `--arms main` does the four arms without what is left out of the
defect mode. Figures in benchmarks/results/dreambooth-METHOD.json, the arms' pictures side by side in
build/dreambooth/…/sheet.png. `python -m benchmarks.dreambooth concepts`: what a step costs with ten concepts.
"""

from __future__ import annotations

import argparse
import hashlib
import itertools
import json
import shutil
import statistics
import tempfile
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image, ImageDraw
from rich.console import Console

from benchmarks import few_shot
from benchmarks.few_shot import KINDS, TESTS, Verdict
from benchmarks.machine import described, keep
from engines.diffusion.engine import Diffusion
from engines.embedded.oracles import Oracle
from engines.embedded.world import Scene
from engines.engine import Engine, Run, Work
from engines.models.loading import import_libraries, reader
from engines.models.memory import Models
from engines.requests import Inpaint
from engines.training import rows
from engines.training.engine import DreamBooth
from engines.training.request import Train
from engines.training.run import Training

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
    "defect, no masks": {"mode": "defect", "masks": False},
    "defect, no object pass": {"mode": "defect", "object_weight": 0.0},
    "defect, no full masks": {"mode": "defect", "full_masks": 0.0},
}
BUILD = Path(__file__).parents[1] / "build" / "dreambooth"
GUIDANCE = 3.0  # at which the embedded models were measured
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
    rate: float | None  # of learning; None: what the base's size suggests

    @property
    def key(self) -> str:
        """What one (arm, seed) depends on: all but how many seeds there are, and the base's weights."""
        told = json.dumps(
            {**asdict(self), "seeds": 0, "judge": few_shot.KINDS, "base": _weights()}, sort_keys=True
        )
        return hashlib.sha256(told.encode()).hexdigest()[:12]


@cache
def _weights() -> str:
    """The embedded weights, as one hash."""
    import engines.embedded

    files = sorted((Path(engines.embedded.__file__).parent / "weights").rglob("*.safetensors"))
    return hashlib.sha256(b"".join(hashlib.sha256(f.read_bytes()).digest() for f in files)).hexdigest()


@dataclass(frozen=True, slots=True)
class Drawn:
    """A picture that a model made, and the scene whose photo and mask it was given."""

    picture: NDArray[np.uint8]
    scene: Scene


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


def drawn(house: House, model: str, seed: int, scale: Scale, folder: Path) -> dict[str, list[Drawn]]:
    """Every kind put into good photos that nobody has learnt from, in masks of real defects; all in one batch."""
    runs, found = [], {}
    for kind in KINDS:
        found[kind] = [few_shot.scene(TESTS + 100 * seed + i, kind) for i in range(scale.photos)]
        for i, one in enumerate(found[kind]):
            photo, mask = folder / f"{kind}-{i}.png", folder / f"{kind}-{i}-mask.png"
            Image.fromarray(one.clean).save(photo)
            Image.fromarray(one.mask).save(mask)
            request = Inpaint(image="p", mask="m", prompt=few_shot.prompt(kind), model=model, seed=i, steps=scale.sampling,
                              guidance=GUIDANCE, grow=3, feather=2)  # fmt: skip
            runs.append(house.pictures.begin(house.work(request, {"p": photo, "m": mask})))
    while not runs[0].finished:
        house.pictures.advance(runs)
    made = []
    for run in runs:
        packing = house.pictures.finish(run)
        house.pictures.suspend(run)
        made.append(np.asarray(Image.open(packing()[0].path).convert("RGB")))
    each = iter(made)
    return {kind: [Drawn(next(each), one) for one in scenes] for kind, scenes in found.items()}


def judged(own: Oracle, pictures: Mapping[str, list[Drawn]], seed: int) -> dict[str, Verdict]:
    found = {}
    for kind, all in pictures.items():
        learnt = few_shot.patches([few_shot.scene(1000 * seed + i, kind) for i in range(few_shot.REFERENCES)])
        masks = [one.scene.mask > 0 for one in all]
        found[kind] = few_shot.verdict(
            own, kind, [one.picture for one in all], [one.scene.clean for one in all], masks, learnt
        )
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
    """Train one arm with one seed's references, and judge it; from the disk where that was done before."""
    kept = BUILD / scale.key / f"{_file(name)}-{seed}.json"
    if kept.exists():
        told: dict[str, Any] = json.loads(kept.read_text())
        return told
    with tempfile.TemporaryDirectory() as where:
        folder = Path(where)
        model, facts = _taught(house, name, more, seed, scale, folder) if more else (MINI_INPAINT, {})
        pictures = drawn(house, model, seed, scale, folder)
        if more:
            shutil.rmtree(house.folder / model)
    verdicts = {kind: asdict(v) for kind, v in judged(own, pictures, seed).items()}
    kept.parent.mkdir(parents=True, exist_ok=True)
    rows = [Image.fromarray(np.concatenate([one.picture for one in all[:3]], 1)) for all in pictures.values()]
    _column(rows).save(kept.with_suffix(".png"))
    told = {"seconds": 0.0, "loss": None, **facts, **verdicts}
    part = kept.with_suffix(".part")
    part.write_text(json.dumps(told, indent=1))
    part.replace(kept)
    return told


def _taught(
    house: House, name: str, more: Mapping[str, Any], seed: int, scale: Scale, folder: Path
) -> tuple[str, dict[str, Any]]:
    """The trained model's name, and the CPU seconds and loss of its training."""
    concepts, files = few_shot.references(folder, seed)
    if not more.get("masks", True):
        concepts = tuple(
            {**c, "images": [{"image": one["image"], "mask": ""} for one in c["images"]]} for c in concepts
        )
    base = MINI if more["mode"] == "normal" else MINI_INPAINT
    options = {name: value for name, value in more.items() if name != "masks"}
    request = Train(**{"save_as": f"{_file(name)}-{seed}", "model": base, "method": scale.method, "steps": scale.steps,
                       "seed": seed, "batch": scale.batch, "learning_rate": scale.rate, "save_every": 50_000,
                       "validate_every": 0, "concepts": concepts, **options})  # fmt: skip
    began = time.process_time()
    run, _ = driven(house.training, house.work(request, files))
    loss = getattr(run, "record").whole.mean.value  # noqa: B009
    return request.save_as, {"seconds": time.process_time() - began, "loss": loss}


def _file(name: str) -> str:
    return name.replace(", ", "-").replace(" ", "-")


def _column(pictures: Sequence[Image.Image]) -> Image.Image:
    made = Image.new("RGB", (max(p.width for p in pictures), sum(p.height for p in pictures)), "white")
    top = 0
    for picture in pictures:
        made.paste(picture, (0, top))
        top += picture.height
    return made


def sheet(arms: Sequence[str], seed: int, scale: Scale) -> Path:
    """The real defects and each arm's pictures of one seed side by side: a row a kind, three photos an arm."""
    real = [
        Image.fromarray(
            np.concatenate([few_shot.scene(TESTS + 100 * seed + i, kind).image for i in range(3)], 1)
        )
        for kind in KINDS
    ]
    columns = [("real", _column(real))]
    columns += [(name, Image.open(BUILD / scale.key / f"{_file(name)}-{seed}.png")) for name in arms]
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


def asked() -> argparse.Namespace:
    told = argparse.ArgumentParser(description=__doc__)
    told.add_argument("part", nargs="?", choices=("arms", "concepts"), default="arms")
    told.add_argument("--arms", choices=("main", "all"), default="all")
    told.add_argument("--seeds", type=int, default=6)
    told.add_argument("--steps", type=int, default=100)
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
    scale = Scale(said.seeds, said.steps, said.photos, said.sampling, said.method, said.batch, said.rate)
    own, console = few_shot.judge_kept(BUILD, said.judge), Console()
    arms = {**ARMS, **(WITHOUT if said.arms == "all" else {})}
    with tempfile.TemporaryDirectory() as folder:
        house = House(Path(folder))
        limits = ceiling(house, own, 40)
        kinds = [kind for kind in KINDS if limits[kind] >= CEILING]
        console.print("ceiling", limits)
        found: dict[str, list[dict[str, Any]]] = {name: [] for name in arms}
        for part in (ARMS, {name: more for name, more in arms.items() if name not in ARMS}):
            for seed in range(scale.seeds):
                for name, more in part.items():
                    found[name].append(arm(house, own, name, more, seed, scale))
                    console.print(seed, name, {kind: found[name][-1][kind]["right"] for kind in KINDS})
    console.print(sheet(list(arms), 0, scale))
    keep(f"dreambooth-{scale.method}", report(found, kinds, limits, scale))


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
