"""Which models there are: the embedded ones, well-known hub names, and what lies in the models folder.

Importing this loads neither torch nor the hub's client. A model is found by name in any case, with or without its
owner in front; a local copy is preferred to the hub.
"""

from __future__ import annotations

import difflib
import json
from collections.abc import Callable, Collection, Iterable
from dataclasses import replace
from pathlib import Path
from types import ModuleType
from typing import Any

from engines import embedded
from engines.models import downloadable, downloads, trained
from engines.models.files import Stamp, bytes_of, stamp
from engines.models.files import header as header  # asked for by the doctor too
from engines.models.known import ANY_KIND as ANY_KIND
from engines.models.known import CLEANUP as CLEANUP
from engines.models.known import HUB as HUB
from engines.models.known import IMG2IMG as IMG2IMG
from engines.models.known import INPAINT as INPAINT
from engines.models.known import INTERROGATE as INTERROGATE
from engines.models.known import RAIL_M as RAIL_M
from engines.models.known import RAIL_PP as RAIL_PP
from engines.models.known import REMOVEBG as REMOVEBG
from engines.models.known import TXT2IMG as TXT2IMG
from engines.models.known import Model as Model
from engines.words import Refusal, Words

_OURS_NOTE = Words(
    "Ships with Defect Studio; trained on procedural pictures only.",
    "Defect Studio에 포함된 모델로, 절차적으로 만든 그림으로만 학습했습니다.",
)

BUILT_IN = (
    Model("cv2", (CLEANUP,), licence="Apache-2.0", built_in=True),
)  # OpenCV's own way of filling holes

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
    INTERROGATE: "defect-studio/mini-clip",  # or a larger one where that is on this machine: see `find`
}


def own() -> list[Model]:
    """The models that ship with the house, where their weights are there."""
    both = (
        ("defect-studio/mini", ANY_KIND, embedded.TXT2IMG),
        ("defect-studio/mini-inpaint", (INPAINT,), embedded.INPAINT),
    )
    there = [one for one in both if (one[2] / "model_index.json").is_file()]
    made = [Model(n, k, (), "Apache-2.0", _OURS_NOTE, bytes_of(path), path) for n, k, path in there]
    return [*made, *_clips().own("Apache-2.0", _OURS_NOTE)]


def _clips() -> ModuleType:
    from engines.interrogation import models as interrogate_models

    return interrogate_models


def known(folder: Path | None = None, paths: Iterable[Path] = ()) -> list[Model]:
    """Every model that can be asked for: our own, those in `folder` and at `paths`, and the hub's.

    Args:
        folder: the models folder; each folder in it with a model_index.json and each .safetensors file is a model.
        paths: further folders or files, named by an administrator.
    """
    local = [m for path in _candidates(folder, paths) if (m := look(path))]
    by_name = {m.name.casefold(): m for m in local}
    hub = [_with_copy(m, by_name.pop(m.name.casefold(), None)) for m in (*HUB, *_clips().HUB)]
    ours = [*own(), *BUILT_IN]
    single = [_downloaded(d, folder) for d in downloadable.KNOWN]
    taken = {m.name.casefold() for m in (*ours, *single)}
    found = [*ours, *(m for m in by_name.values() if m.name.casefold() not in taken), *single, *hub]
    return [replace(m, kinds=_kinds_on(m, found)) if m.lora else m for m in found]


def _kinds_on(lora: Model, models: list[Model]) -> tuple[str, ...]:
    """What a LoRA can do is what its base can; nothing where that is unknown."""
    base = _named(lora.base, [m for m in models if not m.lora])
    return base.kinds if base and lora.base else ()


def _named(said: str, models: Iterable[Model]) -> Model | None:
    """The model that answers to `said`; names of today go before former ones."""
    models = list(models)
    names = {old.casefold(): m for m in models for old in m.formerly}
    names |= {alias: m for m in models for alias in spellings(m)}
    return names.get(ALIASES.get(said.casefold(), said).casefold())


def _downloaded(known: downloadable.Download, folder: Path | None) -> Model:
    path = downloads.found(known, folder)
    return Model(known.name, (known.kind,), (), known.licence, known.note, known.file.size, path)


def find(
    name: str,
    kind: str | None,
    folder: Path | None = None,
    paths: Iterable[Path] = (),
    hidden: Collection[str] = (),
) -> Model:
    """The model a person means by `name`, fit for `kind` (None: any); where `name` is empty, the default for that kind.

    Models called as in `hidden` are unknown to whoever asks.

    Raises:
        Refusal: no model has this name (with the nearest ones), or it cannot do this kind of work.
    """
    return chosen([m for m in known(folder, paths) if m.name not in hidden], name, kind)


