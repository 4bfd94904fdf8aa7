"""Rows within a learnt time and within the memory."""

from __future__ import annotations

import itertools
import random
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from engines.engine import Run, Work
from engines.requests import Txt2Img
from engines.serving.budget import LEAST, PROBE, SPARE, Budget

SECONDS = 0.25
MOST = 32


def crowded(budget: Budget, fixed: float, each: float, steps: int = 60, most: int = MOST) -> int:
    """Steps as large as they may be; the rows of the last."""
    rows = most
    for _ in range(steps):
        rows = budget.rows("k")
        budget.learn("k", rows, fixed + each * rows)
    return rows


@settings(max_examples=200)
@given(st.floats(0.0, 0.2), st.floats(1e-4, 0.2))
def test_a_crowd_gets_steps_within_the_budget_and_no_smaller_than_it_asks_for(
    fixed: float, each: float
) -> None:
    rows = crowded(Budget(MOST, SECONDS), fixed, each)
    assert rows == LEAST or fixed + each * rows <= SECONDS * 1.001
    assert rows == MOST or fixed + each * (rows + 2) > SECONDS, "rows withheld for nothing"


@settings(max_examples=200)
@given(
    st.lists(st.tuples(st.integers(1, 64), st.floats(1e-5, 100.0), st.booleans()), max_size=60),
    st.sampled_from([0.0, 0.01, 1.0]),
    st.integers(1, 64),
)
def test_whatever_happens_rows_are_between_one_and_most(
    steps: list[tuple[int, float, bool]], seconds: float, most: int
) -> None:
    budget = Budget(most, seconds)
    for rows, took, short in steps:
        if short:
            budget.short("k", rows)
            assert budget.rows("k") <= max(1, rows - 1)
        else:
            budget.learn("k", rows, took)
        assert 1 <= budget.rows("k") <= most
        assert budget.rows("other") == most


@pytest.mark.parametrize("slower", [4.0, 0.25])
def test_a_machine_that_got_slower_or_faster_is_learnt_anew(slower: float) -> None:
    budget = Budget(MOST, SECONDS)
    crowded(budget, 0.02, 0.015)
    rows = crowded(budget, 0.02 * slower, 0.015 * slower, steps=100)
    assert rows == LEAST or (0.02 + 0.015 * rows) * slower <= SECONDS * 1.05
    assert rows == MOST or (0.02 + 0.015 * (rows + 2)) * slower > SECONDS * 0.95


def test_one_slow_step_costs_little() -> None:
    budget = Budget(MOST, SECONDS)
    before = crowded(budget, 0.02, 0.01)
    budget.learn("k", before, 30.0)
    assert budget.rows("k") >= 0.75 * before
    assert crowded(budget, 0.02, 0.01) >= before - 1


def test_noise_does_not_take_the_budget_away() -> None:
    budget, dice = Budget(MOST, SECONDS), random.Random(1)
    seen = []
    for _ in range(300):
        rows = budget.rows("k") if dice.random() < 0.7 else dice.randint(1, 8)
        rows = min(rows, budget.rows("k"))
        budget.learn("k", rows, (0.03 + 0.01 * rows) * dice.uniform(0.9, 1.3))
        seen.append(budget.rows("k"))
    late = seen[100:]
    assert 12 <= sorted(late)[len(late) // 2] <= 24  # 20 by the mean of the noise
    assert min(late) >= 8


def test_what_the_memory_was_short_for_is_halved_and_comes_back_one_by_one() -> None:
    budget = Budget(16)
    budget.short("k", 16)
    assert budget.rows("k") == 8
    seen = [8]
    for _ in range(PROBE * 10):
        budget.learn("k", budget.rows("k"), 0.1)
        seen.append(budget.rows("k"))
    assert seen[-1] == 16
    assert max(later - earlier for earlier, later in itertools.pairwise(seen)) == 1


def test_a_try_that_fails_goes_back_to_what_was_known_and_waits_twice_as_long() -> None:
    budget, good, failed, steps = Budget(64), 10, [], 0
    budget.short("k", 16)
    for steps in range(4000):
        rows = budget.rows("k")
        if rows > good:
            failed.append(steps)
            budget.short("k", rows)
            assert budget.rows("k") == good
        else:
            budget.learn("k", rows, 0.1)
    waits = [later - earlier for earlier, later in itertools.pairwise(failed)]
    assert len(failed) <= 8, "tries grow rare"
    assert all(later >= 1.9 * earlier for earlier, later in itertools.pairwise(waits))


def a_run(row_bytes: int) -> Run:
    return Run(work=Work(1, "kim", Txt2Img(prompt="x"), Path()), total=1, key="k", row_bytes=row_bytes)


@given(st.integers(1, 10**12), st.integers(1, 10**11))
def test_what_a_row_takes_is_asked_of_the_memory_that_is_free_now(free: int, each: int) -> None:
    budget = Budget(MOST, free=lambda: free)
    rows = budget.allowed(a_run(each))
    assert rows == 1 or rows * each <= SPARE * free
    assert rows == MOST or (rows + 1) * each > SPARE * free
    assert budget.allowed(a_run(0)) == MOST
    assert Budget(MOST).allowed(a_run(each)) == MOST, "nobody knows"
    budget.short("k", 2)
    assert budget.allowed(a_run(each)) == 1, "what was learnt holds, too"


def test_steps_smaller_than_the_limit_prove_nothing_about_it() -> None:
    budget = Budget(16)
    budget.short("k", 16)
    for _ in range(PROBE * 10):
        budget.learn("k", 2, 0.1)
    assert budget.rows("k") == 8


def test_a_budget_that_makes_no_sense_is_refused() -> None:
    for wrong in ((0, 1.0), (4, -1.0)):
        with pytest.raises(ValueError, match="at least"):
            Budget(*wrong)
