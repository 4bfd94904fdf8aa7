"""The four ways to ask, with the meaning clip-interrogator gives them, as scripts that yield what they need of CLIP.

A script is a generator: it yields a need and is sent its answer, so the engine can serve many people's needs
together, a step at a time. No script touches the model. https://github.com/pharmapsychotic/clip-interrogator
"""

from __future__ import annotations

import bisect
import itertools
from collections.abc import Callable, Generator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch

from engines.interrogation.form import BEST, CLASSIC, NEGATIVE
from engines.interrogation.phrase_tables import ranked
from engines.interrogation.phrases import (
    ARTISTS,
    DEFECTS,
    FLAVORS,
    MATERIALS,
    MEDIUMS,
    MERGED,
    MOVEMENTS,
    OWN,
    PHOTOGRAPHY,
    PRODUCTS,
    TAUGHT,
    TAUGHT_DEFECTS,
    TAUGHT_PRODUCTS,
    TRENDINGS,
    phrase_list,
)
from engines.interrogation.phrases import NEGATIVE as NEGATIVES

MIDDLE = 2048  # phrases that a long search begins with
SHOWN = 5  # phrases of each of our lists that an answer names
MORE = 8  # of the package's lists together


@dataclass(frozen=True, slots=True)
class Look:
    """The picture as a vector. Answer: None; all later needs are about this picture."""

    after: int = 2  # steps that are still to come, as far as one knows


@dataclass(frozen=True, slots=True)
class Score:
    """How well every phrase of the run's tables fits. Answer: list name → (phrases,)."""

    after: int = 1


@dataclass(frozen=True, slots=True)
class Texts:
    """How well these texts fit. Answer: (texts,)."""

    texts: tuple[str, ...]
    after: int = 0  # more needs about as large as this one


@dataclass(frozen=True, slots=True)
class Caption:
    """A sentence from BLIP. Answer: str."""

    after: int = 0


Need = Look | Score | Texts | Caption
Fits = Mapping[str, torch.Tensor]


@dataclass(frozen=True, slots=True)
class Said:
    """A phrase of the answer."""

    text: str
    list: str
    score: float


@dataclass(frozen=True, slots=True)
class Answer:
    text: str  # the prompt
    caption: str
    phrases: tuple[Said, ...]


@dataclass(frozen=True, slots=True)
class Sort:
    """Which lists play which part."""

    groups: tuple[str, ...]  # defects, products and what else an answer names for itself
    merged: tuple[str, ...]  # fast and best draw on these
    singles: tuple[tuple[str, str], ...]  # classic: (what stands before it, list)
    flavors: tuple[str, ...]  # classic's last words, and negative's
    most: int  # phrases of a prompt
    least: int  # steps that best makes in any case
    bad: tuple[str, ...] = (NEGATIVES,)  # what negative may say beside
    repeats: bool = False  # whether a prompt may say again what its caption says

    @property
    def lists(self) -> tuple[str, ...]:
        """All tables that a run needs."""
        names = dict.fromkeys((*self.groups, *self.merged, *self.flavors, *self.bad))
        return tuple(name for name in names if phrase_list(name).texts)


_OWN = (DEFECTS, PRODUCTS, MATERIALS, PHOTOGRAPHY)
_SINGLES = ((", ", MEDIUMS), (" ", ARTISTS), (", ", TRENDINGS), (", ", MOVEMENTS))
PACKAGE = Sort(_OWN, MERGED, _SINGLES, (FLAVORS,), 32, 8, repeats=True)
OURS = Sort(_OWN, OWN, ((", ", PHOTOGRAPHY), (", ", MATERIALS)), (DEFECTS,), 6, 2)
LEARNT = Sort((TAUGHT_DEFECTS, TAUGHT_PRODUCTS), TAUGHT, (), TAUGHT, 1, 0, bad=())

Asking = Generator[Need, Any, Answer]
Asked = Generator[Need, Any, str]
Full = Callable[[str], bool]


def asking(mode: str, sort: Sort, full: Full, *, blip: bool = False, caption: str = "") -> Asking:
    """The whole script of a run.

    Args:
        full: whether a text fills CLIP's context.
        blip: the first sentence is BLIP's; else `caption`, else one is put together from our own lists.
    """
    yield Look()
    fits: Fits = yield Score()
    if mode == NEGATIVE:
        text = yield from negative(fits, sort, full)
        return Answer(text, "", _worst(fits, sort, text))
    if blip:
        caption = yield Caption()
    caption = caption or (yield from sentence(fits, sort))
    if mode == CLASSIC:
        text = classic(fits, sort, full, caption)
    elif mode == BEST:
        text = yield from best(fits, sort, full, caption)
    else:
        text = fast(fits, sort, full, caption)
    return Answer(text, caption, _fitting(fits, sort))


def tops(fits: Fits, names: Sequence[str], count: int, *, reverse: bool = False) -> list[Said]:
    """The phrases of these lists taken as one that fit best, best first."""
    fit = torch.cat([fits[name] for name in names])
    ends = list(itertools.accumulate(len(fits[name]) for name in names))
    found = []
    for at in ranked(fit, count, reverse=reverse):
        which = bisect.bisect_right(ends, at)
        name = names[which]
        text = phrase_list(name).texts[at - ends[which] + len(fits[name])]
        found.append(Said(text, name, float(fit[at])))
    return found


