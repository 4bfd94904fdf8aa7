"""What a training changes is its own: adapters on a twin that shares the base's weights, or a whole private copy."""

from __future__ import annotations

import copy
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import torch
from torch import nn

from engines.training import chance
from engines.training.request import LORA, Train

UNET_TARGETS = ("to_q", "to_k", "to_v", "to_out.0")
TEXT_TARGETS = ("q_proj", "k_proj", "v_proj", "out_proj")
LARGE = 860e6  # parameters of SD 1's UNet, for which the usual learning rates are meant
RATES = {"full": (5e-6, 3e-4), "lora": (2e-4, 2e-3)}  # method → for SD 1, and at most
TEXT_SHARE = 0.2  # of the learning rate, for the text encoder's adapters


def twin(module: nn.Module) -> nn.Module:
    """A module of its own that shares the weights of `module`, without any adapters that are on it.

    Adapters put on the twin leave the original as it is, so others may go on using it, and theirs (forward hooks, see
    `engines.diffusion.adapters`, or PEFT's layers) do nothing to the twin.
    """
    shared = {id(t): t for t in (*module.parameters(), *module.buffers())}
    made: nn.Module = copy.deepcopy(module, memo=dict(shared))
    _strip(made)
    for part in made.modules():
        part._forward_hooks.clear()
    return made


def _strip(module: nn.Module) -> None:
    """Take adapters off, in place: their layers stand in for the layers they wrap."""
    from peft.tuners.tuners_utils import BaseTunerLayer

    for name, child in list(module.named_children()):
        if isinstance(child, BaseTunerLayer):
            setattr(module, name, child.get_base_layer())
        else:
            _strip(child)
    for name in ("peft_config", "_hf_peft_config_loaded"):
        if name in vars(module):
            delattr(module, name)


def with_adapters(
    module: nn.Module, rank: int, targets: tuple[str, ...], seed: int, *what: chance.Name
) -> nn.Module:
    """A twin of `module` with fresh LoRA adapters (float32) that alone want gradients."""
    from diffusers.training_utils import cast_training_params
    from peft import LoraConfig

    made = twin(module)
    made.requires_grad_(False)
    config = LoraConfig(
        r=rank, lora_alpha=rank, init_lora_weights="gaussian", target_modules=list(targets), lora_dropout=0.0
    )
    with _drawing(next(module.parameters()).device, seed, *what):
        made.add_adapter(config)  # type: ignore[operator]
    cast_training_params([made], dtype=torch.float32)
    return made


@contextmanager
def _drawing(device: torch.device, seed: int, *what: chance.Name) -> Iterator[None]:
    """Inside, torch's own randomness is what the seed says; outside, it is as if nothing had been drawn."""
    own = [device] if device.type == "cuda" else []
    with torch.random.fork_rng(devices=own):
        torch.manual_seed(chance.number(seed, *what))
        yield


def trainable(module: nn.Module) -> dict[str, nn.Parameter]:
    """The parameters that want gradients, by name."""
    return {name: p for name, p in module.named_parameters() if p.requires_grad}


def learning_rate(method: str, parameters: int) -> float:
    """The usual rate for a base of SD 1's size; more for smaller ones, by the sizes' ratio.

    A network of few wide layers moves less by equal steps: with the rates of SD 1 an embedded model of some million
    parameters learns nothing in a few hundred steps, and at ten times that (full, 5e-5) hardly more.
    """
    usual, most = RATES[method]
    return min(usual * max(1.0, LARGE / max(parameters, 1)), most)


@dataclass(frozen=True, slots=True)
class Rates:
    """The learning rates of a training."""

    unet: float
    text: float


def rates(request: Train, unet: nn.Module) -> Rates:
    """The learning rates asked for, or those that suit the base's size."""
    own = request.learning_rate or learning_rate(request.method, size(unet))
    return Rates(own, own * TEXT_SHARE if request.method == LORA else own)


def adapter_size(module: nn.Module, rank: int) -> int:
    """Parameters of LoRA adapters on `module`, before there are any."""
    targets = tuple(f".{name}" for name in (*UNET_TARGETS, *TEXT_TARGETS))
    return sum(
        rank * (layer.in_features + layer.out_features)
        for name, layer in module.named_modules()
        if isinstance(layer, nn.Linear) and name.endswith(targets)
    )


def size(module: nn.Module) -> int:
    """Parameters."""
    return sum(p.numel() for p in module.parameters())
