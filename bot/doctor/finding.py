"""One thing that the doctor found."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from engines.words import Words

Level = Literal["ok", "warning", "error"]


@dataclass(frozen=True, slots=True)
class Finding:
    """What was found, and what to do about it where something is to be done."""

    level: Level
    what: Words
    mend: Words | None = None

    @property
    def words(self) -> Words:
        return self.what + self.mend if self.mend else self.what