def sentence(fits: Fits, sort: Sort) -> Asked:
    """Our own first words: "a photo of a metal nut with a scratch", of the likeliest products and defects."""
    defective, made = sort.groups[:2]
    things, flaws = phrase_list(made).in_sentence, phrase_list(defective).in_sentence
    products = [things[said.text] for said in tops(fits, (made,), 3)]
    defects = [flaws[said.text] for said in tops(fits, (defective,), 4)]
    texts = [f"a photo of {p}{d}" for p in products for d in ("", *(f" with {d}" for d in defects))]
    fit = yield Texts(tuple(texts))
    return texts[int(fit.argmax())]


def fast(fits: Fits, sort: Sort, full: Full, caption: str) -> str:
    """The best phrases after the caption."""
    words = _new(tops(fits, sort.merged, 2 * sort.most), sort, caption)[: sort.most]
    return fitted(", ".join([caption, *words]), full)


def _new(said: Sequence[Said], sort: Sort, caption: str) -> list[str]:
    """The phrases, without what the caption says already."""
    return [one.text for one in said if sort.repeats or one.text not in caption]


def classic(fits: Fits, sort: Sort, full: Full, caption: str) -> str:
    """One phrase of each list in a set order, then three flavours."""
    text = caption
    for before, name in sort.singles:
        if not phrase_list(name).texts:
            continue
        (one,) = tops(fits, (name,), 1)
        if text == caption and caption.startswith(one.text):
            continue
        text += before + one.text
    return fitted(", ".join([text, *_new(tops(fits, sort.flavors, 3), sort, caption)]), full)


def best(fits: Fits, sort: Sort, full: Full, caption: str) -> Asked:
    """The best of caption, classic, fast and a chain of phrases, each the one that helps most."""
    (fit,) = yield Texts((caption,), after=sort.most)
    words = _new(tops(fits, sort.merged, MIDDLE), sort, caption)
    chained = yield from chain(words, full, caption, float(fit), least=sort.least, most=sort.most)
    texts = (caption, classic(fits, sort, full, caption), fast(fits, sort, full, caption), chained)
    return texts[int((yield Texts(texts)).argmax())]


def negative(fits: Fits, sort: Sort, full: Full) -> Asked:
    """A chain of what fits least, for a negative prompt."""
    worst = [said.text for said in tops(fits, sort.flavors, MIDDLE, reverse=True)]
    words = [*worst, *(text for name in sort.bad for text in phrase_list(name).texts)]
    return (yield from chain(words, full, least=sort.least, most=sort.most, reverse=True))


def chain(
    words: Sequence[str],
    full: Full,
    start: str = "",
    fit: float = 0.0,
    *,
    least: int = 8,
    most: int = 32,
    reverse: bool = False,
) -> Asked:
    """Add the phrase that makes the whole fit best, again and again, until that helps no more; the best whole.

    Greedy search of clip-interrogator's `chain`: the first `least` phrases are added in any case. Reversed, the
    whole is to fit as badly as can be; there the library compares its first phrase by the wrong sign and so
    mostly stops at one phrase, which is not done here.
    """
    left, sign = list(dict.fromkeys(words)), -1.0 if reverse else 1.0
    if not start:
        if not left:
            return ""
        fits = sign * (yield Texts(tuple(left), after=most))
        at = int(fits.argmax())
        start, fit = left.pop(at), float(fits[at])
    whole, whole_fit, now, now_fit = start, fit, start, fit
    for step in range(most):
        if not left:
            break
        fits = sign * (yield Texts(tuple(f"{now}, {word}" for word in left), after=most - step - 1))
        at = int(fits.argmax())
        text, text_fit = f"{now}, {left[at]}", float(fits[at])
        if text_fit > whole_fit:
            whole, whole_fit = text, text_fit
        if not (text_fit > now_fit or step < least):
            break
        now, now_fit = text, text_fit
        if full(now):
            break
        del left[at]
    return whole


def fitted(text: str, full: Full) -> str:
    """As many of the phrases as CLIP would read."""
    first, *rest = text.split(", ")
    for part in rest:
        if full(first + part):
            break
        first += f", {part}"
    return first


def _fitting(fits: Fits, sort: Sort) -> tuple[Said, ...]:
    groups = [tops(fits, (name,), SHOWN) for name in sort.groups]
    other = tops(fits, sort.merged, MORE) if sort is PACKAGE else []
    return tuple(said for group in (*groups, other) for said in group)


def _worst(fits: Fits, sort: Sort, text: str) -> tuple[Said, ...]:
    """The chain's own phrases with their scores, then more that do not fit."""
    used = []
    for word in text.split(", "):
        for name in (*sort.flavors, *sort.bad):
            texts = phrase_list(name).texts
            if word in texts:
                used.append(Said(word, name, float(fits[name][texts.index(word)])))
                break
    more = tops(fits, sort.flavors, 2 * MORE, reverse=True)
    return tuple(dict.fromkeys((*used, *more)))[: 2 * MORE]
