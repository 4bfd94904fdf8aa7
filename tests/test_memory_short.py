"""Where a device's memory is not enough for a step or a decoding: who idles leaves, then it is done in parts."""

from __future__ import annotations

import json
import weakref
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import shapes
import torch
from diffusers import UNet2DConditionModel
from engine_conformance import finished
from PIL import Image
from pool_conformance import all_of
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves
from toy_engine import CPU, Count, Toy

from engines.diffusion import portions
from engines.diffusion.engine import Diffusion, Pictures
from engines.engine import Work
from engines.events import Failed, Finished
from engines.models.loading import folder_blueprint
from engines.models.memory import Blueprint, Models, Piece
from engines.requests import Txt2Img
from engines.serving.budget import Budget
from engines.serving.pool import Pool

pytestmark = pytest.mark.timeout(120)
ROOT = Path(__file__).parents[1]


async def test_a_step_that_finds_no_memory_makes_idle_models_leave_and_is_tried_again(tmp_path: Path) -> None:
    """Of every engine: even a work that is alone need not fail."""
    idle = Piece("unet", "idle", 10, lambda: object())
    models = Models(lambda name, kind: Blueprint(name, name, (idle,)))
    toy = Toy()

    def begin(work: Work) -> None:
        models.lease("idle", "txt2img").close()

    def advance(runs: Any) -> None:
        if models.warm("idle"):
            raise MemoryError("full")

    toy.on_begin, toy.on_advance = begin, advance
    pool = Pool({Count: lambda device: toy}, [CPU], models={"cpu": models}.get)
    await pool.start()
    end = (await all_of(pool, Work(1, "kim", Count(steps=3), tmp_path)))[-1]
    assert isinstance(end, Finished), end
    assert [kind for kind, _ in toy.log].count("advance") == 4, "one of them twice, and no more"
    toy.on_advance = lambda runs: _raise(MemoryError("too large in any case"))
    assert isinstance((await all_of(pool, Work(2, "kim", Count(steps=3), tmp_path)))[-1], Failed)
    await pool.stop(5)


def _raise(error: Exception) -> None:
    raise error


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return shapes.save(tmp_path_factory.mktemp("models") / "four", "sd1")


@pytest.fixture
def models(folder: Path) -> Iterator[Models]:
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield Models(lambda name, kind: folder_blueprint(name, folder, "cpu", "float32"))
    torch.set_num_threads(threads)


def begin(engine: Diffusion, folder: Path, count: int = 3) -> Pictures:
    folder.mkdir()
    asked = Txt2Img(prompt="a nut", model="four", steps=2, seed=7, count=count, sampler="Euler a")
    return engine.begin(Work(1, "anna", asked, folder))


def step(engine: Diffusion, runs: list[Pictures]) -> None:
    while any(not run.finished for run in runs):
        engine.advance([run for run in runs if not run.finished])


def pixels(engine: Diffusion, run: Pictures) -> list[Any]:
    made = []
    for artifact in finished(engine, run):
        with Image.open(artifact.path) as picture:
            made.append(np.asarray(picture).astype(int))
    engine.suspend(run)
    return made


class Short:
    """A module that finds no memory for more than `most` rows (or cells)."""

    def __init__(self, most: int, of: Any) -> None:
        self.most, self.of, self.seen = most, of, list[int]()

    def __call__(self, _: Any, args: tuple[Any, ...]) -> None:
        self.seen.append(self.of(args[0]))
        if self.seen[-1] > self.most:
            raise torch.OutOfMemoryError("CUDA out of memory")


def test_one_job_of_many_rows_goes_through_in_parts(models: Models, tmp_path: Path) -> None:
    """Three guided pictures are six rows; the lane cannot halve a job that is alone."""
    engine = Diffusion(models)
    run = begin(engine, tmp_path / "a")
    step(engine, [run])
    wanted = pixels(engine, run)
    run = begin(engine, tmp_path / "b")
    short = Short(2, len)
    hook = run.lease.parts.unet.register_forward_pre_hook(short)
    step(engine, [run])
    hook.remove()
    assert max(short.seen[5:]) <= 2, f"what is known is not tried at every step: {short.seen}"
    assert all(abs(a - b).max() <= 1 for a, b in zip(wanted, pixels(engine, run), strict=True))


def test_several_jobs_are_halved_by_the_lane_that_learns_from_it(models: Models, tmp_path: Path) -> None:
    engine = Diffusion(models)
    runs = [begin(engine, tmp_path / name, 1) for name in "ab"]
    hook = runs[0].lease.parts.unet.register_forward_pre_hook(Short(2, len))
    with pytest.raises(torch.OutOfMemoryError):
        engine.advance(runs)
    assert [run.done for run in runs] == [0, 0]
    engine.advance(runs[:1])
    hook.remove()
    for run in runs:
        engine.suspend(run)


def test_one_row_that_is_too_much_is_the_jobs_end(models: Models, tmp_path: Path) -> None:
    engine = Diffusion(models)
    run = begin(engine, tmp_path / "a")
    hook = run.lease.parts.unet.register_forward_pre_hook(Short(0, len))
    with pytest.raises(torch.OutOfMemoryError):
        engine.advance([run])
    hook.remove()
    engine.suspend(run)


