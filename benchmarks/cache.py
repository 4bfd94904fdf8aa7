"""Models in memory: how long a job waits for its model, and what a budget for two does with three.

Times until the first tick are of the engine itself, with the model on disk, in main memory, and on the device. A
device whose memory is the host's keeps no second copy there; for the measuring it is given one all the same.
"""

from __future__ import annotations

import argparse
import importlib.util
import random
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from rich.console import Console
from rich.table import Table

from benchmarks.machine import described, keep
from engines.devices import Device, emptied, probe, ready
from engines.diffusion.engine import Diffusion
from engines.engine import Work
from engines.models import architectures, moving
from engines.models.host import HostCache
from engines.models.loading import import_libraries, reader
from engines.models.memory import Models
from engines.models.single_file import clip_words
from engines.requests import Txt2Img

NAMES = ("one", "two", "three")
ROUNDS = 3  # times each figure is taken; the median is told
JOBS = 24  # of three models by chance
EVENTS = 10_000


class Bench:
    """Three models of one shape on disk, two with a LoRA, and an engine with a budget for two."""

    def __init__(self, folder: Path, device: Device, *, narrow: bool) -> None:
        self.folder, self.device = folder, device
        for seed, name in enumerate(NAMES):
            save(folder / "models" / name, seed, narrow=narrow)
        self.read = reader(folder / "models", device.name, device.dtype)
        self.size = sum(piece.size for piece in self.read("one", "txt2img").pieces)
        self.jobs = 0

    def engine(self, host: int) -> tuple[Diffusion, Models]:
        cache = HostCache(host, moving.to_device, moving.to_host) if host else None
        models = Models(
            self.read,
            budget=int(2.05 * self.size),
            device=self.device.name,
            dtype=self.device.dtype,
            emptied=lambda: emptied(self.device),
            host=cache,
        )
        return Diffusion(models), models

    def first_tick(self, engine: Diffusion, model: str, steps: int = 1) -> float:
        """Seconds from a request to the end of its first step."""
        self.jobs += 1
        asked = Txt2Img(
            prompt=f"a nut {self.jobs}", model=model, steps=max(steps, 2), seed=1, sampler="Euler"
        )
        work = Work(self.jobs, "anna", asked, self.folder)
        engine.prepare(work)  # hashing is done once a file, on another thread
        began = time.perf_counter()
        run = engine.begin(work)
        engine.advance([run])
        if self.device.kind == "cuda":
            torch.cuda.synchronize()
        took = time.perf_counter() - began
        engine.suspend(run)
        return took


def save(folder: Path, seed: int, *, narrow: bool, base: str = "sd1", channels: int = 4) -> None:
    """A Stable Diffusion of the real shape, or a narrow one, with random weights of its own."""
    import diffusers
    import transformers

    parts = architectures.configs(base, channels)
    if narrow:
        parts["unet"] = {**parts["unet"], "block_out_channels": [32, 64, 64, 64], "sample_size": 16}
        parts["unet"]["attention_head_dim"] = 8 if base == "sd1" else [2, 4, 4, 4]
        parts["vae"] = {**parts["vae"], "block_out_channels": [32, 32, 64, 64], "sample_size": 128}
        parts["text_encoder"] = {**parts["text_encoder"], "num_hidden_layers": 2}
    torch.manual_seed(seed)
    architectures.write(folder, {}, channels)
    spec = importlib.util.find_spec("open_clip")
    assert spec is not None
    assert spec.origin is not None
    vocab, merges = clip_words(Path(spec.origin).with_name("bpe_simple_vocab_16e6.txt.gz"))
    pad = "<|endoftext|>" if base == "sd1" else "!"
    words = transformers.CLIPTokenizer(vocab=vocab, merges=merges, pad_token=pad, model_max_length=77)
    words.save_pretrained(folder / "tokenizer")
    modules = {
        "unet": diffusers.UNet2DConditionModel.from_config(parts["unet"]),
        "vae": diffusers.AutoencoderKL.from_config(parts["vae"]),
        "text_encoder": transformers.CLIPTextModel(transformers.CLIPTextConfig(**parts["text_encoder"])),
    }
    for role, module in modules.items():
        module.save_pretrained(folder / role)
    diffusers.PNDMScheduler.from_config(parts["scheduler"]).save_pretrained(folder / "scheduler")


def save_lora(folder: Path, engine: Diffusion, seed: int) -> None:
    """A LoRA of rank 8 on the attention of model "one", in diffusers' layout."""
    from safetensors.torch import save_file

    own = torch.Generator().manual_seed(seed)
    tensors: dict[str, torch.Tensor] = {}
    with engine.lease("one", "txt2img") as lease:
        for path, layer in lease.parts.unet.named_modules():
            if path.endswith(("to_q", "to_k", "to_v", "to_out.0")):
                wide, deep = layer.weight.shape
                tensors[f"unet.{path}.lora_A.weight"] = torch.randn(8, deep, generator=own) * 0.01
                tensors[f"unet.{path}.lora_B.weight"] = torch.randn(wide, 8, generator=own) * 0.01
    save_file(tensors, folder / "pytorch_lora_weights.safetensors")


