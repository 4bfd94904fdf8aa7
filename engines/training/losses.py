"""What a training makes small. Each loss is one number a row, so that it can be told per concept.

Notation: d = target − prediction, (n, 4, h, w); weights w, (n, 1, h, w), at latent size.
"""

from __future__ import annotations

from typing import Any

import torch

REST = 0.3  # of the object around the defect, in the object pass (DefectFill, arXiv 2503.13985, eq. 5)


def squared(prediction: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
    """d², in float32 whatever the model computes in."""
    return (prediction.float() - target.float()) ** 2


def plain(error: torch.Tensor) -> torch.Tensor:
    """DreamBooth's own: the mean of d² over each row, (n,)."""
    return error.mean(dim=(1, 2, 3))


def weighted(error: torch.Tensor, weights: torch.Tensor) -> torch.Tensor:
    """sum(w·d²) / sum(w) for each row, (n,): a small defect counts as much as a large one.

    With w = 1 everywhere it is `plain`.
    """
    whole = weights.expand_as(error)
    return (error * whole).sum(dim=(1, 2, 3)) / whole.sum(dim=(1, 2, 3))


def around(mask: torch.Tensor) -> torch.Tensor:
    """The object pass's weights: the defect whole, the rest at 0.3."""
    return mask + REST * (1 - mask)


def target(scheduler: Any, clean: torch.Tensor, noise: torch.Tensor, times: torch.Tensor) -> torch.Tensor:
    """What the UNet should say: ε (arXiv 2006.11239), v (2202.00512) or the clean latents."""
    kind = scheduler.config.prediction_type
    if kind == "v_prediction":
        velocity: torch.Tensor = scheduler.get_velocity(clean, noise, times)
        return velocity
    return clean if kind == "sample" else noise
