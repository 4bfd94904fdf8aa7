"""Killed at any moment, the studio answers what it promised, once: a real process, real clients, faulty servers."""

from __future__ import annotations

import signal
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from kills.batches import batches
from kills.campaign import Program, Studio, campaign
from kills.phases import PHASES
from kills.town import Town

KILLS = 40


@pytest.fixture(scope="module")
def program() -> Iterator[Program]:
    with Program() as program:
        yield program


@pytest.mark.timeout(420)
async def test_after_forty_kills_every_promise_is_kept_once(program: Program, tmp_path: Path) -> None:
    """Discord's nonces are forgotten after a moment here, so that it is the look before repeating that counts."""
    async with Town(seed=11, remembers=0.3) as town:
        report = await campaign(program, tmp_path, town, kills=KILLS, seed=11)
    print(report)  # shown with `pytest -rP`
    verdict = report.verdict
    assert (verdict.lost, verdict.twice, verdict.mentioned_twice) == ([], [], [])
    assert report.unfinished == 0
    assert set(report.states) == {"done"}
    assert len(verdict.answered) == sum(report.states.values()) >= len(set(verdict.promised))
    # it tested something: work was promised, and kills fell into every phase
    assert report.kills == KILLS
    assert len(verdict.promised) >= KILLS // 2
    assert all(report.fell[phase] for phase in PHASES), report
    assert (report.exit_status, report.exit_seconds < 10) == (0, True)


@pytest.mark.timeout(240)
@pytest.mark.parametrize(
    ("broken", "shows"),
    [("repeats", "twice"), ("forgets", "lost"), ("promises too early", "lost")],
)
async def test_the_same_kills_find_code_that_is_broken_on_purpose(
    program: Program, tmp_path: Path, broken: str, shows: str
) -> None:
    """A test that nothing fails is no test: an outbox that never looks, a start that forgets what was running, and
    an answer before the commit are each found out."""
    async with Town(seed=5, slack_too=False) as town:
        report = await campaign(program, tmp_path, town, kills=12, seed=5, broken=broken, patience=4.0)
    assert getattr(report.verdict, shows), report


@pytest.mark.timeout(240)
async def test_killed_inside_a_batch_what_is_finished_is_kept_and_the_answer_comes_once(
    program: Program, tmp_path: Path
) -> None:
    async with Town(seed=3, slack_too=False, remembers=0.3) as town:
        report = await batches(program, tmp_path, town, photos=12, kills=12, seed=3)
    print(report)
    verdict = report.whole.verdict
    assert report.again == []
    assert (verdict.lost, verdict.twice, verdict.mentioned_twice) == ([], [], [])
    assert len(verdict.answered) == len(report.pictures) >= 2
    assert report.whole.unfinished == 0
    assert set(report.whole.states) == {"done"}
    assert set(report.pictures) == {12 + 1}, "each photo's, and the contact sheet"
    assert report.halfway >= 2, "kills fell between the first part and the last"


@pytest.mark.timeout(240)
async def test_a_batch_that_starts_over_is_found_out(program: Program, tmp_path: Path) -> None:
    async with Town(seed=3, slack_too=False) as town:
        report = await batches(program, tmp_path, town, photos=16, kills=3, seed=3, broken="starts over")
    assert report.again, report


async def test_a_polite_stop_is_clean_and_quick(program: Program, tmp_path: Path) -> None:
    """SIGTERM in the middle of work: status 0 in time, and the next life goes on where this one stopped."""
    async with Town(seed=1) as town, Studio(program, tmp_path, town) as studio:
        await studio.start()
        await town.discord.connected.wait()
        for n in range(6):
            await town.discord.command("txt2img", {"prompt": f"nut {n}", "steps": 100, "seed": n})
        await studio.until("step")
        began = time.monotonic()
        assert await studio.end(signal.SIGTERM) == 0
        assert time.monotonic() - began < 10
        jobs = studio.ask("SELECT state, attempts FROM jobs")
        assert jobs
        assert set(jobs) == {("queued", 0)}
        await studio.start()
        await studio.until("step")
        assert await studio.end(signal.SIGTERM) == 0
