"""LoRAs on a shared model, by row: strangers' adapters side by side in one UNet call (arXiv 2106.09685).

A layer's answer gets `up(down(x)) · scale` added for the rows that asked for it, by a forward hook: the base's
modules and weights stay as they are, so putting an adapter on or taking it off is a dictionary's work and disturbs
nobody. (PEFT's own injection renames and wraps modules and takes half a second even on a small UNet; the numbers are
the same, tests/test_lora.py.)
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any
from weakref import WeakKeyDictionary

import torch
from torch.nn import functional

from engines.models.lora_files import Pair
from engines.words import Refusal, Words

Span = tuple[str, slice]  # an adapter and neighbouring rows that want it


@dataclass(frozen=True, slots=True)
class Low:
    """One layer's low-rank pair, on the layer's device, in its dtype."""

    down: torch.Tensor
    up: torch.Tensor
    scale: float


class Board:
    """The adapters on one module, and which of its rows each takes. Used on one device's thread only."""

    def __init__(self, module: torch.nn.Module) -> None:
        self._layers: dict[str, dict[str, Low]] = {}  # path → adapter → pair
        self._hooks: dict[str, Any] = {}
        self.spans: tuple[Span, ...] = ()
        self.paths = {
            path: layer
            for path, layer in module.named_modules()
            if isinstance(layer, torch.nn.Linear | torch.nn.Conv2d)
        }
        self.spelled = {path.replace(".", "_"): path for path in self.paths}

    def put(self, adapter: str, pairs: Mapping[str, Low]) -> None:
        """All of an adapter's pairs by the path of their layer; each fits its layer."""
        for path, low in pairs.items():
            known = self._layers.setdefault(path, {})
            known[adapter] = low
            if path not in self._hooks:
                self._hooks[path] = self.paths[path].register_forward_hook(self._hook(known))

    def take(self, adapter: str) -> None:
        """The adapter off again; a layer that has none left is as it was."""
        for path in [path for path, known in self._layers.items() if adapter in known]:
            del self._layers[path][adapter]
            if not self._layers[path]:
                del self._layers[path]
                self._hooks.pop(path).remove()

    @property
    def adapters(self) -> set[str]:
        return {adapter for known in self._layers.values() for adapter in known}

    def _hook(self, known: Mapping[str, Low]) -> Any:
        def added(layer: torch.nn.Module, seen: tuple[torch.Tensor, ...], out: torch.Tensor) -> torch.Tensor:
            for adapter, rows in self.spans:
                if (low := known.get(adapter)) is not None:
                    # in place, as the layer's own sum with its bias would be: nobody else holds `out` yet
                    out[rows] += _delta(layer, low, seen[0][rows])
            return out

        return added


_boards: WeakKeyDictionary[torch.nn.Module, Board] = WeakKeyDictionary()


def board(module: torch.nn.Module) -> Board:
    """The module's own board; made at the first asking, gone with the module."""
    if module not in _boards:
        _boards[module] = Board(module)
    return _boards[module]


def _delta(layer: torch.nn.Module, low: Low, seen: torch.Tensor) -> torch.Tensor:
    if isinstance(layer, torch.nn.Conv2d):
        narrow = functional.conv2d(seen, low.down, None, layer.stride, layer.padding, layer.dilation)
        return functional.conv2d(narrow, low.up) * low.scale
    return functional.linear(functional.linear(seen, low.down), low.up) * low.scale


@contextmanager
def rows(module: torch.nn.Module, adapters: Sequence[str]) -> Iterator[None]:
    """Within, the module's row i is as if `adapters[i]` alone were on it; "" is the module itself."""
    known = _boards.get(module)
    if known is None:
        yield
        return
    known.spans = spans(adapters)
    try:
        yield
    finally:
        known.spans = ()


def spans(adapters: Sequence[str]) -> tuple[Span, ...]:
    """Neighbours that want the same go together, and rows of the bare model not at all."""
    found: list[Span] = []
    start = 0
    for at in range(1, len(adapters) + 1):
        if at == len(adapters) or adapters[at] != adapters[start]:
            if adapters[start]:
                found.append((adapters[start], slice(start, at)))
            start = at
    return tuple(found)


class Adapter:
    """A LoRA as read from its file, to be put on a model's modules."""

    def __init__(self, name: str, id: str, pairs: Mapping[str, Mapping[str, Pair]]) -> None:
        self._name = name
        self._id = id
        self._pairs = pairs  # role → the layer's name as the file says it → pair
        self._on: list[Board] = []

    def attach(self, things: Mapping[str, Any]) -> None:
        """Put it on the modules by role. Raises `Refusal`, with nothing put on, where it does not fit them."""
        fitting = []
        for role, pairs in self._pairs.items():
            its = board(things[role])
            fitting.append((its, {path: low for path, low in self._fitted(its, pairs)}))
        self._pairs = {}  # on the device now
        for its, lows in fitting:
            its.put(self._id, lows)
            self._on.append(its)

    def detach(self) -> None:
        while self._on:
            self._on.pop().take(self._id)

    def _fitted(self, its: Board, pairs: Mapping[str, Pair]) -> Iterator[tuple[str, Low]]:
        for said, pair in pairs.items():
            path = said if said in its.paths else its.spelled.get(said.replace(".", "_"))
            low = _low(its.paths[path], pair) if path else None
            if path is None or low is None:
                raise Refusal(_MISFIT(name=self._name, layer=re.sub(r"[^\w.]", "", said)[:80]))
            yield path, low


def _low(layer: torch.nn.Module, pair: Pair) -> Low | None:
    """The pair as this layer needs it; None where it does not fit."""
    weight: torch.Tensor = layer.weight  # type: ignore[assignment]
    down, up = pair.down, pair.up
    if isinstance(layer, torch.nn.Linear):
        down, up = (one.flatten(1) if one.ndim == 4 else one for one in (down, up))
    elif down.ndim == 2:
        down, up = down[:, :, None, None], up[:, :, None, None]
    rank = down.shape[0]
    if down.shape[1:] != weight.shape[1:] or up.shape[:2] != (weight.shape[0], rank):
        return None
    down, up = (one.to(weight.device, weight.dtype).contiguous() for one in (down, up))
    return Low(down, up, pair.alpha / rank if pair.alpha is not None else 1.0)


_MISFIT = Words(
    "The LoRA `{name}` does not fit its base model (its layer {layer}). It was made for another kind of model.",
    "LoRA `{name}`이(가) 기반 모델에 맞지 않습니다 (레이어 {layer}). 다른 종류의 모델용으로 만들어진 파일입니다.",
)
