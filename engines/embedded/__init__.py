"""The small models that ship with the house, and the procedural world they were trained on.

Importing this package is cheap: no torch, no numpy. `WEIGHTS` and its three folders are plain paths in the
libraries' own formats (diffusers, open_clip); `sample` draws one picture of the world with its exact mask.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from PIL.Image import Image

WEIGHTS: Path = Path(__file__).parent / "weights"
TXT2IMG: Path = WEIGHTS / "txt2img"
INPAINT: Path = WEIGHTS / "inpaint"
CLIP: Path = WEIGHTS / "clip"
MODEL_CARD: Path = Path(__file__).parent / "MODEL_CARD.md"

SIZE: int = 128
PRODUCTS: tuple[str, ...] = (
    "metal plate", "wood", "leather", "tile", "carpet", "wire grid", "bottle", "metal nut", "pill",
)  # fmt: skip
DEFECTS: tuple[str, ...] = ("scratch", "crack", "dent", "stain", "hole")


def sample(seed: int, product: str, defect: str | None = None) -> tuple[Image, Image]:
    """One picture of the procedural world, 128×128.

    Args:
        seed: the same seed, product and defect give the same bytes.
        product: one of `PRODUCTS`.
        defect: one of `DEFECTS`, or None for a faultless one.

    Returns:
        The RGB picture and its L mask: 255 exactly where the defect changed a pixel.

    Raises:
        KeyError: the world has no such product or defect.
    """
    from PIL import Image

    from engines.embedded.world import draw

    scene = draw(seed, product, defect)
    return Image.fromarray(scene.image), Image.fromarray(scene.mask)