def test_a_picture_too_large_to_be_decoded_whole_is_decoded_in_tiles(models: Models, tmp_path: Path) -> None:
    engine = Diffusion(models)
    asked = Txt2Img(prompt="a nut", model="four", steps=1, seed=7, width=192, height=192)
    whole, tiled = (engine.begin(Work(i, "anna", asked, _made(tmp_path / str(i)))) for i in range(2))
    step(engine, [whole, tiled])
    (wanted,) = pixels(engine, whole)
    vae = tiled.lease.parts.vae
    short = Short(12 * 12, lambda latents: latents.shape[-1] * latents.shape[-2])
    hook = vae.decoder.register_forward_pre_hook(short)
    (made,) = pixels(engine, tiled)
    hook.remove()
    assert len(short.seen) > 3
    assert made.shape == wanted.shape == (192, 192, 3)
    assert abs(made - wanted).mean() < 12, "seams are blended; colours may differ a little"
    assert not vae.use_tiling, "the shared module is as it was"


def _made(folder: Path) -> Path:
    folder.mkdir()
    return folder


class Live(TorchDispatchMode):
    """Counts the bytes of tensors that are alive, and keeps the most there were."""

    def __init__(self) -> None:
        super().__init__()
        self.now = self.most = 0
        self._known: set[int] = set()

    def __torch_dispatch__(self, call: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        out = call(*args, **(kwargs or {}))
        for tensor in tree_leaves(out):
            if (
                isinstance(tensor, torch.Tensor)
                and (key := tensor.untyped_storage()._cdata) not in self._known
            ):
                size = tensor.untyped_storage().nbytes()
                self._known.add(key)
                self.now += size
                self.most = max(self.most, self.now)
                weakref.finalize(tensor, self._gone, key, size)
        return out

    def _gone(self, key: int, size: int) -> None:
        self._known.discard(key)
        self.now -= size


def embedded() -> dict[str, Any]:
    told = json.loads((ROOT / "engines/embedded/weights/txt2img/unet/config.json").read_text())
    return {name: value for name, value in told.items() if not name.startswith("_")}


SD15 = {"block_out_channels": (320, 640, 1280, 1280), "cross_attention_dim": 768, "attention_head_dim": 8}


@pytest.mark.parametrize(("config", "side"), [(SD15, 64), (SD15, 96), (embedded(), 32)], ids=str)
def test_what_a_row_is_said_to_take_is_enough_and_not_far_too_much(config: dict[str, Any], side: int) -> None:
    with torch.device("meta"):  # sizes without numbers
        unet = UNet2DConditionModel(**{"sample_size": 64, "in_channels": 4} | config).eval()

    def most(rows: int) -> int:
        asked = torch.empty(rows, 4, side, side, device="meta")
        text = torch.empty(rows, 77, config["cross_attention_dim"], device="meta")
        with torch.inference_mode(), Live() as live:
            unet(asked, torch.empty(rows, device="meta"), text, return_dict=False)
        return live.most

    each = (most(3) - most(1)) / 2
    assert each < portions.row_bytes(unet, side * side) < 4 * each


def test_a_run_says_what_its_rows_take_and_so_steps_are_cut_by_free_memory(
    models: Models, tmp_path: Path
) -> None:
    run = begin(Diffusion(models), tmp_path / "a")
    assert run.row_bytes == portions.row_bytes(run.lease.parts.unet, run.state.latents[0, 0].numel())  # type: ignore[union-attr]
    assert Budget(16, free=lambda: 4 * run.row_bytes).allowed(run) == 3
    run.lease.close()


def test_an_error_that_the_device_tells_late_moves_no_run(
    models: Models, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    engine = Diffusion(models)
    run = begin(engine, tmp_path / "a", 1)
    step(engine, [run])
    wanted = pixels(engine, run)
    run = begin(engine, tmp_path / "b", 1)
    with monkeypatch.context() as patch:
        patch.setattr("engines.devices.waited_for", lambda name: _raise(RuntimeError("illegal address")))
        with pytest.raises(RuntimeError, match="illegal address"):
            engine.advance([run])
    assert run.done == 0
    step(engine, [run])
    assert abs(wanted[0] - pixels(engine, run)[0]).max() == 0, "its dice are as they were"


def test_decoding_makes_idle_models_leave_first(models: Models, tmp_path: Path) -> None:
    engine = Diffusion(models)
    run = begin(engine, tmp_path / "a", 1)
    step(engine, [run])
    idle = Piece("unet", "idle", 10, lambda: SimpleNamespace())
    models.take(Blueprint("idle", "idle", (idle,))).close()

    def full(module: Any, args: Any) -> None:
        if models.warm("idle"):
            raise torch.OutOfMemoryError("CUDA out of memory")

    hook = run.lease.parts.vae.decoder.register_forward_pre_hook(full)
    assert len(pixels(engine, run)) == 1
    hook.remove()
    assert not models.warm("idle")
