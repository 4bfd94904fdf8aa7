"""Who steps next: nobody starves, nobody idles, everybody gets their share."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule
from toy_engine import Count

from engines.engine import Run, Work
from engines.serving.scheduler import Scheduler, cost

ROWS = 8


def a_run(
    person: str = "kim", *, key: str = "a", rows: int = 1, weight: float = 1.0, background: bool = False,
    step_cost: float = 0.0, total: int = 10**9,
) -> Run:  # fmt: skip
    work = Work(0, person, Count(), Path(), weight=weight)
    return Run(work, total, key, rows, cost=step_cost, background=background)


def serve(scheduler: Scheduler, ticks: int) -> Counter[str]:
    """Step so many times; who got how much."""
    got: Counter[str] = Counter()
    for _ in range(ticks):
        for run in scheduler.choose():
            run.done += 1
            got[run.work.person] += int(cost(run))
            if run.finished:
                scheduler.leave(run)
    return got


def joined(scheduler: Scheduler, *runs: Run) -> Scheduler:
    for run in runs:
        scheduler.join(run)
    return scheduler


def jain(shares: list[float]) -> float:
    """1 = all alike, 1/n = one has it all (Jain, Chiu, Hawe 1984)."""
    return sum(shares) ** 2 / (len(shares) * sum(share**2 for share in shares))


def test_nobody_steps_when_nobody_is_there() -> None:
    assert Scheduler().choose() == []


def test_people_are_those_who_wait_for_their_runs() -> None:
    scheduler = joined(Scheduler(), a_run("kim"), a_run("kim"), a_run("lee", background=True))
    assert scheduler.people == {"kim"}


def test_runs_of_one_key_step_together_and_others_do_not() -> None:
    a, b, c = a_run("kim", key="x"), a_run("lee", key="x"), a_run("park", key="y")
    scheduler = joined(Scheduler(ROWS), a, b, c)
    assert scheduler.choose() == [a, b]
    assert scheduler.choose() == [c]


def test_a_run_larger_than_a_step_steps_alone() -> None:
    large, small = a_run("kim", rows=ROWS + 5), a_run("lee")
    scheduler = joined(Scheduler(ROWS), large, small)
    assert [scheduler.choose(), scheduler.choose()] == [[large], [small]]


def test_a_hog_with_many_jobs_gets_no_more_than_a_person_with_many_jobs() -> None:
    hog = [a_run("hog", key=f"h{i}", rows=4) for i in range(20)]
    light = [a_run("kim", key=f"k{i}", rows=2) for i in range(2)]
    got = serve(joined(Scheduler(ROWS), *hog, *light), 600)
    assert jain([got["hog"], got["kim"]]) > 0.99


def test_a_person_with_one_job_beside_a_hog_is_in_every_step() -> None:
    one = a_run("kim")
    scheduler = joined(Scheduler(ROWS), *(a_run("hog") for _ in range(30)), one)
    for _ in range(50):
        chosen = scheduler.choose()
        assert one in chosen
        assert len(chosen) == ROWS, "free seats are used"


def test_a_newcomer_is_served_in_the_next_step_and_owes_nothing() -> None:
    scheduler = joined(Scheduler(ROWS), a_run("kim", key="a"), a_run("lee", key="b"))
    serve(scheduler, 1001)
    new = a_run("park", key="c")
    scheduler.join(new)
    assert scheduler.choose() == [new]
    got = serve(scheduler, 300)
    assert max(got.values()) - min(got.values()) <= 1


def test_going_away_and_coming_back_is_no_way_to_jump_the_line() -> None:
    scheduler = joined(Scheduler(ROWS), *(a_run(p, key=p) for p in ("kim", "lee")))
    got: Counter[str] = Counter()
    trick = a_run("fox", key="fox", total=1)
    scheduler.join(trick)
    for _ in range(300):
        for run in scheduler.choose():
            got[run.work.person] += 1
            if run is trick:
                scheduler.leave(trick)
                scheduler.join(trick)
    assert got["fox"] <= 102


@settings(max_examples=50, deadline=None)
@given(
    st.lists(st.tuples(st.integers(1, 8), st.integers(20, 400)), min_size=1, max_size=5),
    st.integers(1, 8),
    st.integers(1, 15),
    st.booleans(),
)
def test_a_short_job_is_not_stuck_behind_ones_own_long_ones(
    long: list[tuple[int, int]], rows: int, steps: int, others: bool
) -> None:
    """With k runs of one person, work w is done when the person has got k · w and a step of each."""
    scheduler = Scheduler(ROWS)
    for number, (size, total) in enumerate(long):
        scheduler.join(a_run("kim", key=f"long{number}", rows=size, total=total))
    if others:
        scheduler.join(a_run("lee", key="lee", rows=3))
    serve(scheduler, 50)
    short = a_run("kim", key="short", rows=rows, total=steps)
    scheduler.join(short)
    got = 0
    while not short.finished:
        got += serve(scheduler, 1)["kim"]
        assert got <= (len(long) + 1) * (rows * steps + 2 * ROWS)


def test_a_step_of_a_key_is_as_large_as_its_limit() -> None:
    limits = {"a": 3, "b": 100}
    scheduler = Scheduler(ROWS, limit=lambda run: limits[str(run.key)])
    for key in "ab":
        joined(scheduler, *(a_run(f"{key}{n}", key=key) for n in range(2 * ROWS)))
    sizes = {(chosen[0].key, len(chosen)) for chosen in (scheduler.choose() for _ in range(50))}
    assert sizes == {("a", 3), ("b", ROWS)}


def test_weights_share_the_device_by_weight() -> None:
    got = serve(joined(Scheduler(ROWS), a_run("vip", key="a", weight=3.0), a_run("kim", key="b")), 400)
    assert got["vip"] == pytest.approx(3 * got["kim"], rel=0.02)


def test_dear_steps_count_for_more() -> None:
    got = serve(joined(Scheduler(ROWS), a_run("kim", key="a", step_cost=10), a_run("lee", key="b")), 1100)
    assert got["kim"] == pytest.approx(got["lee"], rel=0.05)


def test_riding_along_is_no_way_around_fairness() -> None:
    """Lee's large run shares a key with Kim's, Park's does not: Lee may not ride whenever Kim is served."""
    runs = a_run("kim", key="x", rows=2), a_run("lee", key="x", rows=6), a_run("park", key="y", rows=2)
    got = serve(joined(Scheduler(ROWS), *runs), 2000)
    assert jain([float(n) for n in got.values()]) > 0.99


