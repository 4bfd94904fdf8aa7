"""What a picture can be asked about: our own vocabulary in two languages, and clip-interrogator's lists.

The lists of clip-interrogator (MIT) are read from the installed package, which is found without being imported.
Importing this loads no torch.
"""

from __future__ import annotations

import ast
import functools
import hashlib
import importlib.util
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType

FOLDER = Path(__file__).parent / "vocabulary"
MATERIALS, PRODUCTS, DEFECTS, PHOTOGRAPHY = OWN = ("materials", "products", "defects", "photography")
TAUGHT_PRODUCTS, TAUGHT_DEFECTS = TAUGHT = ("taught_products", "taught_defects")  # to the embedded CLIP
ARTISTS, FLAVORS, MEDIUMS, MOVEMENTS, TRENDINGS, NEGATIVE = PACKAGED = (
    "artists",
    "flavors",
    "mediums",
    "movements",
    "trendings",
    "negative",
)
MERGED = (ARTISTS, FLAVORS, MEDIUMS, MOVEMENTS, TRENDINGS)  # in the package's own order

_NOTHING: Mapping[str, str] = MappingProxyType({})


@dataclass(frozen=True)
class PhraseList:
    """Phrases of one sort, as CLIP is asked about them."""

    name: str
    texts: tuple[str, ...]
    korean: Mapping[str, str] = field(default_factory=lambda: _NOTHING)
    in_sentence: Mapping[str, str] = field(default_factory=lambda: _NOTHING)  # "scratch" → "a scratch"

    @functools.cached_property
    def hash(self) -> str:
        """Of the phrases and their order; 64 hex digits."""
        return hashlib.sha256("\n".join(self.texts).encode()).hexdigest()


@functools.cache
def phrase_list(name: str) -> PhraseList:
    """One of `OWN`, `TAUGHT` or `PACKAGED`. `KeyError` for another name; without the package its lists are empty."""
    if name in OWN or name in TAUGHT:
        return _own(name)
    if name not in PACKAGED:
        raise KeyError(name)
    folder = _package()
    return PhraseList(name, tuple(_packaged(name, folder)) if folder else ())


@functools.cache
def korean() -> Mapping[str, str]:
    """Every phrase of ours → its Korean."""
    return {text: said for name in (*TAUGHT, *OWN) for text, said in phrase_list(name).korean.items()}


def _own(name: str) -> PhraseList:
    """Lines of `a scratch = 긁힘`; the article belongs to sentences, not to the phrase."""
    texts, translated, in_sentence = [], {}, {}
    for line in (FOLDER / f"{name}.txt").read_text(encoding="utf-8").splitlines():
        said, _, other = (part.strip() for part in line.partition("="))
        if not said or said.startswith("#"):
            continue
        text = said.removeprefix("a ").removeprefix("an ")
        texts.append(text)
        translated[text], in_sentence[text] = other, said
    return PhraseList(name, tuple(texts), translated, in_sentence)


def _package() -> Path | None:
    found = importlib.util.find_spec("clip_interrogator")
    places = found.submodule_search_locations if found else None
    return Path(next(iter(places))) if places else None


def _packaged(name: str, folder: Path) -> Iterator[str]:
    """The package's list, put together as its `Interrogator` does."""
    if name == ARTISTS:
        raw = _lines(folder, name)
        yield from (f"by {artist}" for artist in raw)
        yield from (f"inspired by {artist}" for artist in raw)
    elif name == TRENDINGS:
        sites = _sites(folder)
        for form in ("{}", "trending on {}", "featured on {}", "{} contest winner"):
            yield from (form.format(site) for site in sites)
    else:
        yield from _lines(folder, name)


def _lines(folder: Path, name: str) -> list[str]:
    try:
        text = (folder / "data" / f"{name}.txt").read_text(encoding="utf-8", errors="replace")
    except OSError:
        return []
    return [line.strip() for line in text.split("\n") if line.strip()]


def _sites(folder: Path) -> list[str]:
    """The sites that the package names in its program, read without running it."""
    try:
        tree = ast.parse((folder / "clip_interrogator.py").read_text(encoding="utf-8"))
    except (OSError, SyntaxError):
        return []
    for node in ast.walk(tree):
        if isinstance(node, ast.Assign) and any(getattr(t, "id", "") == "sites" for t in node.targets):
            return [str(site) for site in ast.literal_eval(node.value)]
    return []
