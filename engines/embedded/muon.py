"""Muon (Jordan et al., 2024): momentum whose direction is made orthogonal by a Newton–Schulz iteration."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import torch
from torch import Tensor


def orthogonal(matrix: Tensor, rounds: int = 5) -> Tensor:
    """(a, b) with singular values pushed towards 1; the quintic of the paper's reference code.

    The rounds run on the small Gram matrix X·Xᵀ alone: with P = aI + bG + cG², X becomes PX and G becomes PGP (all
    commute), so the long side is touched twice and not fifteen times.
    """
    a, b, c = 3.4445, -4.7750, 2.0315
    x: Tensor = matrix / (matrix.norm() + 1e-7)
    tall = x.shape[0] > x.shape[1]
    x = x.T if tall else x
    gram = x @ x.T
    same = torch.eye(len(gram), device=x.device)
    product = same
    for left in reversed(range(rounds)):
        turn = a * same + torch.addmm(b * gram, gram, gram, alpha=c)
        product = turn @ product
        gram = turn @ gram @ turn if left else gram
    x = product @ x
    return x.T if tall else x


class Muon(torch.optim.Optimizer):
    """For weights with two or more axes: convolutions are read as (out, in·h·w) matrices."""

    def __init__(
        self, weights: Iterable[Tensor], lr: float, momentum: float = 0.95, decay: float = 0.01
    ) -> None:
        super().__init__(weights, {"lr": lr, "momentum": momentum, "decay": decay})

    @torch.no_grad()
    def step(self, closure: Any = None) -> None:  # type: ignore[override]
        """One move of every weight that has a gradient."""
        for group in self.param_groups:
            for p in group["params"]:
                if p.grad is None:
                    continue
                state = self.state[p]
                if "speed" not in state:
                    state["speed"] = torch.zeros_like(p)
                speed = state["speed"].lerp_(p.grad, 1 - group["momentum"])
                ahead = p.grad.lerp(speed, group["momentum"])
                turned = orthogonal(ahead.reshape(p.shape[0], -1)).reshape(p.shape)
                rows, columns = p.shape[0], p.numel() // p.shape[0]
                scale = max(1.0, rows / columns) ** 0.5
                p.mul_(1 - group["lr"] * group["decay"]).add_(turned, alpha=-group["lr"] * scale)