def test_who_rode_on_free_seats_does_not_pay_for_it_later() -> None:
    light, heavy = a_run("kim", rows=1), a_run("hog", rows=7)
    scheduler = joined(Scheduler(ROWS), light, heavy)
    assert serve(scheduler, 500)["hog"] == 7 * 500
    scheduler.leave(light)
    scheduler.join(a_run("lee", key="other", rows=7))
    got = serve(scheduler, 20)
    assert got["hog"] >= 7 * 8


def test_training_gets_all_when_alone_and_its_share_when_not() -> None:
    scheduler = joined(Scheduler(ROWS, share=0.1), a_run("kim", background=True, key="t", step_cost=6))
    assert serve(scheduler, 50) == {"kim": 300}
    scheduler.join(a_run("lee", key="a", rows=2))
    got = serve(scheduler, 2000)
    assert got["kim"] / got.total() == pytest.approx(0.1, abs=0.01)


def test_training_that_had_the_device_to_itself_waits_for_people_at_first() -> None:
    training = a_run("kim", background=True, key="t", step_cost=6)
    scheduler = joined(Scheduler(ROWS, share=0.1, credit=200), training)
    serve(scheduler, 50)
    scheduler.join(a_run("lee", key="a", rows=2))
    first = serve(scheduler, 85)
    assert first == {"lee": 170}  # 200 of the class's counter are 180 row-steps of people
    assert serve(scheduler, 2000)["kim"] / 4000 == pytest.approx(0.1, abs=0.02)


def test_credit_is_earned_again_only_by_quiet_time() -> None:
    training = a_run("kim", background=True, key="t", step_cost=6)
    scheduler = joined(
        Scheduler(ROWS, share=0.1, credit=200), training, busy := a_run("lee", key="a", rows=2)
    )
    got = serve(scheduler, 2000)
    assert got["kim"] / got.total() == pytest.approx(0.1, abs=0.01)
    scheduler.leave(busy)
    serve(scheduler, 4)
    scheduler.join(a_run("lee", key="a", rows=2))
    assert serve(scheduler, 80) == {"lee": 160}


