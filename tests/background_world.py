"""What tests of removing backgrounds share: photographs, the network that comes with us, an engine."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from engines.background.engine import RemoveBackgrounds
from engines.background.networks import finder
from engines.background.request import RemoveBackground
from engines.engine import Work
from engines.events import Artifact
from engines.models import catalogue
from engines.models.memory import Models

ROOT = Path(__file__).parents[1]
MODELS = ROOT / "studio-data" / "models"  # where `make test` fetches it
U2NETP = catalogue.find("u2netp", None, MODELS).path

PHOTOS = ("coffee", "chelsea", "coins")
needs_network = pytest.mark.skipif(
    U2NETP is None, reason="u2netp is not here: `defect-studio models fetch u2netp` in the repository"
)


def photo(name: str) -> Image.Image:
    """One of scikit-image's CC0 photographs."""
    import skimage.data

    return Image.fromarray(getattr(skimage.data, name)())


def none(name: str, kind: str) -> Any:
    raise AssertionError("only diffusion is read this way")


def engine(budget: int | None = None, folder: Path = MODELS) -> RemoveBackgrounds:
    return RemoveBackgrounds(Models(none, budget=budget), finder(folder, "cpu", threads=1))


def work(folder: Path, image: Image.Image, number: int = 1, **asked: Any) -> Work:
    own = folder / str(number)
    own.mkdir()
    image.save(own / "blob", "PNG")
    return Work(number, "kim", RemoveBackground(image="blob", **asked), own, {"blob": own / "blob"})


def made(by: RemoveBackgrounds, asked: Work) -> tuple[Artifact, Image.Image, list[str]]:
    """One photo all the way: the file, the picture in it, the notes."""
    by.prepare(asked)
    run = by.begin(asked)
    by.advance([run])
    packing, notes = by.finish(run), [words.en for words in run.notes]
    by.suspend(run)
    (artifact,) = packing()
    with Image.open(artifact.path) as picture:
        picture.load()
    return artifact, picture, notes
