"""Samplers by name: each copied cleanly, each working from one step to the most, LMS in closed form."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from diffusers import LMSDiscreteScheduler
from small_models import SCHEDULER

from engines.diffusion import samplers
from engines.requests import SAMPLERS

CONFIG = {**SCHEDULER, "prediction_type": "epsilon"}


@pytest.mark.parametrize("steps", [1, 2, 3, 20, 150])
@pytest.mark.parametrize("sampler", SAMPLERS)
def test_every_sampler_takes_every_number_of_steps(sampler: str, steps: int) -> None:
    """All the form allows, entered at the start, half-way, and at the very end."""
    for strength in (1.0, 0.5, 0.01):
        scheduler = samplers.build(sampler, CONFIG, steps)
        times = samplers.enter(scheduler, steps, strength)
        assert len(times) >= 1
        if strength == 0.5 and steps == 20 and sampler != "PNDM":
            assert len(times) == (10 if scheduler.order == 1 else 19)
        latents = torch.ones(1, 4, 2, 2) * scheduler.init_noise_sigma
        for time in times[:3]:
            latents = stepped(scheduler, latents, time)
        assert torch.isfinite(latents).all()


def stepped(scheduler: Any, latents: torch.Tensor, time: torch.Tensor) -> torch.Tensor:
    """One step with a made-up answer of the model."""
    seen = scheduler.scale_model_input(latents, time)
    own = {"generator": [torch.Generator().manual_seed(1)]} if samplers.draws(scheduler.__class__) else {}
    moved: torch.Tensor = scheduler.step(seen * 0.5, time, latents, return_dict=False, **own)[0]
    return moved


def test_a_forked_scheduler_leaves_the_original_alone() -> None:
    """What `advance` is all-or-none by: every sampler, three steps on a fork, and the original is as it was."""
    for name in SAMPLERS:
        scheduler = samplers.build(name, CONFIG, 5)
        times = samplers.enter(scheduler, 5, 1.0)
        latents = torch.randn(1, 4, 8, 8, generator=torch.Generator().manual_seed(0))
        before = state_of(scheduler)
        twin = samplers.fork(scheduler)
        for time in times[:3]:
            latents = stepped(twin, latents, time)
        assert state_of(scheduler) == before, name


def state_of(scheduler: Any) -> str:
    def plain(value: Any) -> Any:
        return value.tolist() if isinstance(value, torch.Tensor) else value

    told = {k: [plain(v) for v in x] if isinstance(x, list) else plain(x) for k, x in vars(scheduler).items()}
    return repr({k: v for k, v in told.items() if not (isinstance(v, list) and len(v) >= 1000)})


def test_coefficients_of_lms_are_the_integrals_that_diffusers_computes() -> None:
    ours = samplers.build("LMS Karras", CONFIG, 12)
    theirs = LMSDiscreteScheduler.from_config(CONFIG, use_karras_sigmas=True)
    theirs.set_timesteps(12)
    for t in range(12):
        for order in range(1, min(t + 1, 4) + 1):
            for current in range(order):
                expected = theirs.get_lms_coefficient(order, t, current)
                assert ours.get_lms_coefficient(order, t, current) == pytest.approx(expected, rel=1e-4)
