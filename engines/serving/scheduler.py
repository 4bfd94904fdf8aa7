"""Who steps next on a device: fair between people, by cost. Pure: no clock, no thread, no torch.

Each person has a virtual counter that grows by the work done for them over their weight (Virtual Token Counter,
arXiv 2401.00588, here over row-steps). The person with the least counter is always served; runs of the same key
ride along in the same step.

Promises (tests/test_scheduler.py):
- While there is a run, somebody steps; whoever is furthest behind is in the next step.
- A newcomer starts level with the person furthest behind, so they are served at once and owe nobody.
- A person's own runs share what the person gets in the same way, so a short job is not stuck behind a long one: with
  k runs of one person, a job of work w is done when the person has got about k · w (processor sharing).
- Who is ahead by more than `lead` rides along only where nobody is left standing for it, and then for nothing.
- Background runs (training) get everything when nobody waits, else at least their `share`; what they got while
  nobody waited counts for it, up to `credit`, so that who asks after a quiet time is not held up at all.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from engines.engine import Run

FRONT, BACK = False, True  # people who wait, and background work


@dataclass(slots=True)
class _Class:
    """One class of runs with its people's counters."""

    spent: float = 0.0  # the class's own counter; grows only while both classes have runs
    runs: list[Run] = field(default_factory=list)  # in the order they joined
    own: dict[int, float] = field(
        default_factory=dict
    )  # id(run) → its counter beside its person's other runs
    counters: dict[str, float] = field(default_factory=dict)  # of people with runs, and those who just left
    served: dict[str, int] = field(default_factory=dict)  # the tick a person was last served in

    def least(self) -> float:
        """The counter of the person furthest behind among those with runs."""
        return min((self.counters[run.work.person] for run in self.runs), default=0.0)


class Scheduler:
    """Who steps next.

    Args:
        rows: rows of one step at most; a single larger run still steps, alone.
        lead: how far (in row-steps) a person may ride ahead of the one furthest behind while others wait.
        share: the least part of the device that background runs get, 0 ≤ share < 1.
        limit: rows of one step that a run is in, where they are fewer.
        credit: row-steps of people at most for which background runs wait, having had the device to themselves.
    """

    def __init__(
        self,
        rows: int = 16,
        lead: float | None = None,
        share: float = 0.1,
        limit: Callable[[Run], int] | None = None,
        credit: float = 0.0,
    ) -> None:
        if not 0 <= share < 1 or rows < 1:
            raise ValueError("rows must be at least 1, and share in [0, 1)")
        self.rows = rows
        self._lead = lead
        self._share = share
        self._credit = credit
        self._limit = limit or (lambda run: rows)
        self._classes = {FRONT: _Class(), BACK: _Class()}
        self._tick = 0

    @property
    def runs(self) -> list[Run]:
        """Everything that has joined and not left."""
        return [*self._classes[FRONT].runs, *self._classes[BACK].runs]

    @property
    def people(self) -> set[str]:
        """Who has a run here that is not in the background."""
        return {run.work.person for run in self._classes[FRONT].runs}

    def join(self, run: Run) -> None:
        """A run wants steps. Its person starts level with the one furthest behind, if they were not here."""
        own = self._classes[run.background]
        if not own.runs:
            own.counters.clear()  # all were gone: old debts mean nothing
            own.served.clear()
        person, least = run.work.person, own.least()
        if not any(mate.work.person == person for mate in own.runs):
            own.counters[person] = max(own.counters.get(person, least), least)
        own.own[id(run)] = min((own.own[id(m)] for m in own.runs if m.work.person == person), default=0.0)
        own.runs.append(run)
        self._forget(own)

    def leave(self, run: Run) -> None:
        """The run is over, or goes elsewhere. `ValueError` where it never joined."""
        own = self._classes[run.background]
        del own.runs[next(at for at, mate in enumerate(own.runs) if mate is run)]
        del own.own[id(run)]

    def choose(self) -> list[Run]:
        """The runs of the next step: of one key, within `rows`; empty only when there are none. Charges them."""
        front, back = self._classes[FRONT], self._classes[BACK]
        if not (front.runs or back.runs):
            return []
        self._tick += 1
        background = bool(back.runs) and (not front.runs or (self._share > 0 and back.spent < front.spent))
        chosen = self._batch(self._classes[background])
        part = self._share if background else 1 - self._share
        if part > 0 and front.runs and back.runs:
            self._classes[background].spent += sum(map(cost, chosen)) / part
        elif part > 0 and background:
            earned = back.spent + sum(map(cost, chosen)) / part
            back.spent = max(back.spent, min(earned, front.spent + self._credit))
        return chosen

    def _batch(self, own: _Class) -> list[Run]:
        """Fill one step: the person furthest behind first, then whoever is behind among equal keys."""
        floor = own.least()
        lead = self.rows if self._lead is None else self._lead
        chosen = [min(own.runs, key=lambda run: self._place(own, run))]
        self._charge(own, chosen[0])
        key = chosen[0].key
        room = min(self.rows, self._limit(chosen[0])) - chosen[0].rows
        waiting = [run for run in own.runs if run.key == key and run is not chosen[0]]
        while waiting := [run for run in waiting if run.rows <= room]:
            mate = min(waiting, key=lambda run: self._place(own, run))
            if own.counters[mate.work.person] <= floor + lead:
                self._charge(own, mate)
            elif self._someone_stands(own, chosen, mate):
                break
            chosen.append(mate)
            waiting.remove(mate)
            room -= mate.rows
        for run in chosen:
            own.served[run.work.person] = self._tick
            own.own[id(run)] += cost(run)
        return chosen

    def _place(self, own: _Class, run: Run) -> tuple[float, int, float]:
        """Least counter first, then whoever was served longest ago, then a person's own runs in the same manner.

        At last (min is stable) who joined first.
        """
        person = run.work.person
        return own.counters[person], own.served.get(person, -1), own.own[id(run)]

    def _charge(self, own: _Class, run: Run) -> None:
        own.counters[run.work.person] += cost(run) / run.work.weight

    def _someone_stands(self, own: _Class, chosen: list[Run], mate: Run) -> bool:
        """Whether somebody who is less far ahead than `mate`'s person has no run in this step."""
        seated = {run.work.person for run in chosen}
        ahead = own.counters[mate.work.person]
        return any(own.counters[run.work.person] < ahead for run in own.runs if run.work.person not in seated)

    def _forget(self, own: _Class) -> None:
        """Counters of people who left and are not ahead: joining anew gives them the same."""
        here, least = {run.work.person for run in own.runs}, own.least()
        for person in [p for p, spent in own.counters.items() if p not in here and spent <= least]:
            own.counters.pop(person)
            own.served.pop(person, None)

    def snapshot(self) -> dict[str, Any]:
        """For people who look: each person's counter, and the two classes'."""
        return {
            "people": dict(self._classes[FRONT].counters),
            "front": self._classes[FRONT].spent,
            "background": self._classes[BACK].spent,
        }


def cost(run: Run) -> float:
    """The work of one step of this run, in row-steps."""
    return run.cost or float(run.rows)