def test_people_who_come_and_go_do_not_let_training_in_early() -> None:
    scheduler = joined(Scheduler(ROWS, share=0.1), a_run("kim", background=True, key="t", step_cost=6))
    got: Counter[str] = Counter()
    for _ in range(100):
        scheduler.join(a_run("lee", key="a", total=3))
        got += serve(scheduler, 4)
    # a hundred ticks nobody else wanted, and a tenth of the other three hundred
    assert got["kim"] <= 6 * (100 + 10)


def test_no_share_means_training_waits_for_ever() -> None:
    scheduler = joined(Scheduler(ROWS, share=0.0), a_run("kim", background=True), a_run("lee", key="b"))
    assert serve(scheduler, 100) == {"lee": 100}


class Office(RuleBasedStateMachine):
    """People with runs of all sorts coming and going."""

    @initialize(rows=st.integers(1, 12), share=st.sampled_from([0.0, 0.1, 0.5]))
    def open(self, rows: int, share: float) -> None:
        self.scheduler = Scheduler(rows, share=share)
        self.share = share
        self.runs: list[Run] = []
        self.waited: dict[str, float] = {}  # person → work done for others since their last step

    @rule(
        person=st.sampled_from("abcde"), key=st.sampled_from("xyz"), rows=st.integers(1, 16),
        cost=st.sampled_from([0.0, 0.5, 20.0]), background=st.booleans(),
    )  # fmt: skip
    def join(self, person: str, key: str, rows: int, cost: float, background: bool) -> None:
        run = a_run(person, key=key, rows=rows, step_cost=cost, background=background, total=20)
        self.scheduler.join(run)
        self.runs.append(run)

    @precondition(lambda self: self.runs)
    @rule(data=st.data())
    def cancel(self, data: st.DataObject) -> None:
        run = data.draw(st.sampled_from(self.runs))
        self.scheduler.leave(run)
        self.runs = [mate for mate in self.runs if mate is not run]

    @rule(ticks=st.integers(1, 30))
    def tick(self, ticks: int) -> None:
        for _ in range(ticks):
            chosen = self.scheduler.choose()
            assert bool(chosen) == bool(self.runs), "somebody steps as long as somebody wants to"
            if not chosen:
                return
            assert len({id(run) for run in chosen}) == len(chosen)
            assert all(any(run is mate for mate in self.runs) for run in chosen)
            assert len({run.key for run in chosen}) == 1
            assert len({run.background for run in chosen}) == 1
            assert len(chosen) == 1 or sum(run.rows for run in chosen) <= self.scheduler.rows
            self._nobody_waits_long(chosen)
            for run in chosen:
                run.done += 1
                if run.finished:
                    self.scheduler.leave(run)
                    self.runs = [mate for mate in self.runs if mate is not run]

    def _nobody_waits_long(self, chosen: list[Run]) -> None:
        front = {run.work.person for run in self.runs if not run.background}
        served = {run.work.person for run in chosen if not run.background}
        if not served:
            return
        done = sum(map(cost, chosen))
        for person in list(self.waited):
            if person not in front:
                del self.waited[person]
        for person in front:
            self.waited[person] = 0.0 if person in served else self.waited.get(person, 0.0) + done
            # five people, each ahead by at most the lead and one dearest step, and one's own debt
            assert self.waited[person] <= 6 * 2 * (self.scheduler.rows + 16 * 20.0)

    @invariant()
    def counters_do_not_pile_up(self) -> None:
        if hasattr(self, "scheduler"):
            assert len(self.scheduler.snapshot()["people"]) <= 5


TestOffice = Office.TestCase
TestOffice.settings = settings(max_examples=25, stateful_step_count=30, deadline=None)


@settings(max_examples=25, deadline=None)
@given(
    st.lists(st.tuples(st.integers(1, 8), st.sampled_from("xyz"), st.integers(1, 4)), min_size=2, max_size=6),
    st.integers(8, 16),
)
def test_people_who_always_have_work_get_equal_work(people: list[tuple[int, str, int]], rows: int) -> None:
    """Rows, keys and numbers of runs as they come; each person alone on a key keeps everyone waiting at times."""
    scheduler = Scheduler(rows)
    for number, (size, key, count) in enumerate(people):
        for copy in range(count):
            scheduler.join(a_run(f"p{number}", key=f"{key}{copy}{number}", rows=size))
    got = serve(scheduler, 800)
    assert jain([float(got[f"p{n}"]) for n in range(len(people))]) > 0.99
