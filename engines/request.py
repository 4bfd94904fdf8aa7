"""What every request to a device is: a form that knows its cost and its pictures."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Self

from engines.forms import Form, Param, param
from engines.words import Words

SEEDS = 2**32  # seeds are 32-bit


@dataclass(frozen=True, slots=True)
class Item:
    """One of many pictures under one request: the name a person knows it by, and stored files."""

    name: str
    image: str
    mask: str = ""


@dataclass(frozen=True, slots=True)
class Part:
    """One piece of a request that falls into several; `name` is what a person calls it."""

    name: str
    request: Request


@dataclass(frozen=True, kw_only=True)
class Request(Form):
    """Device work: a form that knows its cost and which of its fields are pictures."""

    preset: str = param(
        "text",
        Words("A preset of yours to start from; none = without", "바탕으로 쓸 내 프리셋, none은 쓰지 않음"),
        Words("preset", "프리셋"),
        "",
        high=100,
        advanced=True,
    )  # empty once its options are filled in
    items: tuple[Item, ...] = ()  # many pictures at once; the picture fields then show the first of them

    @classmethod
    def params(cls) -> dict[str, Param]:
        known = super().params()
        return {**{n: p for n, p in known.items() if n != "preset"}, "preset": known["preset"]}  # the last

    @property
    def parts(self) -> tuple[Part, ...]:
        """The pieces that are run each for itself, all with the same seed; none where it is one piece."""
        return tuple(Part(item.name, self._alone(item)) for item in self.items)

    def _alone(self, item: Item) -> Self:
        """The same for one of the pictures."""
        kinds = {p.kind: name for name, p in reversed(self.params().items())}
        given: dict[str, Any] = {
            kinds[kind]: getattr(item, said) for kind, said in _ITEM.items() if kind in kinds
        }
        return dataclasses.replace(self, items=(), **given)

    def to_json(self) -> dict[str, Any]:
        data = super().to_json()
        for empty in ("items", "preset"):
            if not data[empty]:
                del data[empty]
        return data

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Self:
        items = tuple(Item(**item) for item in data.get("items") or ())
        return dataclasses.replace(super().from_json({**data, "items": ()}), items=items)

    @property
    def total_cost(self) -> float:
        """The `cost` of all parts together."""
        return sum(part.request.cost for part in self.parts) or self.cost

    @property
    def model_kind(self) -> str:
        """What its model must be able to do: a kind of the catalogue."""
        return self.name

    def settled(self, seed: int) -> Self:
        """The request with nothing left to chance: a seed of −1 becomes `seed`. Stored like this."""
        if getattr(self, "seed", None) == -1:
            changed: dict[str, Any] = {"seed": seed}
            return dataclasses.replace(self, **changed)
        return self

    @property
    def cost(self) -> float:
        """Expected work in row-steps (one picture through the UNet once is 1) of one piece, for fair shares."""
        return 1.0

    @property
    def blobs(self) -> tuple[str, ...]:
        """Names of the stored files this request reads, its parts' too."""
        kinds = ("picture", "mask")
        own = [v for n, p in self.params().items() if p.kind in kinds and (v := getattr(self, n))]
        return tuple(dict.fromkeys([*own, *(blob for part in self.parts for blob in part.request.blobs)]))


_ITEM = {"picture": "image", "mask": "mask"}  # kind of field → what an item has for it
