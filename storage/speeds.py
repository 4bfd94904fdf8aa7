"""How fast devices are, learnt from the jobs that ended well: seconds of a device for row-steps, by kind of work."""

from __future__ import annotations

import sqlite3
from dataclasses import dataclass

KEPT = 0.8  # of what was known before; the rest is the newest job's say

LEARN = f"""
INSERT INTO speeds (device, command, model, size, row_steps, seconds)
VALUES (:device, :command, :model, :size, :row_steps, :seconds)
ON CONFLICT DO UPDATE SET row_steps = row_steps * {KEPT} + excluded.row_steps,
                          seconds = seconds * {KEPT} + excluded.seconds
"""
ALL = "SELECT device, command, model, size, row_steps, seconds FROM speeds"


@dataclass(frozen=True, slots=True)
class Speed:
    """What a kind of work took on a kind of device."""

    device: str
    command: str
    model: str
    size: str  # WxH, "" = the model's own
    row_steps: float
    seconds: float  # of a device


def learn(db: sqlite3.Connection, speed: Speed) -> None:
    """Part of the transaction that ends a job well."""
    if speed.row_steps > 0 and speed.seconds > 0:
        db.execute(LEARN, {name: getattr(speed, name) for name in speed.__slots__})
