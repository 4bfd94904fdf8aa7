"""The data of a training as facts: concepts, their pictures, and which of them the n-th sample is. No pixels here."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from engines.training import chance
from engines.training.request import MOST_CONCEPTS, Train
from engines.words import Refusal, Words

HELD_OUT_FROM = 4  # with so many good photos, the last is kept for the samples and never learnt
VARIANTS = 8  # different crops and random masks a picture; few enough that their latents are kept


@dataclass(frozen=True, slots=True)
class Shot:
    """One picture of a concept, with its mask where there is one."""

    image: str  # a blob, or the path of a picture made here
    mask: str = ""


@dataclass(frozen=True, slots=True)
class Concept:
    """What one thing to be learnt is made of."""

    index: int
    name: str
    prompt: str
    class_prompt: str
    weight: float
    shots: tuple[Shot, ...]
    prior: tuple[str, ...]  # good photos and class pictures, learnt beside
    held_out: str = ""  # a good photo that is never learnt, for the samples; "" where there are too few


@dataclass(frozen=True, slots=True)
class Sample:
    """What the n-th sample of a run is: always the same for the same seed and data."""

    number: int
    concept: int
    shot: int
    prior: tuple[int, ...]  # the pictures of the prior class that go with it
    variant: int


def concepts(request: Train) -> tuple[Concept, ...]:
    """The concepts of a request. Raises `Refusal` where there is nothing to learn."""
    if not request.concepts:
        raise Refusal(_NOTHING)
    if len(request.concepts) > MOST_CONCEPTS:
        raise Refusal(_TOO_MANY(count=len(request.concepts), most=MOST_CONCEPTS))
    return tuple(_concept(index, told) for index, told in enumerate(request.concepts))


def _concept(index: int, told: dict[str, Any]) -> Concept:
    shots = tuple(Shot(image["image"], image.get("mask") or "") for image in told.get("images", ()))
    name = str(told.get("name") or told.get("instance_prompt") or index + 1)
    weight = float(told.get("weight", 1.0))
    if not shots:
        raise Refusal(_EMPTY(name=name))
    if not weight > 0:
        raise Refusal(_WEIGHT(name=name, weight=weight))
    normals = tuple(told.get("normals", ()))
    held = normals[-1] if len(normals) >= HELD_OUT_FROM else ""
    learnt = normals[:-1] if held else normals
    return Concept(
        index=index,
        name=name,
        prompt=str(told.get("instance_prompt", "")),
        class_prompt=str(told.get("class_prompt", "")),
        weight=weight,
        shots=shots,
        prior=(*learnt, *told.get("class_images", ())),
        held_out=held,
    )


class Order:
    """Which picture the n-th sample is: concepts by weight, and within each every picture equally often.

    Concepts take turns by smooth weighted round robin; the pictures of one are shuffled anew for each round. All
    follows from the seed, so nothing of it has to be stored.
    """

    def __init__(self, concepts: Sequence[Concept], seed: int, priors: float = 0.0) -> None:
        self._concepts = tuple(concepts)
        self._seed = seed
        self._priors = priors  # pictures of the prior class a sample, on average
        self._whole = sum(concept.weight for concept in concepts)
        self._rounds: dict[tuple[str, int], tuple[int, list[int]]] = {}
        self._restart()

    def _restart(self) -> None:
        self._next = 0
        self._credit = [0.0] * len(self._concepts)
        self._shown = [0] * len(self._concepts)  # samples of each concept so far
        self._beside = [0] * len(self._concepts)  # prior pictures of each concept so far

    def span(self, start: int, count: int) -> list[Sample]:
        """Samples start..start+count−1. Cheap where spans follow each other."""
        if start < self._next:
            self._restart()
        while self._next < start:
            self._draw()
        return [self._draw() for _ in range(count)]

    def _draw(self) -> Sample:
        number, at = self._next, self._turn()
        concept = self._concepts[at]
        shot = self._picture("shot", at, self._shown[at], len(concept.shots))
        prior = []
        for _ in range(self._prior_count(number) if concept.prior else 0):
            prior.append(self._picture("prior", at, self._beside[at], len(concept.prior)))
            self._beside[at] += 1
        self._shown[at] += 1
        self._next += 1
        variant = chance.below(VARIANTS, self._seed, "variant", number)
        return Sample(number, at, shot, tuple(prior), variant)

    def _turn(self) -> int:
        for i, concept in enumerate(self._concepts):
            self._credit[i] += concept.weight
        at = max(range(len(self._credit)), key=self._credit.__getitem__)
        self._credit[at] -= self._whole
        return at

    def _prior_count(self, number: int) -> int:
        whole, rest = divmod(self._priors, 1.0)
        return int(whole) + (rest > 0 and chance.unit(self._seed, "priors", number) < rest)

    def _picture(self, what: str, concept: int, count: int, pictures: int) -> int:
        turn, place = divmod(count, pictures)
        known = self._rounds.get((what, concept))
        if known is None or known[0] != turn:
            known = (turn, chance.order(pictures, self._seed, what, concept, turn))
            self._rounds[what, concept] = known
        return known[1][place]


def missing(concepts: Sequence[Concept], request: Train) -> dict[int, int]:
    """Class pictures to make before learning: concept → how many. Only where no real good photo is given."""
    if not request.prior or not request.normals or not request.prior_weight:
        return {}
    return {
        c.index: request.class_images
        for c in concepts
        if not c.prior and c.class_prompt and request.class_images
    }


def path_of(files: Any, blob: str) -> Path | None:
    """The file behind a picture's name: a stored blob, or a picture made here (its own path)."""
    found: Path | None = files.get(blob)
    return found if found is not None else (Path(blob) if "/" in blob else None)


_NOTHING = Words(
    "There is nothing to learn from: give `dataset` a ZIP with photos, or attach some.",
    "학습할 사진이 없습니다. `dataset`에 사진이 담긴 ZIP을 넣거나 사진을 첨부해 주십시오.",
)
_TOO_MANY = Words(
    "There are {count} concepts; one training takes {most} at most. Leave some out, or train twice.",
    "개념이 {count}개인데 한 번에 {most}개까지 학습할 수 있습니다. 일부를 빼거나 나누어 학습해 주십시오.",
)
_EMPTY = Words(
    "The concept “{name}” has no photos. Add some, or leave it out.",
    "“{name}” 개념에 사진이 없습니다. 사진을 추가하거나 이 개념을 빼 주십시오.",
)
_WEIGHT = Words(
    "The weight of “{name}” is {weight}; it must be above 0. Leave the concept out instead.",
    "“{name}”의 비중이 {weight}입니다. 0보다 커야 합니다. 대신 이 개념을 빼 주십시오.",
)
