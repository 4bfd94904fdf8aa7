"""What tests of model memory share: plain things as weights, counted by who really refers to them."""

from __future__ import annotations

import weakref
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from engines.models.host import HostCache
from engines.models.memory import Blueprint, Models, Piece

# model → piece → size: fine-tunes share a VAE and words; "+" is a LoRA on the base's UNet and words
SHELF: dict[str, dict[str, int]] = {
    "base": {"words": 20, "vae": 10, "unet-base": 50},
    "tune": {"words": 20, "vae": 10, "unet-tune": 50},
    "other": {"words2": 30, "vae2": 10, "unet2": 40},
    "small": {"vae": 10, "unet-small": 5},
    "huge": {"unet-huge": 500},
    "base+a": {"words": 20, "vae": 10, "unet-base": 50, "lora-a": 3},
    "base+b": {"words": 20, "vae": 10, "unet-base": 50, "lora-b": 4},
}
DEVICE, HOST = 130, 100


class Weights:
    """Stands for tensors; whoever refers to it holds its bytes."""

    def __init__(self, hash: str, size: int, place: str) -> None:
        self.hash, self.size, self.place = hash, size, place


class Lora(Weights):
    """Counts where it is put on."""

    on = False

    def attach(self, things: Mapping[str, Any]) -> None:
        assert {"unet-base", "words"} <= {thing.hash for thing in things.values()}
        self.on = True

    def detach(self) -> None:
        assert self.on
        self.on = False


@dataclass
class World:
    """Plain Python things as weights, counted by who really refers to them."""

    rows: dict[str, dict[str, int]] = field(default_factory=lambda: SHELF)
    chance: Callable[[], float] = lambda: 1.0  # below 0.05: what is being made finds no memory
    reads: list[str] = field(default_factory=list)
    copies: list[str] = field(default_factory=list)
    alive: weakref.WeakSet[Weights] = field(default_factory=weakref.WeakSet)

    def host(self, budget: int) -> HostCache:
        return HostCache(budget, self.up, self.down)

    def models(self, host: HostCache | None = None, *, budget: int = DEVICE, device: str = "one") -> Models:
        return Models(
            lambda name, kind: self.plan(name, device), budget=budget, device=device, dtype="half", host=host
        )

    def plan(self, name: str, device: str) -> Blueprint:
        sizes = self.rows[name]
        return Blueprint(name, name, tuple(self._piece(hash, size, device) for hash, size in sizes.items()))

    def _piece(self, hash: str, size: int, device: str) -> Piece:
        if hash.startswith("lora"):
            return Piece(
                "lora", hash, size, lambda: self._made(hash, size, device, Lora), on=("unet-base", "words")
            )

        def read() -> Weights:
            self.reads.append(hash)
            return self._made(hash, size, "reading")

        return Piece(hash.rstrip("2"), hash, size, lambda: self.up(read(), device), read=read)

    def up(self, thing: Weights, device: str) -> Weights:
        self.copies.append(thing.hash)
        return self._made(thing.hash, thing.size, device)

    def down(self, thing: Weights) -> Weights:
        return self._made(thing.hash, thing.size, "host")

    def _made(self, hash: str, size: int, place: str, kind: type[Weights] = Weights) -> Weights:
        if self.chance() < 0.05:
            raise MemoryError
        made = kind(hash, size, place)
        self.alive.add(made)
        return made

    def taken(self, place: str) -> int:
        """Bytes that somebody really refers to there."""
        return sum(thing.size for thing in self.alive if thing.place == place)
