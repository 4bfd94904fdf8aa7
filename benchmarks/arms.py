"""The arms of the DreamBooth benchmark: each is trained on one seed's references and judged, and kept on the disk."""

from __future__ import annotations

import hashlib
import itertools
import json
import re
import shutil
import tempfile
import time
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image

from benchmarks import few_shot
from benchmarks.few_shot import KINDS, TESTS
from engines.diffusion.engine import Diffusion
from engines.embedded import SIZE
from engines.embedded.oracles import Oracle
from engines.embedded.world import Scene
from engines.engine import Engine, Run, Work
from engines.models.loading import reader
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
    "defect, no masks": {"mode": "defect", "masks": False},
    "defect, no good photos": {"mode": "defect", "normals": 0.0},
    "defect, no prompt noise": {"mode": "defect", "prompt_noise": 0.0},
    "defect, text encoder frozen": {"mode": "defect", "text_encoder": "no"},
    "defect, no object pass": {"mode": "defect", "object_weight": 0.0},
    "defect, no full masks": {"mode": "defect", "full_masks": 0.0},
}
WITH: Mapping[str, Mapping[str, Any]] = {  # and with what is off unless asked for
    "normal-inpainting, text encoder too": {"mode": "normal-inpainting", "text_encoder": "yes"},
    "defect, attention too": {"mode": "defect", "attention_weight": 0.05},
}
ON_TRAY: Mapping[str, Mapping[str, Any]] = {  # what only photos larger than the model show
    "defect": {"mode": "defect"},
    "defect, no crops": {"mode": "defect", "crop": 20.0},
}
BUILD = Path(__file__).parents[1] / "build" / "dreambooth"
GUIDANCE = 3.0  # at which the embedded models were measured


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
    tray: bool = False  # four parts a photo, twice the model's side, of which one has the defect

    @property
    def key(self) -> str:
        """What one (arm, seed) depends on: all but how many seeds there are, and the base's weights."""
        told = {**asdict(self), "seeds": 0, "kinds": few_shot.KINDS, "base": _weights()}
        return hashlib.sha256(json.dumps(told, sort_keys=True).encode()).hexdigest()[:12]

    def kept(self, arm: str, seed: int) -> Path:
        """Where the figures of one (arm, seed) are kept, and with .png its pictures."""
        return BUILD / self.key / f"{file_of(arm)}-{seed}.json"


def file_of(arm: str) -> str:
    """The arm's name as a file's."""
    return re.sub(r"\W+", "-", arm)


@cache
def _weights() -> str:
    """The embedded weights, as one hash."""
    import engines.embedded

    files = sorted((Path(engines.embedded.__file__).parent / "weights").rglob("*.safetensors"))
    return hashlib.sha256(b"".join(hashlib.sha256(f.read_bytes()).digest() for f in files)).hexdigest()


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


def given(seed: int, kind: str | None, count: int) -> list[Scene]:
    """Good photos that nobody has learnt from, and masks of real defects: what the kind, or none, is to be put into."""
    return [few_shot.scene(TESTS + 100 * seed + i, kind or KINDS[0]) for i in range(count)]


def drawn(house: House, model: str, seed: int, scale: Scale, folder: Path) -> Image.Image:
    """Every kind put into good photos, all in one batch: a row a kind, the last one asked for without a defect."""
    runs = []
    for kind in (*KINDS, None):
        for i, one in enumerate(given(seed, kind, scale.photos)):
            one = few_shot.on_tray(one, i) if scale.tray else one
            photo, mask = folder / f"{kind}-{i}.png", folder / f"{kind}-{i}-mask.png"
            Image.fromarray(one.clean).save(photo)
            Image.fromarray(one.mask).save(mask)
            request = Inpaint(image="p", mask="m", prompt=few_shot.prompt(kind), model=model, seed=i, steps=scale.sampling,
                              guidance=GUIDANCE, grow=3, feather=2)  # fmt: skip
            runs.append(house.pictures.begin(house.work(request, {"p": photo, "m": mask})))
    while not runs[0].finished:
        house.pictures.advance(runs)
    made = []
    for at, run in enumerate(runs):
        packing = house.pictures.finish(run)
        house.pictures.suspend(run)
        picture = np.asarray(Image.open(packing()[0].path).convert("RGB"))
        made.append(few_shot.off_tray(picture, at % scale.photos) if scale.tray else picture)
    rows = [np.concatenate(made[at : at + scale.photos], 1) for at in range(0, len(made), scale.photos)]
    return Image.fromarray(np.concatenate(rows))


