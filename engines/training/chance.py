"""All randomness of a training, each piece a function of the seed and of what it is for.

No generator lives longer than one draw, so there is no state to lose: a run that goes on from step k draws exactly
what a run that was never interrupted would.
"""

from __future__ import annotations

import hashlib

import numpy as np
import torch

Name = str | int


def number(seed: int, *what: Name) -> int:
    """63 bits that depend on the seed and on every word of `what`."""
    told = "\0".join(map(str, (seed, *what))).encode()
    return int.from_bytes(hashlib.sha256(told).digest()[:8], "little") >> 1


def unit(seed: int, *what: Name) -> float:
    """Uniform in [0, 1)."""
    return number(seed, *what) / 2**63


def between(low: float, high: float, seed: int, *what: Name) -> float:
    """Uniform in [low, high)."""
    return low + (high - low) * unit(seed, *what)


def below(count: int, seed: int, *what: Name) -> int:
    """A whole number in 0..count−1."""
    return number(seed, *what) % count


def order(count: int, seed: int, *what: Name) -> list[int]:
    """0..count−1, shuffled."""
    return [int(i) for i in np.random.default_rng(number(seed, *what)).permutation(count)]


def noise(shape: tuple[int, ...], seed: int, *what: Name) -> torch.Tensor:
    """Standard normal numbers, float32, drawn on the CPU so that every device draws the same."""
    own = torch.Generator("cpu").manual_seed(number(seed, *what))
    return torch.randn(shape, generator=own)
