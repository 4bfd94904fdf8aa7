"""`python -m benchmarks.try_training FOLDER`: a small data set to try /train with, and a photo with a mask to use it on.

A rubber seal with burns, bloom and paint marks: nothing of it is known to the embedded models. Eight photos a defect
with their masks, and eight good ones, in MVTec AD layout.
"""

from __future__ import annotations

import io
import sys
import zipfile
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageFilter

from benchmarks.few_shot import KINDS, PRODUCT, REFERENCES, scene


def main(folder: Path) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    product = PRODUCT.replace(" ", "_")
    with zipfile.ZipFile(folder / "seal.zip", "w") as packed:
        for i in range(REFERENCES):
            packed.writestr(f"{product}/train/good/{i:03d}.png", png(scene(5500 + i, None).image))
            for kind in KINDS:
                one, defect = scene(5000 + i, kind), kind.replace(" ", "_")
                packed.writestr(f"{product}/test/{defect}/{i:03d}.png", png(one.image))
                packed.writestr(f"{product}/ground_truth/{defect}/{i:03d}_mask.png", png(one.mask))
    one = scene(6003, KINDS[0])
    Image.fromarray(one.clean).save(folder / "photo.png")
    Image.fromarray(one.mask).filter(ImageFilter.MaxFilter(7)).save(folder / "mask.png")


def png(pixels: NDArray[np.uint8]) -> bytes:
    written = io.BytesIO()
    Image.fromarray(pixels).save(written, "PNG")
    return written.getvalue()


if __name__ == "__main__":
    main(Path(sys.argv[1] if len(sys.argv) > 1 else "out"))
