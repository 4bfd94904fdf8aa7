"""A training in flight, and how one begins: from nothing or from its newest checkpoint."""

from __future__ import annotations

import hashlib
import importlib.util
import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from PIL import Image
from torch import nn

from engines.engine import Run, Work
from engines.models.memory import Blueprint, Lease, Parts
from engines.training import bases, checkpoints, classes, copies
from engines.training.accelerated import Accelerated
from engines.training.checkpoints import Checkpoint
from engines.training.concepts import Concept, Order
from engines.training.export import Origin
from engines.training.going_on import lineage
from engines.training.learner import Learner
from engines.training.record import Record
from engines.training.request import FULL, LORA, Train
from engines.training.samples import Item, Round
from engines.training.sights import Sights
from engines.training.timeline import Timeline
from engines.words import Refusal, Words

PRECISION = {"bfloat16": "bf16", "float16": "fp16"}


@dataclass(slots=True, kw_only=True)
class Training(Run):
    """One training in flight."""

    request: Train
    parts: Parts
    base: Origin
    leases: list[Lease]
    learner: Learner
    concepts: tuple[Concept, ...]
    order: Order
    sights: Sights
    record: Record
    timeline: Timeline
    wanted: Sequence[classes.Wanted]
    items: Sequence[Item]
    side: int
    batch: int  # samples at once; halved where the memory is short
    saved: int = 0  # steps in the newest checkpoint
    over: bool = False  # nothing more to be saved: it is done, or broken
    broke: bool = False  # a step failed
    halved: bool = False
    round: Round | None = None
    pictures: dict[int, list[Image.Image]] = field(default_factory=dict)  # after how many steps → samples
    news: bool = False  # whether a preview would show something new
    seconds: float = 0.0  # spent on ticks, in all lives

    @property
    def learnt(self) -> int:
        """Optimizer steps done."""
        return self.timeline.learnt(self.done)

    @property
    def whole_batch(self) -> int:
        """Samples of one optimizer step, whatever batches they go in."""
        return self.request.batch * self.request.accumulation


def fingerprint(work: Work) -> str:
    """What makes a training this one and no other."""
    told = json.dumps([work.id, work.request.to_json()], sort_keys=True)
    return hashlib.sha256(told.encode()).hexdigest()


# ------------------------------------------------------------------ what is trained


def learner(request: Train, parts: Parts, private: Blueprint | None) -> Learner:
    """The learner, with modules of its own. `private`: the base in float32, where weights of its own are needed."""
    precision = chosen_precision(request, parts)
    unet = _trained(request, parts.unet, private, "unet", copies.UNET_TARGETS)
    words = _trained(request, parts.text_encoder, private, "text_encoder", copies.TEXT_TARGETS)
    encoder = words if request.learns_words else None
    if request.gradient_checkpointing:
        _save_memory(unet, encoder)
    accelerated = Accelerated(parts.device, precision)
    return Learner(request, parts, unet, encoder, accelerated, copies.rates(request, unet))


def _trained(
    request: Train, shared: nn.Module, private: Blueprint | None, role: str, targets: tuple[str, ...]
) -> nn.Module:
    if role == "text_encoder" and not request.learns_words:
        return shared
    own: nn.Module | None = None
    if private is not None:
        own = next(piece for piece in private.pieces if piece.role == role).load()
    if request.method == LORA:
        return copies.with_adapters(own or shared, request.rank, targets, request.seed, "adapters", role)
    assert own is not None
    return own.requires_grad_(True)


def _save_memory(unet: Any, encoder: Any) -> None:
    unet.enable_gradient_checkpointing()
    if encoder is not None:
        encoder.activation_checkpointing_enable()


def needs_private(request: Train, parts: Parts) -> bool:
    """Whether a copy of the base's weights is needed, not just adapters."""
    return request.method == FULL or (chosen_precision(request, parts) == "no" and parts.dtype != "float32")


def chosen_precision(request: Train, parts: Parts) -> str:
    """ "no", "fp16" or "bf16". Raises `Refusal` where the device cannot."""
    kind = torch.device(parts.device).type
    if request.precision == "auto":
        return PRECISION.get(parts.dtype, "no") if kind == "cuda" else "no"
    if request.precision == "fp16" and kind != "cuda":
        raise Refusal(_NO_FP16(device=parts.device))
    return request.precision


