"""What people type about a product and its defect: many wordings of the same thing, English and some Korean."""

from __future__ import annotations

import numpy as np

WORDS: dict[str, tuple[str, ...]] = {
    "metal plate": (
        "metal plate",
        "metal plate",
        "metal plate",
        "steel plate",
        "metal sheet",
        "brushed metal",
        "금속판",
    ),
    "wood": ("wood", "wood", "wood", "wooden board", "wooden surface", "나무"),
    "leather": ("leather", "leather", "leather", "leather surface", "piece of leather", "가죽"),
    "tile": ("tile", "tile", "tile", "ceramic tile", "tiles", "타일"),
    "carpet": ("carpet", "carpet", "carpet", "woven carpet", "rug", "카펫"),
    "wire grid": ("wire grid", "wire grid", "wire grid", "wire mesh", "metal grid", "grid", "철망"),
    "bottle": ("bottle", "bottle", "bottle", "bottle mouth", "glass bottle", "병"),
    "metal nut": ("metal nut", "metal nut", "metal nut", "nut", "hex nut", "steel nut", "금속 너트", "너트"),
    "pill": ("pill", "pill", "pill", "tablet", "capsule", "알약"),
}
MASS = frozenset({"wood", "leather", "brushed metal", "tiles"})

DEFECT_WORDS: dict[str, tuple[str, ...]] = {
    "scratch": ("scratch", "scratch", "scratch", "scratch", "스크래치"),
    "crack": ("crack", "crack", "crack", "crack", "fracture", "균열"),
    "dent": ("dent", "dent", "dent", "dent", "찍힘"),
    "stain": ("stain", "stain", "stain", "stain", "blotch", "얼룩"),
    "hole": ("hole", "hole", "hole", "hole", "구멍"),
}
ADJECTIVES: dict[str, str] = {
    "scratch": "scratched", "crack": "cracked", "dent": "dented", "stain": "stained", "hole": "punctured",
}  # fmt: skip

_DAMAGED = (
    "a photo of {a_p} with a {d}", "a photo of {a_p} with a {d}", "a photo of {a_adj_p}", "a photo of {a_adj_p}",
    "{a_p} with a {d}", "a {d} on {a_p}", "a photo of a {d} on {a_p}", "{p}, {d}", "{p} with a {d}", "{adj} {p}",
    "{p} {d}", "close-up photo of {a_p} with a {d}",
)  # fmt: skip
_GOOD = (
    "a photo of {a_p}", "a photo of {a_p}", "a photo of {a_good_p}", "{a_p}", "{p}", "good {p}",
    "{a_p} without defects", "close-up photo of {a_p}", "a photo of {a_clean_p}",
)  # fmt: skip
LOCAL = ("a {d}", "{d}", "a photo of a {d}")
"""For inpainting alone: the picture already says what the product is."""


def article(words: str) -> str:
    """The words with "a" before them, or as they are if they are a mass noun."""
    if words in MASS or not words.isascii() or words.split(" ", 1)[-1] in MASS:
        return words
    return f"a {words}"


def simple(product: str, defect: str | None = None) -> str:
    """The plain caption that measurements use: "a photo of a metal nut with a scratch"."""
    tail = "" if defect is None else f" with a {defect}"
    return f"a photo of {article(product)}{tail}"


def caption(rng: np.random.Generator, product: str, defect: str | None, local: bool = False) -> str:
    """One random wording; `local` lets it name the defect alone, as people do when they inpaint."""
    p = _pick(rng, WORDS.get(product, (product,)))
    if defect is None:
        form = _pick(rng, _GOOD)
        return form.format(
            p=p, a_p=article(p), a_good_p=article(f"good {p}"), a_clean_p=article(f"clean {p}")
        )
    d = _pick(rng, DEFECT_WORDS.get(defect, (defect,)))
    form = _pick(rng, LOCAL) if local and rng.random() < 0.2 else _pick(rng, _DAMAGED)
    adjective = ADJECTIVES.get(defect, defect)
    return form.format(p=p, d=d, adj=adjective, a_p=article(p), a_adj_p=article(f"{adjective} {p}"))


def _pick(rng: np.random.Generator, words: tuple[str, ...]) -> str:
    return words[int(rng.integers(len(words)))]
