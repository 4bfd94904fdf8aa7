"""The samplers people know by name, as diffusers' schedulers.

The names are A1111's; the classes and options follow diffusers' own table for them. A scheduler has state, so each
run has its own; `fork` copies that state cheaply, which is how a step is tried before it is taken.
"""

from __future__ import annotations

import copy
import functools
import inspect
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import diffusers
import numpy as np
from diffusers import LMSDiscreteScheduler


class ExactLMS(LMSDiscreteScheduler):  # type: ignore[misc]
    """LMS with its coefficients in closed form.

    They are integrals of cubics, exact with two Gauss-Legendre nodes: 0.05 ms a step where adaptive quadrature
    over 0-d tensors takes 4.
    """

    def get_lms_coefficient(self, order: int, t: int, current_order: int) -> float:
        sigmas = self.sigmas[max(0, t - order + 1) : t + 2].double().numpy()
        now = len(sigmas) - 2
        middle, half = (sigmas[now + 1] + sigmas[now]) / 2, (sigmas[now + 1] - sigmas[now]) / 2
        at = middle + half * _NODES
        product = np.ones_like(at)
        for k in range(order):
            if k != current_order:
                product *= (at - sigmas[now - k]) / (sigmas[now - current_order] - sigmas[now - k])
        return float(half * (_WEIGHTS @ product))


_NODES, _WEIGHTS = np.polynomial.legendre.leggauss(2)


@dataclass(frozen=True, slots=True)
class Sampler:
    """A scheduler class of diffusers and what to set on top of the model's own configuration."""

    scheduler: str
    options: Mapping[str, Any] = field(default_factory=dict)


_2M = {"algorithm_type": "dpmsolver++", "solver_order": 2, "final_sigmas_type": "zero"}
_2M_SDE = _2M | {"algorithm_type": "sde-dpmsolver++"}
# DPM++ SDE is single-step and stochastic. diffusers' DPMSolverSDEScheduler needs the torchsde package and draws its
# noise from a Brownian tree with a seed of its own; this one draws from the picture's generator, as all others do.
_SDE = _2M_SDE | {"lower_order_final": True}

TABLE: Mapping[str, Sampler] = {
    "DPM++ 2M": Sampler("DPMSolverMultistepScheduler", _2M | {"use_karras_sigmas": False}),
    "DPM++ 2M Karras": Sampler("DPMSolverMultistepScheduler", _2M | {"use_karras_sigmas": True}),
    "DPM++ 2M SDE": Sampler("DPMSolverMultistepScheduler", _2M_SDE | {"use_karras_sigmas": False}),
    "DPM++ 2M SDE Karras": Sampler("DPMSolverMultistepScheduler", _2M_SDE | {"use_karras_sigmas": True}),
    "DPM++ SDE": Sampler("DPMSolverSinglestepScheduler", _SDE | {"use_karras_sigmas": False}),
    "DPM++ SDE Karras": Sampler("DPMSolverSinglestepScheduler", _SDE | {"use_karras_sigmas": True}),
    "DPM2": Sampler("KDPM2DiscreteScheduler", {"use_karras_sigmas": False}),
    "DPM2 Karras": Sampler("KDPM2DiscreteScheduler", {"use_karras_sigmas": True}),
    "DPM2 a": Sampler("KDPM2AncestralDiscreteScheduler", {"use_karras_sigmas": False}),
    "DPM2 a Karras": Sampler("KDPM2AncestralDiscreteScheduler", {"use_karras_sigmas": True}),
    "Euler": Sampler("EulerDiscreteScheduler", {"use_karras_sigmas": False}),
    "Euler a": Sampler("EulerAncestralDiscreteScheduler"),
    "Heun": Sampler("HeunDiscreteScheduler", {"use_karras_sigmas": False}),
    "LMS": Sampler("LMSDiscreteScheduler", {"use_karras_sigmas": False}),
    "LMS Karras": Sampler("LMSDiscreteScheduler", {"use_karras_sigmas": True}),
    "DDIM": Sampler("DDIMScheduler", {"clip_sample": False}),  # latents have no bounds to clip to
    "PNDM": Sampler("PNDMScheduler", {"skip_prk_steps": True}),  # as all Stable Diffusion configurations say
    "UniPC": Sampler("UniPCMultistepScheduler", {"use_karras_sigmas": False}),
    "LCM": Sampler("LCMScheduler", {"clip_sample": False}),
}


def build(name: str, model_config: Mapping[str, Any], steps: int, device: str = "cpu") -> Any:
    """A fresh scheduler of the sampler `name` for a model, with its timesteps set for `steps` steps."""
    options = dict(TABLE[name].options)
    if name == "LCM":  # its schedule is drawn from so many steps; there must be as many
        options["original_inference_steps"] = max(steps, model_config.get("original_inference_steps") or 50)
    scheduler = copy.deepcopy(_made(name, json.dumps({**model_config, **options}, sort_keys=True)))
    scheduler.set_timesteps(steps, device=device)
    return scheduler


@functools.lru_cache(maxsize=64)
def _made(name: str, config: str) -> Any:
    """A scheduler before its timesteps are set. Kept: some take 0.2 s to construct, for all 1000 timesteps."""
    cls = ExactLMS if name.startswith("LMS") else getattr(diffusers, TABLE[name].scheduler)
    known = inspect.signature(cls.__init__).parameters
    return cls.from_config({key: value for key, value in json.loads(config).items() if key in known})


def kept(model_config: Mapping[str, Any], timestep: float) -> float:
    """ᾱ at a training timestep: how much of the picture is left under the noise, 0..1."""
    return float(
        _made("DDIM", json.dumps(dict(model_config), sort_keys=True)).alphas_cumprod[round(timestep)]
    )


def enter(scheduler: Any, steps: int, strength: float) -> Any:
    """Where the schedule is entered: the timesteps left for `strength` (1 = all of them), at least one step's.

    A strength of 0.4 with 25 steps does the last 10. Samplers that evaluate the model twice a step have two
    timesteps for each.
    """
    skipped = min(max(steps - int(steps * strength), 0), steps - 1)
    begin = skipped * scheduler.order
    if hasattr(scheduler, "set_begin_index"):  # else each would search for its place
        scheduler.set_begin_index(begin)
    return scheduler.timesteps[begin:]


def fork(scheduler: Any) -> Any:
    """A twin that can go on without changing the original. Tensors are shared: no scheduler writes into them."""
    twin = copy.copy(scheduler)
    for name, value in vars(scheduler).items():
        if isinstance(value, list):  # the histories of multistep solvers
            setattr(twin, name, list(value))
    return twin


@functools.cache
def draws(scheduler: Any) -> bool:
    """Whether a scheduler class's `step` wants the pictures' generators."""
    return "generator" in inspect.signature(scheduler.step).parameters