def judged(own: Oracle, pictures: Path, seed: int) -> dict[str, Any]:
    """What the judge says of one arm's sheet as `drawn` made it: a `Verdict` of each kind, and "faultless"."""
    found: dict[str, Any] = {}
    sheet = np.asarray(Image.open(pictures))
    for kind, row in zip((*KINDS, None), np.split(sheet, len(sheet) // SIZE), strict=False):
        made = np.split(row, row.shape[1] // SIZE, axis=1)
        scenes = given(seed, kind, len(made))
        masks = [one.mask > 0 for one in scenes]
        if kind is None:
            found["faultless"] = few_shot.faultless(own, made, masks)
            break
        learnt = few_shot.patches([few_shot.scene(1000 * seed + i, kind) for i in range(few_shot.REFERENCES)])
        verdict = few_shot.verdict(own, kind, made, [one.clean for one in scenes], masks, learnt)
        found[kind] = asdict(verdict)
    return found


@torch.no_grad()
def ceiling(house: House, own: Oracle, count: int) -> dict[str, float]:
    """How often the judge finds real defects after the base's VAE: what no training can be better than."""
    with house.models.lease(MINI_INPAINT, "inpaint") as lease:
        vae, found = lease.parts.vae, {}
        for kind in KINDS:
            scenes = given(500, kind, count)
            seen = few_shot.pixels_of([s.image for s in scenes])
            back = vae.decode(vae.encode(seen).latent_dist.mode()).sample.clamp(-1, 1)
            pictures = [np.asarray(((p + 1) * 127.5).permute(1, 2, 0).numpy(), np.uint8) for p in back]
            masks = [s.mask > 0 for s in scenes]
            found[kind] = few_shot.verdict(own, kind, pictures, [s.clean for s in scenes], masks, []).right
    return found


def arm(
    house: House, own: Oracle, name: str, more: Mapping[str, Any], seed: int, scale: Scale
) -> dict[str, Any]:
    """Train one arm with one seed's references, and judge it; its pictures are kept, and taken from the disk later."""
    kept = scale.kept(name, seed)
    if not kept.exists():
        _made(house, name, more, seed, scale, kept)
    facts: dict[str, Any] = json.loads(kept.read_text())
    return facts | judged(own, kept.with_suffix(".png"), seed)


def _made(house: House, name: str, more: Mapping[str, Any], seed: int, scale: Scale, kept: Path) -> None:
    with tempfile.TemporaryDirectory() as where:
        folder = Path(where)
        facts: dict[str, Any] = {"seconds": 0.0, "loss": None}
        model = MINI_INPAINT
        if more:
            model, facts = _taught(house, name, more, seed, scale, folder)
        pictures = drawn(house, model, seed, scale, folder)
        if more:
            shutil.rmtree(house.folder / model)
    kept.parent.mkdir(parents=True, exist_ok=True)
    pictures.save(kept.with_suffix(".png"))
    part = kept.with_suffix(".part")
    part.write_text(json.dumps(facts))
    part.replace(kept)


def _taught(
    house: House, name: str, more: Mapping[str, Any], seed: int, scale: Scale, folder: Path
) -> tuple[str, dict[str, Any]]:
    """The trained model's name, and the CPU seconds and loss of its training."""
    concepts, files = few_shot.references(folder, seed, tray=scale.tray)
    if not more.get("masks", True):
        concepts = tuple(
            {**c, "images": [{"image": one["image"], "mask": ""} for one in c["images"]]} for c in concepts
        )
    base = MINI if more["mode"] == "normal" else MINI_INPAINT
    options = {name: value for name, value in more.items() if name != "masks"}
    request = Train(**{"save_as": f"{file_of(name)}-{seed}", "model": base, "method": scale.method, "steps": scale.steps,
                       "seed": seed, "batch": scale.batch, "learning_rate": scale.rate, "save_every": 50_000,
                       "validate_every": 0, "concepts": concepts, **options})  # fmt: skip
    began = time.process_time()
    run, _ = driven(house.training, house.work(request, files))
    loss = getattr(run, "record").whole.mean.value  # noqa: B009
    return request.save_as, {"seconds": time.process_time() - began, "loss": loss}
