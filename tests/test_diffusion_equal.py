"""Our steps are diffusers' steps: every kind and sampler, alone and among strangers, against its own pipelines.

The pipelines get the same modules and a generator of the same seed; latents are compared by the largest difference
over the largest value. The embedded models (v-prediction, trained) and random-weight ones (epsilon), both at 64 × 64.
"""

from __future__ import annotations

import dataclasses
import functools
from pathlib import Path
from typing import Any

import diffusers
import numpy as np
import pytest
import torch
from PIL import Image, ImageFilter
from small_models import save

from engines.diffusion.engine import Diffusion, Pictures
from engines.engine import Work
from engines.models.loading import folder_blueprint
from engines.models.memory import Models, Parts
from engines.requests import SAMPLERS, Img2Img, Inpaint, Txt2Img
from engines.requests import Diffusion as Asked

EMBEDDED = Path(__file__).parent.parent / "engines" / "embedded" / "weights"

# diffusers' own table for the names people know from A1111, written down independently of engines/diffusion/samplers.py
M, S = "DPMSolverMultistepScheduler", "DPMSolverSinglestepScheduler"
SDE, KARRAS = {"algorithm_type": "sde-dpmsolver++"}, {"use_karras_sigmas": True}
REFERENCE: dict[str, tuple[str, dict[str, Any]]] = {
    "DPM++ 2M": (M, {}),
    "DPM++ 2M Karras": (M, KARRAS),
    "DPM++ 2M SDE": (M, SDE),
    "DPM++ 2M SDE Karras": (M, SDE | KARRAS),
    "DPM++ SDE": (S, SDE | {"lower_order_final": True}),
    "DPM++ SDE Karras": (S, SDE | KARRAS | {"lower_order_final": True}),
    "DPM2": ("KDPM2DiscreteScheduler", {}),
    "DPM2 Karras": ("KDPM2DiscreteScheduler", KARRAS),
    "DPM2 a": ("KDPM2AncestralDiscreteScheduler", {}),
    "DPM2 a Karras": ("KDPM2AncestralDiscreteScheduler", KARRAS),
    "Euler": ("EulerDiscreteScheduler", {}),
    "Euler a": ("EulerAncestralDiscreteScheduler", {}),
    "Heun": ("HeunDiscreteScheduler", {}),
    "LMS": ("LMSDiscreteScheduler", {}),
    "LMS Karras": ("LMSDiscreteScheduler", KARRAS),
    "DDIM": ("DDIMScheduler", {"clip_sample": False}),
    "PNDM": ("PNDMScheduler", {"skip_prk_steps": True}),
    "UniPC": ("UniPCMultistepScheduler", {}),
    "LCM": ("LCMScheduler", {"clip_sample": False}),
}
KINDS = ("txt2img", "img2img", "inpaint-4", "inpaint-9")
PROMPTS = ("a photo of a scratched metal nut", "a photo of a tile with a stain", "무늬목의 갈라진 틈", "")


