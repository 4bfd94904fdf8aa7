"""Model affinity: warm models first, nobody passed over for ever, and a line stays a line within one model."""

from __future__ import annotations

from collections import deque
from pathlib import Path
from typing import Any

from hypothesis import given
from hypothesis import strategies as st
from toy_engine import Count, Toy

from engines.engine import Work
from engines.serving.affinity import choose, next_of
from engines.serving.tickets import Ticket

# each job's model, and how many arrive before each beginning
lives = st.lists(st.tuples(st.sampled_from("abc"), st.integers(0, 3)), min_size=1, max_size=60)


class Shelf(Toy):
    """A device with room for one model, which is that of the work begun last."""

    model = ""

    def prefetch(self, work: Work, wanted: Any) -> None:
        raise MemoryError

    def ready(self, work: Work) -> bool:
        return _model(work) == self.model


def _model(work: Work) -> str:
    assert isinstance(work.request, Count)
    return work.request.group


def ticket(number: int, model: str, shelf: Toy, person: str = "anna") -> Ticket:
    made = Ticket(Work(number, person, Count(group=model), Path()), stream=Any, gone=lambda: None)  # type: ignore[arg-type]
    made.engine = shelf
    return made


@given(life=lives, bound=st.integers(0, 5))
def test_nobody_is_passed_over_more_often_than_the_bound(life: list[tuple[str, int]], bound: int) -> None:
    shelf = Shelf()
    arriving = deque(ticket(number, model, shelf) for number, (model, _) in enumerate(life))
    line: deque[Ticket] = deque()
    began: list[Ticket] = []
    for _, arrivals in [*life, *(("", len(life)) for _ in life)]:
        line.extend(arriving.popleft() for _ in range(min(arrivals, len(arriving))))
        if line:
            began.append(next_of(line, bound=bound))
            shelf.model = _model(began[-1].work)
    assert sorted(t.work.id for t in began) == list(range(len(life))), "each begins, once"
    order = [t.work.id for t in began]
    for at, number in enumerate(order):
        assert sum(later > number for later in order[:at]) <= bound
    for model in "abc":
        mine = [t.work.id for t in began if _model(t.work) == model]
        assert mine == sorted(mine), "within one model it is a line"
    if bound == 0:
        assert order == sorted(order)


def test_who_has_nothing_on_the_device_begins_before_a_hogs_next() -> None:
    shelf = Shelf()
    shelf.model = "a"
    line = deque(ticket(number, "a", shelf, "hog") for number in range(8))
    line.append(ticket(8, "b", shelf, "new"))
    line.append(ticket(9, "b", shelf, "new"))
    order = [next_of(line, at_work={"hog"}).work.id, next_of(line, at_work={"hog", "new"}).work.id]
    assert order == [8, 0], "a newcomer, cold or not; their second work is in line again"


@given(st.lists(st.sampled_from("hkn"), min_size=1, max_size=40), st.integers(0, 5))
def test_newcomers_pass_nobody_over_too_often(people: list[str], bound: int) -> None:
    shelf, at_work = Shelf(), list[str]()
    line = deque(ticket(number, "a", shelf, person) for number, person in enumerate(people))
    order = []
    while line:
        order.append(next_of(line, at_work, bound))
        at_work = [*at_work, order[-1].work.person][-2:]  # two seats
    ids = [one.work.id for one in order]
    assert all(sum(later > number for later in ids[:at]) <= bound for at, number in enumerate(ids))
    for person in "hkn":
        mine = [one.work.id for one in order if one.work.person == person]
        assert mine == sorted(mine)


@given(st.lists(st.tuples(st.booleans(), st.integers(0, 5)), min_size=1), st.integers(0, 5))
def test_the_chosen_one_is_first_or_warm(line: list[tuple[bool, int]], bound: int) -> None:
    ready, passed = [warm for warm, _ in line], [count for _, count in line]
    at = choose(ready, passed, bound)
    assert at == 0 or (ready[at] and all(count < bound for count in passed[:at]))
    if ready[0]:
        assert at == 0


def test_taking_turns_becomes_a_few_switches() -> None:
    shelf, switches = Shelf(), 0
    line = deque(ticket(number, "ab"[number % 2], shelf) for number in range(16))
    while line:
        model = _model(next_of(line).work)
        switches += model != shelf.model
        shelf.model = model
    assert switches <= 6, "16 in the order they came"


def test_engines_that_cannot_tell_keep_their_line() -> None:
    shelf = Shelf()
    line = deque([ticket(0, "a", shelf), ticket(1, "b", Toy())])
    assert next_of(line).work.id == 1, "it needs no model, so it costs nobody a switch"
    plain = deque(ticket(number, "a", Toy()) for number in range(3))
    assert [next_of(plain).work.id for _ in range(3)] == [0, 1, 2]