def starts(bench: Bench) -> dict[str, Any]:
    """Time to the first tick, by where the model is."""
    engine, models = bench.engine(4 * bench.size)
    bench.first_tick(engine, "one")  # the libraries' own first time

    def cold() -> float:
        models.clear()
        models._host.clear()
        return bench.first_tick(engine, "one")

    def in_host() -> float:
        models.clear()
        return bench.first_tick(engine, "one")

    def on_device() -> float:
        return bench.first_tick(engine, "one")

    seconds = {name: median(what) for name, what in (("c", cold), ("h", in_host), ("d", on_device))}
    return {
        "cold ms": round(1000 * seconds["c"], 1),
        "host-warm ms": round(1000 * seconds["h"], 1),
        "device-warm ms": round(1000 * seconds["d"], 1),
        "cold / host-warm": round(seconds["c"] / seconds["h"], 2),
        "cold / device-warm": round(seconds["c"] / seconds["d"], 2),
    }


def median(what: Callable[[], float]) -> float:
    return statistics.median(what() for _ in range(ROUNDS))


def three_in_two(bench: Bench) -> dict[str, Any]:
    """Jobs of three models by chance, in a budget for two: with a host cache, without, and reloading for each job."""
    order = random.Random(0).choices(NAMES, k=JOBS)
    took: dict[str, float] = {}
    switches = 0
    for name, host in (("host cache", 4 * bench.size), ("no host cache", 0), ("reload", 0)):
        engine, models = bench.engine(host)
        for model in NAMES:
            bench.first_tick(engine, model)
        cold = 0
        began = time.perf_counter()
        for model in order:
            if name == "reload":
                models.clear()
            cold += not models.ready(model, "txt2img")
            bench.first_tick(engine, model)
        took[name] = time.perf_counter() - began
        switches = cold if name == "host cache" else switches
    return {
        "3 models in 2: jobs": JOBS,
        "3 models in 2: switches": switches,
        "3 models in 2: on the device": round(1 - switches / JOBS, 2),
        **{f"3 models in 2: {name} s": round(seconds, 2) for name, seconds in took.items()},
        "3 models in 2: times faster than reload": round(took["reload"] / took["host cache"], 2),
    }


def lora_switch(bench: Bench) -> dict[str, Any]:
    """Putting another LoRA on a model that is on the device, the other one evicted."""
    from engines.models.lora_plan import lora_blueprint

    engine, models = bench.engine(0)
    plans = []
    for seed in range(2):
        folder = bench.folder / f"lora{seed}"
        folder.mkdir()
        save_lora(folder, engine, seed)
        base = bench.read("one", "txt2img")
        plans.append(lora_blueprint(f"lora{seed}", folder, base, bench.device.dtype))
    took = []
    for at in range(2 * ROUNDS):
        plan = plans[at % 2]
        models.forget(plan.pieces[-1].hash)
        began = time.perf_counter()
        models.take(plan).close()
        took.append(1000 * (time.perf_counter() - began))
    return {"LoRA switch ms": round(statistics.median(took[1:]), 1)}


def random_events(count: int) -> int:
    """Random leases, closings, prefetches and evictions on plain sizes; how many left a budget exceeded."""
    from engines.engine import Busy
    from engines.models.memory import Blueprint, Lease, Piece

    dice = random.Random(0)
    sizes = {f"{model}{piece}": dice.randint(1, 40) for model in range(8) for piece in range(3)}

    def piece(hash: str) -> Piece:
        return Piece(hash, hash, sizes[hash], object, read=object)

    plans = [
        Blueprint(str(m), str(m), (piece("00"), *(piece(f"{m}{p}") for p in range(1, 3)))) for m in range(8)
    ]
    host = HostCache(150, lambda thing, device: object(), lambda thing: object())
    models = Models(lambda name, kind: plans[int(name)], budget=200, host=host)
    leases: list[Lease] = []
    over = 0
    for _ in range(count):
        event, name = dice.random(), str(dice.randrange(8))
        try:
            if event < 0.4:
                leases.append(models.lease(name, "txt2img"))
            elif event < 0.8 and leases:
                leases.pop(dice.randrange(len(leases))).close()
            elif event < 0.95:
                models.prepare(name, "txt2img")
                models.prefetch(name, "txt2img", lambda: dice.random() < 0.8)
            else:
                dice.choice((models.clear, host.clear, lambda: models.forget("00")))()
        except Busy:
            pass
        over += models.used > 200 or host.used > 150
    return over


def measured(folder: Path, device: Device, *, narrow: bool) -> dict[str, Any]:
    bench = Bench(folder, device, narrow=narrow)
    return {
        "bytes of a model": bench.size,
        **starts(bench),
        **three_in_two(bench),
        **lora_switch(bench),
        "random events": EVENTS,
        "over budget events": random_events(EVENTS),
    }


def main(argv: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--device", default="auto")
    parser.add_argument("--dtype", default="auto")
    parser.add_argument("--threads", type=int, default=0)
    said = parser.parse_args(argv)
    device = ready(probe((said.device,), dtype=said.dtype, threads=said.threads)[0])
    import_libraries()
    machine = described(device.name)
    with tempfile.TemporaryDirectory() as folder:
        figures = measured(Path(folder), device, narrow=device.kind != "cuda")
    figures = {"machine": machine, **figures}
    table = Table(title="Models in memory: three of one shape, a budget for two")
    table.add_column("")
    table.add_column("", justify="right")
    for name, figure in figures.items():
        if name != "machine":
            table.add_row(name, str(figure))
    Console().print(table)
    Console().print(f"kept in {keep('cache', figures).relative_to(Path.cwd())}")


if __name__ == "__main__":
    main()
