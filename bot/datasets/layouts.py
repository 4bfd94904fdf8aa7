"""From the files of a data set to its concepts: which layout it has, which of its concepts are wanted. Pure."""

from __future__ import annotations

import dataclasses
import fnmatch
import itertools
import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from bot.datasets.concepts_json import read_json
from bot.datasets.files import Gathered, Layout, Source, Tree
from bot.datasets.loose import read_loose
from bot.datasets.mvtec import read_mvtec
from bot.locale.markup import cut
from engines.training.request import MOST_CONCEPTS
from engines.words import Refusal, Words


def understood(files: Iterable[Source], title: str, *, only: str = "", prompts: str = "") -> Layout:
    """The concepts of a data set called `title`. Raises `Refusal` where there are none, or too many.

    `only` chooses concepts by name (`scratch, nut*`); `prompts` gives them words of one's own, see `reworded`.
    """
    tree = Tree(files)
    layout = read_json(tree) or read_mvtec(tree, title) or read_loose(tree, title)
    if layout is None or not layout.concepts:
        raise Refusal(_NOTHING)
    chosen = chosen_of(layout.concepts, only)
    if len(chosen) > MOST_CONCEPTS:
        names = cut(", ".join(concept.name for concept in chosen), 300)
        raise Refusal(_TOO_MANY(n=len(chosen), most=MOST_CONCEPTS, names=names, first=chosen[0].name))
    return dataclasses.replace(layout, concepts=reworded(distinct(chosen), prompts))


def chosen_of(concepts: tuple[Gathered, ...], only: str) -> tuple[Gathered, ...]:
    """Those whose names `only` names, in their own order; all where it is empty. Raises `Refusal`."""
    wanted = [word.strip() for word in re.split(r"[,;\n]", only) if word.strip()]
    if not wanted:
        return concepts
    for word in wanted:
        if not any(_named(concept.name, word) for concept in concepts):
            names = cut(", ".join(concept.name for concept in concepts), 300)
            raise Refusal(_NO_SUCH(said=cut(word, 60), names=names))
    return tuple(concept for concept in concepts if any(_named(concept.name, word) for word in wanted))


def _named(name: str, said: str) -> bool:
    folded = _folded(name)
    return fnmatch.fnmatchcase(folded, _folded(said)) or _folded(said) in folded.split()


def _folded(name: str) -> str:
    return re.sub(r"[_\s/-]+", " ", name).strip().casefold()


def distinct(concepts: tuple[Gathered, ...]) -> tuple[Gathered, ...]:
    """Names that are all different, and free of the signs that `reworded` reads."""
    taken: set[str] = set()
    found = []
    for concept in concepts:
        stem = " ".join(re.sub(r"[=|;]", " ", concept.name).split())[:60] or "concept"
        spellings = itertools.chain([stem], (f"{stem} {number}" for number in itertools.count(2)))
        name = next(name for name in spellings if _folded(name) not in taken)
        taken.add(_folded(name))
        found.append(dataclasses.replace(concept, name=name))
    return tuple(found)


def reworded(concepts: tuple[Gathered, ...], prompts: str) -> tuple[Gathered, ...]:
    """The concepts with the words of `prompts`: `name = with the defect | without it`, a line (or `;`) each.

    Without a name it is the first concept's. Raises `Refusal` for a name that no concept has.
    """
    found = {_folded(concept.name): concept for concept in concepts}
    for line in filter(None, (line.strip() for line in re.split(r"[;\n]", prompts))):
        name, sign, words = line.partition("=")
        key = _folded(name) if sign else next(iter(found))
        key = next(iter(found)) if sign and len(found) == 1 else key
        if key not in found:
            names = cut(", ".join(concept.name for concept in concepts), 300)
            raise Refusal(_NO_SUCH(said=cut(name.strip(), 60), names=names))
        instance, bar, plain = (words if sign else line).partition("|")
        found[key] = dataclasses.replace(
            found[key],
            instance_prompt=instance.strip()[:1000] or found[key].instance_prompt,
            class_prompt=plain.strip()[:1000] if bar else found[key].class_prompt,
        )
    return tuple(found.values())


def reworded_concepts(
    concepts: Sequence[Mapping[str, Any]], only: str, prompts: str
) -> tuple[dict[str, Any], ...]:
    """The same for concepts that were read before (`engines.training.request.Train.concepts`)."""
    known = {str(concept["name"]): concept for concept in concepts}
    plain = tuple(
        Gathered(name, concept["instance_prompt"], concept["class_prompt"], ())
        for name, concept in known.items()
    )
    return tuple(
        {**known[one.name], "instance_prompt": one.instance_prompt, "class_prompt": one.class_prompt}
        for one in reworded(chosen_of(plain, only), prompts)
    )


def prompts_of(concepts: Iterable[tuple[str, str, str]]) -> str:
    """The text that `reworded` reads, from (name, with the defect, without it)."""
    return "\n".join(f"{name} = {instance} | {plain}" for name, instance, plain in concepts)


_NOTHING = Words(
    "No pictures to learn from were found. Give a zip in MVTec AD layout "
    "(`nut/train/good/…`, `nut/test/scratch/…`, `nut/ground_truth/scratch/…_mask.png`), "
    "with a `concepts_list.json`, or with photos and masks (`a.png`, `a_mask.png`).",
    "학습할 사진을 찾지 못했습니다. MVTec AD 구조의 zip "
    "(`nut/train/good/…`, `nut/test/scratch/…`, `nut/ground_truth/scratch/…_mask.png`), "
    "`concepts_list.json`이 든 zip, 또는 사진과 마스크(`a.png`, `a_mask.png`)를 주십시오.",
)
_TOO_MANY = Words(
    'The data set has {n} concepts; a training takes at most {most}. Choose with `only:"{first}, …"`: {names}.',
    '데이터에 개념이 {n}개 있습니다. 한 번에 최대 {most}개까지 학습할 수 있으니 `only:"{first}, …"`처럼 골라 '
    "주십시오: {names}.",
)
_NO_SUCH = Words(
    "The data set has no concept “{said}”. It has: {names}.",
    "데이터에 “{said}” 개념이 없습니다. 있는 개념: {names}.",
)
