"""From all candidates of a request to the pictures it keeps, and what is said about that. Runs on any thread."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from engines import compose, picking
from engines.picking import Bytes, Candidate, Patch
from engines.requests import Diffusion
from engines.words import Words


@dataclass(frozen=True, slots=True)
class Kept:
    """A picture that is kept, with the seed that makes it again."""

    seed: int
    made: Bytes  # (h, w, 3)


def kept(
    request: Diffusion, hole: compose.Patch | None, made: Sequence[Bytes], learnt: Sequence[Patch]
) -> tuple[list[Kept], list[Words]]:
    """The best candidate for each picture, and sentences about the choice; all of them where there is none.

    `made` is in the order of `request.seeds`, `learnt` are patches of the model's references.
    """
    drawn = [Kept(seed, one) for seed, one in zip(request.seeds, made, strict=True)]
    if request.each == 1 or hole is None:
        return drawn, []
    before = np.asarray(hole.picture)
    chosen: list[tuple[Kept, Candidate]] = []
    for at in range(0, len(drawn), request.each):
        group = drawn[at : at + request.each]
        judged = [picking.judged(before, one.made, hole.mask, learnt) for one in group]
        best = picking.best(judged)
        chosen.append((group[best], judged[best]))
    return [one for one, _ in chosen], _told(request, chosen)


def _told(request: Diffusion, chosen: list[tuple[Kept, Candidate]]) -> list[Words]:
    """Which seeds were kept, and where the best was not good."""
    faint = [one for one, its in chosen if not its.visible]
    copies = [one for one, its in chosen if its.visible and its.copy]
    said = [(_KEPT, [one for one, _ in chosen]), (_FAINT, faint), (_COPIES, copies)]
    first, last = request.seeds[0], request.seeds[-1]
    return [
        words(tries=request.each, seeds=_seeds(which), first=first, last=last)
        for words, which in said
        if which
    ]


def _seeds(which: list[Kept]) -> str:
    return ", ".join(str(one.seed) for one in which)


_KEPT = Words(
    "Of {tries} tries (seeds {first} to {last}), kept for the change inside the mask: seed {seeds}.",
    "{tries}번씩 그려(시드 {first}~{last}) 마스크 안이 가장 많이 바뀐 것을 남겼습니다: 시드 {seeds}.",
)
_FAINT = Words(
    "Seed {seeds}: none of the {tries} tries shows a visible change. Try other words, a larger mask or more guidance.",
    "시드 {seeds}: {tries}번 모두 눈에 띄는 변화가 없습니다. 다른 표현이나 더 큰 마스크, 더 높은 가이던스를 써 보십시오.",
)
_COPIES = Words(
    "Seed {seeds}: every one of the {tries} tries that shows something is a copy of a picture the model was trained on.",
    "시드 {seeds}: {tries}번 중 변화가 보이는 것은 모두 학습에 쓴 사진의 복사본입니다.",
)
