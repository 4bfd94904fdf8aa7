"""Copying a module's weights between main memory and a device, the module it comes from left as it is.

What is no module but holds one (a CLIP with its tokenizer) says how it is moved.
"""

from __future__ import annotations

import copy
from collections.abc import Callable
from functools import partial
from typing import Any, Protocol, runtime_checkable

import torch


@runtime_checkable
class Moves(Protocol):
    """What holds a module."""

    def moved(self, copy: Callable[[Any], Any], device: str) -> Any:
        """The same around a `copy` of its module, which is on `device` then."""
        ...


def to_device(thing: Any, device: str) -> Any:
    """A copy of a module, or of what holds one, on `device`; its strides stay.

    From pinned memory this is one transfer at full speed.
    """
    if isinstance(thing, Moves):
        return thing.moved(partial(to_device, device=device), device)
    return _copied(thing, lambda tensor: tensor.to(device, non_blocking=True))


def to_host(thing: Any) -> Any:
    """The same in main memory, pinned where there is CUDA (a pinned page cannot be swapped out)."""
    if isinstance(thing, Moves):
        return thing.moved(to_host, "cpu")
    pin = torch.cuda.is_available()

    def move(tensor: torch.Tensor) -> torch.Tensor:
        here = tensor.cpu()
        if pin:
            return here.pin_memory()
        return here.clone() if here is tensor else here

    return _copied(thing, move)


def sharing(module: Any) -> Any:
    """Another module on the very same weights: without the hooks that others put on the first."""
    return _copied(module, lambda tensor: tensor, hooks=False)


def _copied(
    module: torch.nn.Module, move: Callable[[torch.Tensor], torch.Tensor], *, hooks: bool = True
) -> Any:
    """The module's structure with each tensor moved; weights that are tied stay tied.

    Outside inference mode: weights made in it could not serve trainings.
    """
    with torch.inference_mode(False):
        memo: dict[int, Any] = {}
        for tensor in (*module.parameters(), *module.buffers()):
            moved = move(tensor.detach())
            wrap = isinstance(tensor, torch.nn.Parameter)
            memo[id(tensor)] = torch.nn.Parameter(moved, requires_grad=False) if wrap else moved
        if not hooks:
            for part in module.modules():
                memo[id(part._forward_hooks)] = type(part._forward_hooks)()
                memo[id(part._forward_pre_hooks)] = type(part._forward_pre_hooks)()
        made: torch.nn.Module = copy.deepcopy(module, memo)
        return made.eval()