def request(kind: str, sampler: str, least: int = 3) -> Asked:
    """What one stranger asks: prompts, steps, guidance, strength and seeds all differ from sampler to sampler."""
    i = SAMPLERS.index(sampler)
    common: dict[str, Any] = {
        "prompt": PROMPTS[i % 4],
        "negative": ("", "blurry, dark")[i % 2],
        "model": kind,
        "seed": 2**32 - 2 + i if i < 2 else 100 + i,
        "steps": least + i % 3,
        "guidance": (7.5, 1.0, 3.0)[i % 3],
        "sampler": sampler,
    }
    if kind == "txt2img":
        return Txt2Img(**common, width=64, height=64)
    if kind == "img2img":
        return Img2Img(**common, image="photo", strength=(0.75, 1.0, 0.5)[i % 3])
    return Inpaint(**common, image="photo", mask="mask", strength=(1.0, 0.7)[i // 2 % 2])


class Family:
    """One set of models, our engine on it, and diffusers' pipelines on the same modules."""

    def __init__(self, folders: dict[str, Path], work: Path, least: int) -> None:
        self.least = least  # steps

        def read(name: str, kind: str) -> Any:
            plan = folder_blueprint(name, folders[name], "cpu", "float32")
            return dataclasses.replace(plan, native=64)

        self.models = Models(read)
        self.engine = Diffusion(self.models)
        self.photo, self.mask, self.work = work / "photo.png", work / "mask.png", work
        noise = np.random.default_rng(0).integers(0, 256, (64, 64, 3), np.uint8)
        Image.fromarray(noise).filter(ImageFilter.GaussianBlur(2)).save(self.photo)
        white = np.zeros((64, 64), np.uint8)
        white[16:40, 24:48] = 255  # whole cells, where our max-pooling and diffusers' nearest agree
        Image.fromarray(white).save(self.mask)
        self.reference = functools.cache(self._reference)
        self.crowd = functools.cache(self._crowd)

    def asks(self, kind: str, sampler: str) -> Asked:
        return request(kind, sampler, self.least)

    def begin(self, asked: Asked) -> Pictures:
        return self.engine.begin(Work(1, "anna", asked, self.work, {"photo": self.photo, "mask": self.mask}))

    def alone(self, asked: Asked) -> torch.Tensor:
        run = self.begin(asked)
        while not run.finished:
            self.engine.advance([run])
        return self.taken(run)

    def taken(self, run: Pictures) -> torch.Tensor:
        assert run.state is not None
        latents = run.state.latents
        self.engine.suspend(run)
        return latents

    def _crowd(self) -> dict[tuple[str, str], torch.Tensor]:
        """Everybody's runs at once: whoever has the same key shares each UNet call until done."""
        runs = {(k, s): self.begin(self.asks(k, s)) for k in KINDS for s in SAMPLERS}
        assert len({run.key for run in runs.values()}) == 2, "4 and 9 channels apart, all else together"
        waiting = list(runs.values())
        while waiting:
            for key in {run.key for run in waiting}:
                self.engine.advance([run for run in waiting if run.key == key])
            waiting = [run for run in waiting if not run.finished]
        return {name: self.taken(run) for name, run in runs.items()}

    def _reference(self, asked: Asked, output: str = "latent") -> Any:
        """diffusers' own pipeline call."""
        with self.models.lease(asked.model, asked.name) as lease, Image.open(self.photo) as photo:
            pipe = pipeline(lease.parts, asked)
            more: dict[str, Any] = {}
            if isinstance(asked, Txt2Img):
                more = {"width": 64, "height": 64}
            elif isinstance(asked, Img2Img):
                more = {"image": photo, "strength": asked.strength}
            elif isinstance(asked, Inpaint):
                mask = Image.open(self.mask)
                more = {
                    "image": photo,
                    "mask_image": mask,
                    "strength": asked.strength,
                    "width": 64,
                    "height": 64,
                }
            return pipe(
                prompt=asked.prompt,
                negative_prompt=asked.negative,
                num_inference_steps=asked.steps,
                guidance_scale=asked.guidance,
                generator=torch.Generator("cpu").manual_seed(asked.seed),
                output_type=output,
                **more,
            ).images


@functools.cache
def fresh(sampler: str, config: tuple[tuple[str, Any], ...]) -> Any:
    """diffusers' scheduler; made once, for some take a second, and each pipeline call sets it anew."""
    name, options = REFERENCE[sampler]
    return getattr(diffusers, name).from_config(dict(config), **options)


def pipeline(parts: Parts, asked: Asked) -> Any:
    kind = {"txt2img": "", "img2img": "Img2Img", "inpaint": "Inpaint"}[asked.name]
    pipe = getattr(diffusers, f"StableDiffusion{kind}Pipeline")(
        vae=parts.vae,
        text_encoder=parts.text_encoder,
        tokenizer=parts.tokenizer,
        unet=parts.unet,
        scheduler=fresh(asked.sampler, tuple(sorted(parts.scheduler_config.items(), key=str))),
        safety_checker=None,
        feature_extractor=None,
        requires_safety_checker=False,
    )
    pipe.set_progress_bar_config(disable=True)
    return pipe


@pytest.fixture(scope="module", params=["embedded", "epsilon"])
def family(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory, one_thread_throughout: None
) -> Family:
    work = tmp_path_factory.mktemp(request.param)
    if request.param == "embedded":
        four, nine, least = EMBEDDED / "txt2img", EMBEDDED / "inpaint", 2
    else:
        four, nine, least = save(work / "four"), save(work / "nine", channels=9, seed=1), 3
    return Family({"txt2img": four, "img2img": four, "inpaint-4": four, "inpaint-9": nine}, work, least)


def apart(ours: torch.Tensor, theirs: torch.Tensor) -> float:
    """The largest difference, relative to the largest value."""
    assert ours.shape == theirs.shape
    return float((ours - theirs).abs().max() / theirs.abs().max())


# What rounding grows to depends on the sampler: these stay under 1e-5, ten times under the others' bound.
CALM = ("Euler", "Euler a", "DPM++ 2M Karras", "DPM++ SDE", "DPM2 Karras", "LMS", "PNDM", "UniPC")


def bound(sampler: str) -> float:
    return 1e-5 if sampler in CALM else 1e-4


each = pytest.mark.parametrize("sampler", SAMPLERS)
kinds = pytest.mark.parametrize("kind", KINDS)


@kinds
@each
def test_alone_equals_diffusers(family: Family, kind: str, sampler: str) -> None:
    asked = family.asks(kind, sampler)
    d = apart(family.alone(asked), family.reference(asked))
    assert d < bound(sampler)


@kinds
@each
def test_among_strangers_equals_diffusers(family: Family, kind: str, sampler: str) -> None:
    asked = family.asks(kind, sampler)
    d = apart(family.crowd()[kind, sampler], family.reference(asked))
    assert d < bound(sampler)