def chosen(models: list[Model], name: str, kind: str | None) -> Model:
    """As `find`, of these `models`."""
    names = {old.casefold(): m for m in models for old in m.formerly}
    names |= {alias: m for m in models for alias in spellings(m)}
    usual = _clips().default(models) if kind == INTERROGATE else DEFAULTS.get(kind or "", "")
    said = (name or usual).strip()
    key = {**ALIASES, **_clips().ALIASES}.get(said.casefold(), said).casefold()
    found = names.get(key)
    if found is None:
        raise Refusal(_no_such(said, kind, names))
    if kind and found.lora and not found.kinds:
        raise Refusal(_NO_BASE(name=found.name, base=found.base or "?"))
    if kind and kind not in found.kinds:
        fit = ", ".join(f"`{m.name}`" for m in models if kind in m.kinds)
        raise Refusal(_WRONG_KIND(name=found.name, kind=kind, kinds=", ".join(found.kinds), fit=fit or "–"))
    return found


def look(path: Path) -> Model | None:
    """The model at `path` (a diffusers folder or a .safetensors file), or None where there is none we can run."""
    seen = stamp(path) if path.is_dir() else (*stamp(path), *stamp(trained.card_file(path)))
    if path not in _looked or _looked[path][0] != seen:
        _looked[path] = (seen, _look(path))
    return _looked[path][1]


_looked: dict[Path, tuple[Stamp, Model | None]] = {}  # reading every model's files for each job is slow


def _look(path: Path) -> Model | None:
    try:
        if path.is_dir():
            return _folder_model(path) or _clips().look(path)
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
        return _lora_model(path)
    channels = json.loads((path / "unet" / "config.json").read_text())["in_channels"]
    return Model(path.name, _kinds(channels), size=bytes_of(path), path=path, **_told(path))


def _lora_model(path: Path) -> Model | None:
    """Its kinds are its base's: see `known`."""
    if trained.lora_at(path) is None:
        return None
    name = path.name if path.is_dir() else path.stem
    return Model(name, (), size=bytes_of(path), path=path, lora=True, **_told(path))


def _file_model(path: Path) -> Model | None:
    tensors = header(path)
    first = tensors.get("model.diffusion_model.input_blocks.0.0.weight")
    cross = tensors.get("model.diffusion_model.input_blocks.1.1.transformer_blocks.0.attn2.to_k.weight")
    if first is None or cross is None:
        return _lora_model(path)
    base = {768: "sd1", 1024: "sd2"}.get(cross["shape"][1])
    if base is None:
        return None
    return Model(path.stem, _kinds(first["shape"][1]), size=path.stat().st_size, path=path, base=base)


def _kinds(channels: int) -> tuple[str, ...]:
    return {4: ANY_KIND, 9: (INPAINT,)}[channels]


def _told(path: Path) -> dict[str, Any]:
    """What the model's own card says of it, where it has one."""
    told = trained.card(path)
    return {
        "licence": trained.said(told, "licence"),
        "base": trained.said(told, "base"),
        "formerly": trained.formerly(told),
    }


def _with_copy(model: Model, local: Model | None) -> Model:
    return replace(model, path=local.path, size=local.size, kinds=local.kinds) if local else model


def spellings(model: Model) -> set[str]:
    """All names a model answers to, folded."""
    full = [model.name, *(place.partition("@")[0] for place in model.places)]
    short = [model.name.rpartition("/")[2]]
    return {name.casefold() for name in (*full, *short)}


def _no_such(said: str, kind: str | None, names: dict[str, Model]) -> Words:
    """With the nearest of those that could do it, or all of them."""
    fit = {name: model for name, model in names.items() if kind is None or kind in model.kinds} or names
    fit = fit | {alias: fit[name.casefold()] for alias, name in ALIASES.items() if name.casefold() in fit}
    near = difflib.get_close_matches(said.casefold(), fit, n=6, cutoff=0.4)
    shown = list(dict.fromkeys(fit[name].name for name in near))[:3]
    shown = shown or list(dict.fromkeys(model.name for model in fit.values()))
    return _UNKNOWN(said=said[:60], near=", ".join(f"`{n}`" for n in shown))


def fetch(model: Model, folder: Path, progress: Callable[[str], None] = lambda _: None) -> Path:
    """Download `model` into `folder/<name>`; its folder or file. See `engines.models.downloads` and `engines.models.hub`.

    `progress` is told each place that is tried.
    """
    from engines.models import hub

    if model.path is not None:
        return model.path
    if downloadable.named(model.name):
        return downloads.fetch(model.name, folder, lambda place, here, all: progress(place))
    return hub.fetch(model, folder, progress)


_UNKNOWN = Words(
    "There is no model `{said}`. Nearest: {near}. /models lists all.",
    "`{said}` 모델이 없습니다. 비슷한 이름: {near}. 전체 목록은 /models 로 볼 수 있습니다.",
)
_NO_BASE = Words(
    "`{name}` is a LoRA, and its base model `{base}` is not known here. An administrator can name it: "
    "`/models action:base model:{name} to:…`.",
    "`{name}`은(는) LoRA인데 기반 모델 `{base}`을(를) 알 수 없습니다. 관리자가 "
    "`/models action:base model:{name} to:…` 로 지정할 수 있습니다.",
)
_WRONG_KIND = Words(
    "The model `{name}` is made for {kinds}, not for {kind}. For {kind} there are: {fit}.",
    "`{name}` 모델은 {kinds}용이라서 {kind}에는 쓸 수 없습니다. {kind}에 쓸 수 있는 모델: {fit}.",
)
