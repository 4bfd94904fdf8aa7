"""The normal full arm against a straight re-statement of the published algorithm (DreamBooth, arXiv 2208.12242, as
diffusers' train_dreambooth.py goes through it): same pictures, same seeds, same losses.

Only which picture comes when, and the random numbers, are the engine's; everything that is done with them is stated
anew here with plain torch, diffusers and transformers.
"""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import training_world as world
from diffusers import AutoencoderKL, DDPMScheduler, UNet2DConditionModel
from PIL import Image
from torch.nn import functional
from transformers import CLIPTextModel, CLIPTokenizer

from engines.training import chance, rows
from engines.training.concepts import Order, concepts
from engines.training.request import Train

pytestmark = pytest.mark.usefixtures("one_thread")

STEPS = 20


def restated(base: Path, request: Train, files: dict[str, Path], side: int) -> list[float]:
    """DreamBooth with prior preservation: the loss of each step."""
    tokenizer = CLIPTokenizer.from_pretrained(base / "tokenizer")
    encoder = CLIPTextModel.from_pretrained(base / "text_encoder")
    vae = AutoencoderKL.from_pretrained(base / "vae")
    unet = UNet2DConditionModel.from_pretrained(base / "unet").train()
    noising = DDPMScheduler.from_pretrained(base / "scheduler")
    optimizer = torch.optim.AdamW(
        unet.parameters(), lr=request.learning_rate or 0.0, betas=(0.9, 0.999), weight_decay=1e-2, eps=1e-8
    )
    told = concepts(request)
    all_losses = []
    for sample in Order(told, request.seed, 1.0).span(0, request.total_steps):
        concept = told[sample.concept]
        names = [concept.shots[sample.shot].image, concept.prior[sample.prior[0]]]
        prompts = [concept.prompt, concept.class_prompt]
        draws = [("row", sample.number, tag) for tag in ("instance", "prior0")]
        pixels = torch.stack([picture(files[name], side) for name in names])
        with torch.no_grad():
            spread = vae.encode(pixels).latent_dist
            shape = tuple(spread.mean.shape[1:])
            clean = spread.mean + spread.std * noise(request, shape, draws, "vae")
            clean = clean * vae.config.scaling_factor
            tokens = tokenizer(
                prompts, padding="max_length", max_length=77, truncation=True, return_tensors="pt"
            )
            text = encoder(tokens.input_ids)[0]
        drawn = noise(request, shape, draws, "noise")
        times = torch.tensor([chance.below(1000, request.seed, *draw, "time") for draw in draws])
        said = unet(noising.add_noise(clean, drawn, times), times, text).sample
        target = (
            drawn
            if noising.config.prediction_type == "epsilon"
            else noising.get_velocity(clean, drawn, times)
        )
        said, said_prior = torch.chunk(said, 2)
        target, target_prior = torch.chunk(target, 2)
        loss = functional.mse_loss(said, target) + 1.0 * functional.mse_loss(said_prior, target_prior)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(unet.parameters(), 1.0)
        optimizer.step()
        optimizer.zero_grad()
        all_losses.append(float(loss.detach()))
    return all_losses


def picture(path: Path, side: int) -> torch.Tensor:
    """Resized and brought to −1..1, as torchvision's transforms in the script do (the photos here are square)."""
    with Image.open(path) as image:
        small = image.convert("RGB").resize((side, side), Image.Resampling.LANCZOS)
    return torch.from_numpy(np.asarray(small, dtype=np.float32) / 255).permute(2, 0, 1) * 2 - 1


def noise(
    request: Train, shape: tuple[int, ...], draws: list[tuple[str, int, str]], what: str
) -> torch.Tensor:
    return torch.stack([chance.noise(shape, request.seed, *draw, what) for draw in draws])


def test_the_normal_full_arm_is_dreambooth(bases: Path, tmp_path: Path) -> None:
    told, files = world.data(tmp_path / "data")
    request = world.train(
        mode="normal",
        method="full",
        steps=STEPS,
        learning_rate=1e-4,
        text_encoder="no",
        concepts=tuple(told),
    )
    engine = world.engine(world.house(tmp_path / "models", bases))
    run = world.driven(engine, world.work(tmp_path / "work", request, files))
    ours = run.record.whole.losses
    engine.suspend(run)
    theirs = restated(bases / world.PICTURES, request, files, 32)
    assert len(ours) == STEPS
    assert ours == pytest.approx(theirs, rel=1e-5)
    assert max(ours) > 1.01 * min(ours), "the losses say nothing"


def test_ten_concepts_cost_no_more_rows_than_one(bases: Path, tmp_path: Path) -> None:
    """What a step costs is its rows; time follows (benchmarks), and here coarsely."""
    cost, seconds = {}, {}
    engine = world.engine(world.house(tmp_path / "models", bases))
    for count in (1, 10):
        told, files = world.data(tmp_path / f"data{count}", concepts=count, shots=1, normals=1)
        request: Train = world.train(steps=40, concepts=tuple(told))
        order = Order(concepts(request), request.seed, 1.0)
        cost[count] = [len(rows.of(s, request, concepts(request))) for s in order.span(0, 40)]
        run: Any = engine.begin(world.work(tmp_path / f"work{count}", request, files, count))
        while run.learnt < 12:
            engine.advance([run])
        began = time.thread_time()
        for _ in range(6):
            run.learner.gradients([rows.of(run.order.span(0, 1)[0], request, run.concepts)], run.sights)
            run.learner.forget()
        seconds[count] = time.thread_time() - began
        engine.suspend(run)
    assert cost[1] == cost[10]
    assert seconds[10] < 2 * seconds[1], seconds
