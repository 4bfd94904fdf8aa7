"""The engines of a studio, registered by hand: which request goes to which engine, on which devices."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from engines import devices
from engines.devices import Device
from engines.engine import Engine
from engines.models.host import HostCache
from engines.models.memory import Models
from engines.request import Request
from engines.requests import Cleanup, Img2Img, Inpaint, Interrogate, RemoveBackground, Review, Train, Txt2Img
from engines.serving.lane import Pace
from engines.serving.makers import Factory
from engines.serving.pool import Pool
from engines.serving.serves import Serves
from engines.words import Refusal

if TYPE_CHECKING:
    from engines.serving.ray_cluster import Seat

CPU_TICK, GPU_TICK = 0.4, 0.2  # seconds that a shared step may take


@dataclass(frozen=True, slots=True)
class EngineSettings:
    """What the configuration says about engines. Importing this module, and making one of these, loads no torch."""

    models: Path  # the models folder
    model_paths: tuple[Path, ...] = ()  # further model folders or .safetensors files
    defaults: Mapping[str, str] = field(default_factory=dict)  # kind → model name; empty: the embedded ones
    devices: tuple[str, ...] = ("auto",)
    dtype: str = "auto"
    threads: int = 0  # CPU threads; 0 = all
    memory: int | None = None  # bytes for models on each device; None = a part of what there is
    host_cache: int = 8 * 10**9  # bytes of main memory at most for models beside those on GPUs; 0 = none
    compile: str = "auto"  # "yes", "no"; auto: on CUDA alone
    rows: int = 0  # rows of one step at most; 0 = by device
    slots: int = 8  # jobs in flight on each device
    tiny_decoder: str = ""  # for previews: a folder or a hub name; empty: taesd/ in `models`, where it is
    preview_every: int = 5  # steps; 0 = no previews
    background_share: float = 0.1  # the least part of a device for training while people wait
    tick_seconds: float = 0.0  # that a shared step may take; 0 = by device
    backend: str = "local"  # or "ray": each device in a process that Ray started, on any machine of a cluster
    address: str = ""  # of the Ray cluster; "" = one on this machine
    actors: int = 1  # Ray's, where there is no GPU


def open_pool(settings: EngineSettings) -> Serves:
    """The pool of a studio, not started yet.

    Raises:
        Refusal: a device that is not there, or Ray is asked for and not installed.
    """
    return open_cluster(settings) if settings.backend == "ray" else open_devices(settings)


def open_cluster(settings: EngineSettings) -> Serves:
    """The pool of a Ray cluster. Imports Ray, when it starts."""
    from engines.serving import ray_cluster

    if ray_cluster.installed() is None:
        raise Refusal(ray_cluster.NOT_INSTALLED)
    gpus = any(name.startswith(("auto", "cuda")) for name in settings.devices)
    cluster = ray_cluster.Cluster(settings.address, settings.actors, gpus, settings.threads)
    ray_cluster.prepare(cluster)

    from engines.serving.ray_pool import RayPool

    there = replace(
        settings,
        models=settings.models.resolve(),
        model_paths=tuple(path.resolve() for path in settings.model_paths),
    )
    return RayPool(partial(open_seat, there), cluster, slots=settings.slots)


def open_seat(settings: EngineSettings, seat: Seat) -> Pool:
    """The pool inside of a Ray actor: one device, the GPU that Ray gave it or the CPU."""
    if seat.gpus:
        return open_devices(replace(settings, devices=("cuda:0",)))
    (cpu,) = devices.probe(("cpu",))
    memory = settings.memory or (devices.model_budget(cpu) or 0) // settings.actors or None
    threads = max(1, int(seat.cpus))
    return open_devices(replace(settings, devices=("cpu",), threads=threads, memory=memory))


def open_devices(settings: EngineSettings) -> Pool:
    """The pool of this machine's own devices.

    Raises:
        Refusal: a device that is not there.
    """
    found = devices.probe(settings.devices, dtype=settings.dtype, threads=settings.threads)
    shared: dict[str, Models] = {}  # device → its models: all engines of a device share one budget
    host = _open_host(settings)
    gpu = any(d.kind == "cuda" for d in found)
    rows = settings.rows or (32 if gpu else 16)
    seconds = settings.tick_seconds or (GPU_TICK if gpu else CPU_TICK)
    return Pool(
        _engines(settings, shared, host),
        found,
        slots=settings.slots,
        pace=Pace(rows, settings.background_share, settings.preview_every, seconds),
        models=shared.get,
    )


def _open_host(settings: EngineSettings) -> HostCache:
    """The cache that all devices of the process share, within a quarter of main memory."""
    return HostCache(devices.host_budget(settings.host_cache), _to_device, _to_host)


def _to_device(thing: Any, device: str) -> Any:
    from engines.models.moving import to_device

    return to_device(thing, device)


def _to_host(thing: Any) -> Any:
    from engines.models.moving import to_host

    return to_host(thing)


def _engines(
    settings: EngineSettings, shared: dict[str, Models], host: HostCache
) -> dict[type[Request], Factory]:
    """Which request goes to which engine."""

    def models(device: Device) -> Models:
        """Called on the device's thread: torch is imported there, not on the event loop."""
        if device.name not in shared:
            shared[device.name] = open_models(settings, device, host)
        return shared[device.name]

    def diffusion(device: Device) -> Engine:
        return open_diffusion(settings, device, models(device))

    def interrogation(device: Device) -> Engine:
        return open_interrogation(settings, device, models(device))

    def cleanup(device: Device) -> Engine:
        return open_cleanup(settings, device, models(device))

    def removal(device: Device) -> Engine:
        return open_removal(settings, device, models(device))

    def audit(device: Device) -> Engine:
        return open_audit(models(device))

    def training(device: Device) -> Engine:
        return open_training(settings, device, models(device))

    return {
        Txt2Img: diffusion,
        Img2Img: diffusion,
        Inpaint: diffusion,
        RemoveBackground: removal,
        Cleanup: cleanup,
        Interrogate: interrogation,
        Review: audit,
        Train: training,
    }


