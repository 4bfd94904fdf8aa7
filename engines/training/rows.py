"""What a sample becomes: the rows it sends through the UNet and how each counts in the loss. Pure."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from engines.training import chance
from engines.training.concepts import Concept, Sample
from engines.training.request import DEFECT, NORMAL, Train
from engines.training.views import Hole

Part = Literal["instance", "defect", "object", "prior"]
LOOKS = "looks"  # beside the parts: the cross-attention term
LINKS = frozenset(("a", "an", "the", "with", "and", "of", "on", "in"))


@dataclass(frozen=True, slots=True)
class Ask:
    """Which picture, seen how: the key under which its latents are kept."""

    concept: int
    source: Literal["shot", "prior"]
    index: int
    variant: int
    hole: Hole  # "" where the model takes no mask


@dataclass(frozen=True, slots=True)
class Row:
    """One row of a UNet call."""

    ask: Ask
    part: Part
    prompt: str
    shaken: bool  # whether the prompt's embedding gets noise
    name: tuple[str, int, str]  # what its randomness is drawn for: ("row", sample, tag)
    defect: str = ""  # the prompt's words that are to look at the defect, where that is learnt


def of(sample: Sample, request: Train, concepts: Sequence[Concept]) -> list[Row]:
    """The rows of one sample, the same whatever else is in the batch."""
    concept = concepts[sample.concept]
    rows = [
        _row(request, concept, sample, part, tag, hole)
        for part, tag, hole in _passes(request, sample)
        if part != "object" or request.object_weight > 0
    ]
    return rows + [_beside(request, concept, sample, i, which) for i, which in enumerate(sample.prior)]


def _passes(request: Train, sample: Sample) -> list[tuple[Part, str, Hole]]:
    if request.mode == NORMAL:
        return [("instance", "instance", "")]
    full = chance.unit(request.seed, "full", sample.number) < request.full_masks
    if request.mode == DEFECT:
        return [("defect", "defect", "full" if full else "real"), ("object", "object", "random")]
    return [("instance", "instance", "full" if full else "random")]


def _row(request: Train, concept: Concept, sample: Sample, part: Part, tag: str, hole: Hole) -> Row:
    defect = request.mode == DEFECT
    silent = defect and chance.unit(request.seed, "empty", sample.number, tag) < request.empty_prompts
    looks = (
        part == "defect" and not silent and request.attention_weight > 0 and concept.shots[sample.shot].mask
    )
    return Row(
        Ask(concept.index, "shot", sample.shot, sample.variant, hole),
        part,
        "" if silent else concept.prompt,
        defect and not silent and request.prompt_noise > 0,
        ("row", sample.number, tag),
        only_of_the_defect(concept.prompt, concept.class_prompt) if looks else "",
    )


def only_of_the_defect(prompt: str, class_prompt: str) -> str:
    """The prompt's words that the class's own has not; "" where there are none, or no class's."""
    known = {word.casefold() for word in class_prompt.split()} | LINKS
    return " ".join(word for word in prompt.split() if word.casefold() not in known) if class_prompt else ""


def _beside(request: Train, concept: Concept, sample: Sample, place: int, which: int) -> Row:
    tag = f"prior{place}"
    hole: Hole = "random"
    if request.mode == NORMAL:
        hole = ""
    elif chance.unit(request.seed, "full", sample.number, tag) < request.full_masks:
        hole = "full"
    ask = Ask(concept.index, "prior", which, sample.variant, hole)
    return Row(ask, "prior", concept.class_prompt, False, ("row", sample.number, tag))


def coefficients(request: Train) -> Mapping[Part, float]:
    """How much the mean loss of each part counts."""
    return {
        "instance": 1.0,
        "defect": request.defect_weight,
        "object": request.object_weight,
        "prior": request.prior_weight,
    }


def shares(request: Train, drawn: Sequence[Row]) -> dict[str, float]:
    """How much one row of each part counts in a step of the rows `drawn`: a part's loss is the mean over its rows.

    So does the look of the rows whose prompt names the defect.
    """
    counts = Counter(row.part for row in drawn)
    found: dict[str, float] = {
        part: share / counts[part] for part, share in coefficients(request).items() if counts[part]
    }
    if looking := sum(bool(row.defect) for row in drawn):
        found[LOOKS] = request.attention_weight / looking
    return found


def by_concept(told: Sequence[tuple[Row, float]]) -> dict[int, float]:
    """Each concept's mean loss over its own rows; prior rows are not the concept's."""
    own: dict[int, list[float]] = {}
    for row, loss in told:
        if row.part in ("instance", "defect"):
            own.setdefault(row.ask.concept, []).append(loss)
    return {concept: sum(all) / len(all) for concept, all in sorted(own.items())}
