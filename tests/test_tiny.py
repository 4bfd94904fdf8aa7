"""The tiny decoder for previews: its real class with random weights, within the budget, and only where it fits."""

from __future__ import annotations

import dataclasses
import io
import json
import logging
import shutil
from pathlib import Path
from typing import Any

import pytest
import shapes
import torch
from diffusers import AutoencoderTiny
from PIL import Image

from engines.diffusion.previews import Glimpse, Previews
from engines.models import tiny
from engines.models.loading import folder_blueprint, import_libraries
from engines.models.memory import Models, Parts


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A models folder with a narrow Stable Diffusion 1 and a tiny decoder in TAESD's layout."""
    import_libraries()
    folder = tmp_path_factory.mktemp("models")
    shapes.save(folder / "four", "sd1")
    torch.manual_seed(0)
    narrow: dict[str, Any] = {"encoder_block_out_channels": (8,) * 4, "decoder_block_out_channels": (8,) * 4}
    AutoencoderTiny(**narrow).save_pretrained(folder / "taesd")
    return folder


def opened(folder: Path, budget: int | None = None) -> Models:
    return Models(lambda name, kind: folder_blueprint(name, folder / name, "cpu", "float32"), budget=budget)


def glimpse() -> Glimpse:
    own = torch.Generator().manual_seed(1)
    return Glimpse(
        torch.randn(1, 4, 8, 8, generator=own), torch.randn(1, 4, 8, 8, generator=own), timestep=400.0
    )


def picture(parts: Parts, previews: Previews) -> Image.Image:
    previews.prepare()
    return Image.open(io.BytesIO(previews.draw(parts, glimpse())))


def test_a_decoder_in_the_models_folder_draws_within_the_budget(folder: Path) -> None:
    models = opened(folder)
    decoder = tiny.Decoder("", folder, "cpu", "float32")
    with models.lease("four", "txt2img") as lease:
        used = models.used
        fine, coarse = picture(lease.parts, Previews(models, decoder)), picture(lease.parts, Previews())
    assert fine.size == coarse.size == (64, 64)
    assert fine.tobytes() != coarse.tobytes()
    assert decoder.plan is not None
    network = AutoencoderTiny.from_pretrained(folder / "taesd")
    assert models.used - used == decoder.plan.pieces[0].size
    assert decoder.plan.pieces[0].size == sum(p.numel() * 4 for p in network.parameters())
    assert all(leases == 0 for _, _, leases in models.held())


def test_a_preview_makes_nobody_leave(folder: Path) -> None:
    full = sum(piece.size for piece in folder_blueprint("four", folder / "four", "cpu", "float32").pieces)
    models = opened(folder, budget=full)
    decoder = tiny.Decoder(str(folder / "taesd"), None, "cpu", "float32")
    with models.lease("four", "txt2img") as lease:
        there = models.held()
        seen, coarse = picture(lease.parts, Previews(models, decoder)), picture(lease.parts, Previews())
    assert decoder.plan is not None, "it is there, but has no room"
    assert seen.tobytes() == coarse.tobytes()
    assert [(role, size) for role, size, _ in models.held()] == [(role, size) for role, size, _ in there]


def test_models_with_latents_of_their_own_keep_the_linear_map(folder: Path) -> None:
    models = opened(folder)
    with models.lease("four", "txt2img") as lease:
        assert tiny.suits(lease.parts)
        other = dataclasses.replace(lease.parts, scale=4)
        decoder = tiny.Decoder("", folder, "cpu", "float32")
        assert not tiny.suits(other)
        assert picture(other, Previews(models, decoder)).tobytes() == picture(other, Previews()).tobytes()


def test_a_hubs_name_is_fetched_once_and_no_network_is_no_failure(
    folder: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    asked: list[str] = []

    def offline(name: str, goal: Path) -> None:
        asked.append(name)
        raise OSError("no network")

    decoder = tiny.Decoder(tiny.NAME, tmp_path, "cpu", "float32", offline)
    with caplog.at_level(logging.WARNING):
        decoder.prepare()
        decoder.prepare()
    assert asked == [tiny.NAME]
    assert decoder.plan is None
    assert caplog.text.count("previews stay coarse") == 1

    def online(name: str, goal: Path) -> None:
        shutil.copytree(folder / "taesd", goal)

    decoder = tiny.Decoder(tiny.NAME, tmp_path, "cpu", "float32", online)
    decoder.prepare()
    assert decoder.plan is not None


def test_foreign_folders_are_left_alone(tmp_path: Path) -> None:
    for name in tiny.FILES:
        (tmp_path / name).write_text(json.dumps({"_class_name": "Evil"}))
    decoder = tiny.Decoder(str(tmp_path), None, "cpu", "float32")
    decoder.prepare()
    assert decoder.plan is None