def open_models(settings: EngineSettings, device: Device, host: HostCache | None = None) -> Models:
    """The models on `device` within its budget, none loaded yet. Imports torch.

    `host` is for GPUs alone: on the CPU, and on Apple's GPU, the device's memory is the host's.
    """
    device = devices.ready(device)

    from engines.models.loading import import_libraries, reader

    import_libraries()
    read = reader(
        settings.models, device.name, device.dtype, defaults=settings.defaults, paths=settings.model_paths
    )
    return Models(
        read,
        budget=settings.memory or devices.model_budget(device),
        device=device.name,
        dtype=device.dtype,
        emptied=lambda: devices.emptied(device),
        host=host if device.kind == "cuda" else None,
    )


def open_diffusion(settings: EngineSettings, device: Device, models: Models | None = None) -> Engine:
    """The diffusion engine on `device`, with models of its own where none are given. Imports torch."""
    models = models or open_models(settings, device)

    from engines.diffusion import compiled
    from engines.diffusion.engine import Diffusion
    from engines.diffusion.previews import Previews
    from engines.models.tiny import Decoder

    fast = compiled.inductor if compiled.wanted(settings.compile, models.device) else None
    decoder = Decoder(settings.tiny_decoder, settings.models, models.device, models.dtype)
    return Diffusion(models, unets=compiled.Unets(fast), previews=Previews(models, decoder))


def open_training(settings: EngineSettings, device: Device, models: Models | None = None) -> Engine:
    """The training engine on `device`; what it makes goes into the models folder. Imports torch."""
    models = models or open_models(settings, device)

    from engines.models.loading import reader
    from engines.training.engine import DreamBooth

    whole = reader(
        settings.models, models.device, "float32", defaults=settings.defaults, paths=settings.model_paths
    )
    return DreamBooth(models, whole, settings.models, settings.model_paths)


def open_audit(models: Models) -> Engine:
    """What looks at the data of a training before it starts. Imports torch."""
    from engines.training.audit import Audit

    return Audit(models)


def open_removal(settings: EngineSettings, device: Device, models: Models | None = None) -> Engine:
    """The background remover on `device`. Its libraries are imported when first asked for."""
    models = models or open_models(settings, device)

    from engines.background.engine import RemoveBackgrounds
    from engines.background.networks import finder

    usual = settings.defaults.get("removebg", "")
    threads = settings.threads or device.threads
    find = finder(settings.models, models.device, threads=threads, default=usual, paths=settings.model_paths)
    return RemoveBackgrounds(models, find)


def open_interrogation(settings: EngineSettings, device: Device, models: Models | None = None) -> Engine:
    """The engine of /interrogate on `device`; the vectors of its phrases lie in the models folder. Imports torch."""
    models = models or open_models(settings, device)

    from engines.interrogation.engine import Interrogation
    from engines.interrogation.models import finders

    find = finders(settings.models, device.name, settings.defaults, settings.model_paths)
    return Interrogation(models, find, settings.models / ".phrases", device.name)


def open_cleanup(settings: EngineSettings, device: Device, models: Models | None = None) -> Engine:
    """The engine of cleanup on `device`. IOPaint is imported when it is first needed."""
    models = models or open_models(settings, device)

    from engines.cleaning.engine import Cleaner
    from engines.cleaning.menders import reader

    return Cleaner(models, reader(settings.models, models.device, settings.defaults.get("cleanup", "")))
