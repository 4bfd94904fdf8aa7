"""What a training would learn from, looked at on the device before it is promised. Importing this loads no torch."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, ClassVar

from engines.request import Request
from engines.training.request import Train
from engines.words import Words

EACH = 4  # pictures of a concept that are looked at


@dataclass(frozen=True, kw_only=True)
class Review(Request):
    """A draft of a training: nobody asks for this by name."""

    name: ClassVar[str] = "review"
    title: ClassVar[Words] = Words("Review", "검토")
    about: ClassVar[Words] = Words("Looks at the data of a training", "학습할 데이터를 미리 살펴봅니다")

    draft: int = 0
    sheet: str = ""  # blob: the contact sheet, which becomes part of the answer
    step_seconds: float = 0.0  # that trainings like it took lately; 0 = nobody knows, so a step is timed
    train: dict[str, Any] = field(default_factory=dict)  # the training as JSON

    @property
    def asked(self) -> Train:
        return Train.from_json(self.train)

    @property
    def shots(self) -> tuple[tuple[str, str, str], ...]:
        """(concept, image, mask) of the pictures that are looked at: the first few of each that have a mask."""
        found = []
        for concept in self.asked.concepts:
            masked = [one for one in concept["images"] if one.get("mask")]
            found += [(str(concept["name"]), one["image"], one["mask"]) for one in masked[:EACH]]
        return tuple(found)

    @property
    def cost(self) -> float:
        return 2.0 * (len(self.shots) + 1)

    @property
    def blobs(self) -> tuple[str, ...]:
        looked = (blob for _, image, mask in self.shots for blob in (image, mask))
        return tuple(dict.fromkeys([self.sheet, *looked] if self.sheet else looked))