def check(request: Train, parts: Parts) -> None:
    """`Refusal` where this base, or this machine, cannot do what is asked."""
    if wrong := bases.misfit(request.mode, parts.name, parts.in_channels, lora=bool(parts.adapter)):
        raise Refusal(wrong)
    if parts.prediction_type not in ("epsilon", "v_prediction", "sample"):
        raise Refusal(_PREDICTION(name=parts.name, kind=parts.prediction_type))
    gpu = torch.device(parts.device).type == "cuda"
    if request.adam8bit and not (gpu and importlib.util.find_spec("bitsandbytes")):
        raise Refusal(_NO_8BIT)
    chosen_precision(request, parts)


def side(request: Train, parts: Parts) -> int:
    """The crop's side in pixels: whole cells at the UNet's coarsest level."""
    whole: int = parts.scale * 2 ** (len(parts.unet.config.block_out_channels) - 1)
    return max(whole, round((request.resolution or parts.native) / whole) * whole)


def memory(request: Train, parts: Parts) -> tuple[int, int]:
    """Bytes that the training holds beside the base: weights of its own, gradients, what a batch takes; and Adam's two.

    The last is a rule of thumb, from SD 1 at 512 × 512: some 5 GB a row in half precision.
    """
    modules = [parts.unet, *([parts.text_encoder] if request.learns_words else [])]
    whole = sum(map(copies.size, modules))
    trained = whole if request.method == FULL else sum(copies.adapter_size(m, request.rank) for m in modules)
    own = whole if needs_private(request, parts) else trained
    half = chosen_precision(request, parts) != "no"
    kept = _kept_numbers(request, parts) * request.rows * (1000 if half else 2000)
    kept = kept // 5 if request.gradient_checkpointing else kept
    return int(4 * own + 4 * trained + kept), int(8 * trained)


def _kept_numbers(request: Train, parts: Parts) -> int:
    """What one row's memory grows with: cells times channels times layers, over the UNet's levels."""
    cells = (side(request, parts) // parts.scale) ** 2
    layers = parts.unet.config.layers_per_block
    deep = int(layers if isinstance(layers, int) else max(layers))
    widths: list[int] = list(parts.unet.config.block_out_channels)
    return deep * sum((cells >> 2 * level) * width for level, width in enumerate(widths))


# ------------------------------------------------------------------ going on


def state(run: Training) -> dict[str, Any]:
    """What a checkpoint says beside its tensors."""
    scaler = run.learner.accelerated.scaler
    return {
        "training": lineage(run.request),
        "schedule": {k: v for k, v in run.learner.schedule.state_dict().items() if k != "lr_lambdas"},
        "scaler": None if scaler is None else scaler.state_dict(),
        "batch": run.batch,
        "halved": run.halved,
        "seconds": run.seconds,
    }


def checkpoint(run: Training, step: int) -> Checkpoint:
    made = run.learner
    return Checkpoint(step, state(run), made.trained, checkpoints.optimizer_tensors(made.optimizer))


def restore(made: Learner, kept: Checkpoint) -> None:
    """Everything that a step changes, as it was."""
    with torch.no_grad():
        for name, parameter in made.trained.items():
            parameter.copy_(kept.weights[name])
    checkpoints.restore_optimizer(made.optimizer, kept.optimizer)
    base = list(made.schedule.base_lrs)  # as asked now: a training that broke goes on with a lower one
    made.schedule.load_state_dict(
        {**kept.state["schedule"], "base_lrs": base, "lr_lambdas": [None] * len(base)}
    )
    at = made.schedule.last_epoch
    rates = [rate * share(at) for rate, share in zip(base, made.schedule.lr_lambdas, strict=True)]
    made.schedule._last_lr = rates
    for group, rate in zip(made.optimizer.param_groups, rates, strict=True):
        group["lr"] = rate
    if made.accelerated.scaler is not None and kept.state["scaler"] is not None:
        made.accelerated.scaler.load_state_dict(kept.state["scaler"])


_NO_FP16 = Words(
    "precision:fp16 needs a GPU; this device is {device}. Use auto, no or bf16.",
    "precision:fp16에는 GPU가 필요한데 이 장치는 {device}입니다. auto, no, bf16 중에서 골라 주십시오.",
)
_PREDICTION = Words(
    "The model `{name}` predicts “{kind}”, which cannot be trained here.",
    "`{name}` 모델은 “{kind}” 예측 방식이라 여기서 학습할 수 없습니다.",
)
_NO_8BIT = Words(
    "8-bit Adam needs an NVIDIA GPU and the bitsandbytes package, which are not here. Leave adam8bit off.",
    "8비트 Adam에는 NVIDIA GPU와 bitsandbytes 패키지가 필요한데 여기에는 없습니다. adam8bit를 꺼 주십시오.",
)
