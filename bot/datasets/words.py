"""Prompts made from the names of folders: `metal_nut` and `scratch` → “a photo of a metal nut with a scratch”."""

from __future__ import annotations

import re

# How a thing is rather than what it has: these stand before the product's name.
_STATES = frozenset(
    [
        "bent",
        "broken",
        "cracked",
        "damaged",
        "defective",
        "dented",
        "deformed",
        "dirty",
        "faulty",
        "flipped",
        "folded",
        "misplaced",
        "rough",
        "scratched",
        "squeezed",
        "stained",
        "torn",
        "twisted",
        "worn",
    ]
)
_SIZES = frozenset(["large", "small", "big", "tiny"])
# What cannot be counted goes without an article, as plurals do.
_MASSES = frozenset(
    [
        "contamination",
        "corrosion",
        "damage",
        "discoloration",
        "dust",
        "fabric",
        "glass",
        "glue",
        "grass",
        "leather",
        "liquid",
        "metal",
        "oil",
        "paper",
        "rubber",
        "rust",
        "wear",
        "wood",
    ]
)
_SINGULAR = frozenset(["canvas", "chassis", "gas", "glass", "lens"])  # for all their last letter
_READINGS = {"color": "discoloration", "colour": "discoloration", "flip": "flipped", "combined": "damaged"}


def plain(name: str) -> str:
    """A folder's name as words: `broken_large` → “broken large”, `metalNut` → “metal nut”."""
    parted = re.sub(r"(?<=[a-z])(?=[A-Z])", " ", name)
    return re.sub(r"[_\-\s.]+", " ", parted).strip().lower()


def class_prompt(product: str) -> str:
    """The prompt of the product without the defect."""
    thing = plain(product)
    return f"a photo of {_counted(thing)}" if thing else "a photo"


def instance_prompt(product: str, defect: str) -> str:
    """The prompt of the product with the defect."""
    thing, flaw = plain(product), _READINGS.get(plain(defect), plain(defect))
    if not flaw:
        return class_prompt(product)
    if not thing:
        return f"a photo of {_counted(flaw)}"
    state, _, size = flaw.partition(" ")
    if state in _STATES and not size:
        return f"a photo of {_counted(f'{flaw} {thing}')}"
    if state in _STATES and size in _SIZES:
        flaw = f"{size} {state} area"
    return f"a photo of {_counted(thing)} with {_counted(flaw)}"


def _counted(words: str) -> str:
    """With its article: “a nut”, “an edge”, but “contamination”, “broken teeth”, and Korean as it is."""
    last = words.rpartition(" ")[2]
    plural = last in ("teeth", "feet") or (last.endswith("s") and not last.endswith("ss"))
    if not words.isascii() or last in _MASSES or (plural and last not in _SINGULAR):
        return words
    return f"{'an' if words[0] in 'aeiou' else 'a'} {words}"
