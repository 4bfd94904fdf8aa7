"""Killed again and again, trainings end with the bytes they would have had, and each is answered once."""

from __future__ import annotations

from collections.abc import Iterator
from multiprocessing.context import ForkServerContext
from pathlib import Path

import pytest
from fork_server import fork_server

KILLS = 20


@pytest.fixture(scope="module")
def server() -> Iterator[ForkServerContext]:
    with fork_server("kills.training_life") as server:
        yield server


@pytest.mark.slow
@pytest.mark.timeout(1800)
async def test_after_twenty_kills_trainings_end_with_the_same_bytes_and_are_answered_once(
    tmp_path: Path, bases: Path, server: ForkServerContext
) -> None:
    from kills.trainings import House, campaign

    with House(tmp_path / "torn", bases, server) as house, House(tmp_path / "whole", bases, server) as whole:
        report = await campaign(house, whole, kills=KILLS, seed=7)
    print(report)  # shown with `pytest -rP`
    assert report.different == []
    assert set(report.states) == {"done"}
    assert sorted(report.answers) == list(range(1, report.trainings + 1))
    assert set(report.answers.values()) == {1}
    assert report.twice == []
    # it tested something: both methods, and kills fell where a training can be hurt
    assert report.trainings >= 2
    assert report.fell["save"] >= 2, report
    assert report.fell["step"] >= 2, report


@pytest.mark.slow
@pytest.mark.timeout(1800)
@pytest.mark.parametrize(("broken", "aimed"), [("forgets the optimizer", ("step",)), ("repeats", ("send",))])
async def test_the_same_kills_find_code_that_is_broken_on_purpose(
    tmp_path: Path, bases: Path, server: ForkServerContext, broken: str, aimed: tuple[str, ...]
) -> None:
    from kills.trainings import House, campaign

    with (
        House(tmp_path / "torn", bases, server, broken) as house,
        House(tmp_path / "whole", bases, server) as whole,
    ):
        report = await campaign(house, whole, kills=12, seed=7, aimed=aimed)
    print(report)
    assert report.twice if broken == "repeats" else report.different, report
