"""The models that /interrogate can use: CLIPs as open_clip saves them, and BLIPs as transformers does.

Importing this loads no torch.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from engines import embedded
from engines.models import catalogue
from engines.models.catalogue import INTERROGATE, Model
from engines.models.files import bytes_of
from engines.models.memory import Blueprint
from engines.words import Words

CAPTION = "caption"
SMALL, FIRST = "defect-studio/mini-clip", "ViT-L-14-openai"
CLIP_FILES = ("open_clip_config.json", "open_clip_model.safetensors")
BLIP_FILES = ("config.json", "model.safetensors")
ALIASES = {
    "vit-l-14/openai": FIRST,
    "vit-b-32/openai": "ViT-B-32-openai",
    "vit-h-14/laion2b_s32b_b79k": "ViT-H-14-laion2b",
    "mini-clip": SMALL,
}
_MIT_NOTE = Words(
    "Free for any use, also commercial, with the notice kept.",
    "저작권 표시를 유지하면 상업적으로도 자유롭게 사용할 수 있습니다.",
)
_BSD_NOTE = Words(
    "Free for any use, also commercial, with the notice kept.",
    "저작권 표시를 유지하면 상업적으로도 자유롭게 사용할 수 있습니다.",
)
HUB: tuple[Model, ...] = (
    Model(FIRST, (INTERROGATE,), ("timm/vit_large_patch14_clip_224.openai@main",), "MIT", _MIT_NOTE, 1_710_000_000),
    Model(
        "ViT-B-32-openai", (INTERROGATE,), ("timm/vit_base_patch32_clip_224.openai@main",), "MIT", _MIT_NOTE, 605_000_000
    ),
    Model(
        "ViT-H-14-laion2b", (INTERROGATE,), ("laion/CLIP-ViT-H-14-laion2B-s32B-b79K@main",), "MIT", _MIT_NOTE, 3_944_000_000
    ),
    Model(
        "blip-base", (CAPTION,), ("Salesforce/blip-image-captioning-base@main",), "BSD-3-Clause", _BSD_NOTE, 990_000_000
    ),
    Model(
        "blip-large", (CAPTION,), ("Salesforce/blip-image-captioning-large@main",), "BSD-3-Clause", _BSD_NOTE, 1_880_000_000
    ),
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Found:
    """A CLIP as it lies on disk."""

    plan: Blueprint
    width: int  # numbers of one vector
    small: bool = False  # the embedded one, which knows few words


@dataclass(frozen=True, slots=True)
class Finders:
    """Names → what lies on disk; fetched first where it has to be. Slow the first time; raise `Refusal`."""

    clip: Callable[[str], Found]
    blip: Callable[[str], Blueprint]


def own(licence: str, note: Words) -> list[Model]:
    """The embedded CLIP, where its weights are there."""
    if not has(embedded.CLIP, CLIP_FILES):
        return []
    return [Model(SMALL, (INTERROGATE,), (), licence, note, bytes_of(embedded.CLIP), embedded.CLIP)]


def look(path: Path) -> Model | None:
    """The CLIP or BLIP in a folder; None where there is none."""
    if has(path, CLIP_FILES):
        return Model(path.name, (INTERROGATE,), size=bytes_of(path), path=path)
    if has(path, BLIP_FILES) and json.loads((path / "config.json").read_text()).get("model_type") == "blip":
        return Model(path.name, (CAPTION,), size=bytes_of(path), path=path)
    return None


def default(models: Sequence[Model]) -> str:
    """The CLIP that is used when nobody names one: the large one where it is on this machine, else the embedded.

    It is not downloaded unasked: nobody waits for a network, and the answer says how to have it.
    """
    return next((model.name for model in models if model.name == FIRST and model.here), SMALL)


def wanted(model: Model) -> tuple[str, ...]:
    """The files to fetch from a hub: patterns. Nothing for a model of another sort."""
    if INTERROGATE in model.kinds:
        return (*CLIP_FILES, "*.txt", "tokenizer*.json", "vocab.json", "special_tokens_map.json")
    if CAPTION in model.kinds:
        return (*BLIP_FILES, "*.txt", "*.json")
    return ()


def complete(folder: Path) -> bool:
    return has(folder, CLIP_FILES) or has(folder, BLIP_FILES)


def has(folder: Path, files: Iterable[str]) -> bool:
    return all((folder / file).is_file() for file in files)


def finders(
    folder: Path | None, device: str, defaults: Mapping[str, str], paths: Iterable[Path] = ()
) -> Finders:
    """How the engine finds its models: by name in the catalogue, fetched where they have to be. Imports torch."""
    from engines.interrogation import blip, clip

    known = tuple(paths)

    def where(name: str, kind: str) -> tuple[str, Path]:
        model = catalogue.find(name, kind, folder, known)
        return model.name, model.path or catalogue.fetch(model, folder or Path("models"))

    def find_clip(name: str) -> Found:
        name, path = where(name or defaults.get(INTERROGATE, ""), INTERROGATE)
        return Found(clip.blueprint(name, path, device), clip.width_of(path), name == SMALL)

    def find_blip(name: str) -> Blueprint:
        return blip.blueprint(*where(name, CAPTION), device)

    return Finders(find_clip, find_blip)
