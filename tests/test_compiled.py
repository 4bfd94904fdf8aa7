"""Compiled UNets: the same numbers as plain ones, whatever the batch, the LoRA and the moment."""

from __future__ import annotations

import gc
import logging
import weakref
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from engines import embedded
from engines.diffusion import adapters
from engines.diffusion.compiled import BUCKETS, Inputs, Unets, bucket, inductor, wanted
from engines.diffusion.engine import Diffusion
from engines.engine import Work
from engines.models.loading import import_libraries, reader
from engines.models.memory import Models
from engines.requests import Txt2Img

needs_weights = pytest.mark.skipif(
    not (embedded.TXT2IMG / "model_index.json").is_file(), reason="the embedded models are not trained yet"
)


@pytest.fixture(scope="module")
def models(one_thread_throughout: None) -> Models:
    import_libraries()
    return Models(reader(None, "cpu", "float32"))


@pytest.fixture(scope="module")
def unet(models: Models) -> Any:
    with models.lease("", "txt2img") as lease:
        return lease.parts.unet


class Backend:
    """torch.compile with a backend that is quick; counts the graphs it is given and the rows it is called with."""

    def __init__(self) -> None:
        self.graphs = 0
        self.rows: list[int] = []

    def __call__(self, unet: torch.nn.Module) -> Callable[..., Any]:
        def backend(graph: torch.fx.GraphModule, given: list[torch.Tensor]) -> Callable[..., Any]:
            self.graphs += 1
            made: Callable[..., Any] = graph.forward
            return made

        call = torch.compile(
            unet, dynamic=False, backend=backend, recompile_limit=64, isolate_recompiles=True
        )

        def counted(*args: Any, **said: Any) -> Any:
            self.rows.append(len(args[0]))
            return call(*args, **said)

        return counted


def inputs(unet: Any, count: int) -> Inputs:
    own = torch.Generator().manual_seed(count)
    width = unet.config.cross_attention_dim
    rows = torch.randn(count, 4, 8, 8, generator=own)
    return Inputs(rows, torch.linspace(5, 990, count), torch.randn(count, 77, width, generator=own))


def differ(one: torch.Tensor, other: torch.Tensor) -> float:
    assert one.shape == other.shape
    return float((one - other).abs().max() / other.abs().max())


def test_a_batch_goes_to_the_next_size() -> None:
    assert [bucket(n) for n in (1, 2, 3, 5, 9, 13, 64, 65)] == [1, 2, 4, 8, 12, 16, 64, None]
    assert list(BUCKETS) == sorted(BUCKETS)


def test_auto_is_for_cuda_alone() -> None:
    said = {(s, d): wanted(s, d) for s in ("auto", "yes", "no") for d in ("cpu", "cuda:0")}
    assert {key for key, yes in said.items() if yes} == {
        ("auto", "cuda:0"),
        ("yes", "cpu"),
        ("yes", "cuda:0"),
    }


@needs_weights
@torch.inference_mode()
def test_compiled_equals_plain_in_every_size_and_ticks_compile_nothing(unet: Any) -> None:
    backend = Backend()
    unets, plain = Unets(backend), Unets()
    for count in (1, 3):
        given = inputs(unet, count)
        expected = plain.call(unet, given)
        assert torch.equal(unets.call(unet, given), expected), "the plain one serves meanwhile"
        assert unets.settled(120)
        graphs = backend.graphs
        assert graphs > 0
        answered = unets.compiled
        assert differ(unets.call(unet, given), expected) <= 1e-5
        assert unets.compiled == answered + 1
        assert backend.rows[-1] == bucket(count)
        assert backend.graphs == graphs, "a tick compiled"


