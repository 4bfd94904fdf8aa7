"""Copying a module's weights between main memory and a device, the module it comes from left as it is."""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any

import torch


def to_device(module: Any, device: str) -> Any:
    """A copy of `module` on `device`; its strides stay. From pinned memory this is one transfer at full speed."""
    return _copied(module, lambda tensor: tensor.to(device, non_blocking=True))


def to_host(module: Any) -> Any:
    """A copy of `module` in main memory, pinned where there is CUDA (a pinned page cannot be swapped out)."""
    pin = torch.cuda.is_available()

    def move(tensor: torch.Tensor) -> torch.Tensor:
        here = tensor.cpu()
        if pin:
            return here.pin_memory()
        return here.clone() if here is tensor else here

    return _copied(module, move)


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
