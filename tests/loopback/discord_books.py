"""What the loopback Discord remembers, and what goes wrong with it."""

from __future__ import annotations

import random
from dataclasses import dataclass, field

from .discord_payloads import Json


@dataclass
class Faults:
    """Chances of each call: refused with a 500, told to wait with a 429, done but the answer dropped."""

    rng: random.Random
    refuse: float = 0.03
    wait: float = 0.03
    drop: float = 0.05
    counted: dict[str, int] = field(default_factory=dict)

    def strikes(self, which: str) -> bool:
        struck = self.rng.random() < getattr(self, which)
        self.counted[which] = self.counted.get(which, 0) + struck
        return struck


@dataclass
class Kept:
    """A message on the books."""

    id: str
    payload: Json
    nonce: str
    at: float
    notified: list[str]
    files: list[tuple[str, int]]
    edits: int = 0
    deleted: bool = False
    said: list[str] = field(default_factory=list)  # its texts, oldest first

    @property
    def text(self) -> str:
        return self.said[-1]


@dataclass
class Asked:
    """An interaction we sent."""

    id: str
    token: str
    at: float
    acknowledged: float | None = None
    answer: str = ""