@needs_weights
@torch.inference_mode()
def test_rows_with_a_lora_go_through_the_plain_module_and_bare_ones_do_not_see_it(unet: Any) -> None:
    unets = Unets(Backend())
    given = inputs(unet, 2)
    bare = Unets().call(unet, given)
    its = adapters.board(unet)
    path = next(path for path in its.paths if path.endswith("attn2.to_q"))
    width = its.paths[path].weight.shape  # type: ignore[union-attr]
    low = adapters.Low(torch.ones(1, width[1]), torch.ones(width[0], 1), 2.0)  # type: ignore[index,misc]
    its.put("lora", {path: low})  # before anything is compiled: it must not be baked in
    try:
        unets.call(unet, given)
        assert unets.settled(120)
        for _ in range(2):
            assert differ(unets.call(unet, given), bare) <= 1e-5
            with adapters.rows(unet, ["", "lora"]):
                mixed = unets.call(unet, given, adapted=True)
            assert differ(mixed[:1], bare[:1]) <= 1e-5
            assert differ(mixed[1:], bare[1:]) > 1e-4
        assert unets.compiled == 2
    finally:
        its.take("lora")


@needs_weights
@torch.inference_mode()
def test_what_does_not_compile_is_told_once_and_served_plainly(
    unet: Any, caplog: pytest.LogCaptureFixture
) -> None:
    def broken(unet: torch.nn.Module) -> Callable[..., Any]:
        def call(*_: Any, **__: Any) -> Any:
            raise RuntimeError("no compiler here")

        return call

    unets, given = Unets(broken), inputs(unet, 1)
    expected = Unets().call(unet, given)
    with caplog.at_level(logging.WARNING):
        for _ in range(3):
            assert torch.equal(unets.call(unet, given), expected)
            assert unets.settled(60)
    assert len([r for r in caplog.records if "plain ones serve" in r.message]) == 1


@needs_weights
@torch.inference_mode()
def test_memory_short_while_warming_is_tried_again_later(unet: Any) -> None:
    short = [True]

    def compile(module: torch.nn.Module) -> Callable[..., Any]:
        def call(*args: Any, **said: Any) -> Any:
            if short[0]:
                raise torch.OutOfMemoryError("somebody has it all")
            return module(*args, **said)

        return call

    unets, given = Unets(compile), inputs(unet, 2)
    unets.call(unet, given)
    assert unets.settled(20)
    short[0] = False
    unets.call(unet, given)
    assert unets.settled(20)
    unets.call(unet, given)
    assert (unets.plain, unets.compiled) == (2, 1)


def test_a_twin_lives_no_longer_than_its_unet() -> None:
    unet = torch.nn.Linear(2, 2)
    unets = Unets(lambda module: module)
    twin = unets._twin(unet)
    assert twin is not None
    assert twin.call.weight.data_ptr() == unet.weight.data_ptr(), "no second copy of the weights"  # type: ignore[attr-defined]
    gone = weakref.ref(twin)
    del unet, twin
    gc.collect()
    assert gone() is None


def drawn(engine: Diffusion, folder: Path) -> torch.Tensor:
    folder.mkdir()
    run = engine.begin(Work(1, "anna", Txt2Img(prompt="a nut", seed=3, steps=3, sampler="DDIM"), folder))
    while not run.finished:
        engine.advance([run])
        assert engine._unets.settled(170)
    assert run.state is not None
    latents = run.state.latents
    engine.suspend(run)
    return latents


@needs_weights
def test_pictures_are_the_same(models: Models, tmp_path: Path) -> None:
    fast = Diffusion(models, unets=Unets(Backend()))
    plain = drawn(Diffusion(models), tmp_path / "plain")
    assert differ(drawn(fast, tmp_path / "fast"), plain) <= 1e-5
    assert (fast._unets.plain, fast._unets.compiled) == (1, 2)


@pytest.mark.slow
@pytest.mark.timeout(900)
@pytest.mark.filterwarnings("ignore")  # of the compiler's own libraries
@needs_weights
@torch.inference_mode()
def test_the_real_compiler_gives_the_same_numbers(unet: Any) -> None:
    unets, given = Unets(inductor), inputs(unet, 3)
    expected = unets.call(unet, given)
    assert unets.settled(800)
    assert differ(unets.call(unet, given), expected) <= 1e-5
    assert unets.compiled == 1
