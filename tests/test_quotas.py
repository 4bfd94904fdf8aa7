"""Roles, departments and quotas: who belongs where, what is told before the end, and what at the end."""

from __future__ import annotations

import itertools
from collections.abc import AsyncIterator
from dataclasses import replace
from datetime import datetime
from pathlib import Path

import pytest
from desk_world import BOSS, KIM, LEE, World, opened, png
from hypothesis import given
from hypothesis import strategies as st

from bot import quotas
from bot.admission import DeskSettings, admit
from bot.pictures.reading import PictureReader
from bot.quotas import Department, Quota, Role, Used, check, placed, quota_of
from bot.settings.config import ConfigError, load
from bot.talk import Person
from engines.words import Refusal

NOW = datetime(2026, 11, 22, 20, 40).timestamp()
STUDENTS = Role("students", groups=frozenset({"42", "S1"}), quota=Quota(jobs=3, queue=2))
STAFF = Role("staff", members=frozenset({"console:kim"}), quota=Quota(jobs=50))
LEADS = Role("leads", groups=frozenset({"77"}), admin=True)
LAB = Department("lab", roles=frozenset({"students"}), weight=2.0, quota=Quota(jobs=4, queue=3))
ROLES, DEPARTMENTS = (STUDENTS, STAFF, LEADS), (LAB,)


def test_people_have_the_roles_of_their_groups_and_the_first_department_that_fits() -> None:
    anna = placed(Person("discord:1", "Anna", groups=("42", "99")), ROLES, DEPARTMENTS)
    assert (anna.roles, anna.department, anna.admin) == (("students",), "lab", False)
    kim = placed(Person("console:kim", "Kim"), ROLES, DEPARTMENTS)
    assert (kim.roles, kim.department) == (("staff",), "")
    assert placed(Person("discord:2", "Boss", groups=("77",)), ROLES, DEPARTMENTS).admin
    assert placed(Person("discord:3", "New", groups=None), ROLES, DEPARTMENTS).roles == ()


def test_of_several_roles_the_most_generous_counts_and_silence_leaves_it_to_everyones() -> None:
    assert quota_of(("students", "staff"), ROLES, Quota()) == Quota(jobs=50, queue=2)
    assert quota_of(("leads",), ROLES, Quota(jobs=7, minutes=2.0)) == Quota(jobs=7, minutes=2.0)


@given(limit=st.integers(1, 200), used=st.integers(0, 300))
def test_a_quota_is_told_before_it_is_reached_and_never_exceeded(limit: int, used: int) -> None:
    if used >= limit:
        with pytest.raises(Refusal, match=f"You have used {used} of {limit} jobs today"):
            check(Quota(jobs=limit), Used(jobs=used), NOW)
        return
    told = check(Quota(jobs=limit), Used(jobs=used), NOW)
    assert bool(told) == (used + 1 >= 0.8 * limit)
    if told:
        assert told[0].en.startswith(f"You have used {used + 1} of {limit} jobs today; this resets at 00:00")
        assert "{" not in told[0].en + told[0].ko


def test_the_last_places_in_the_queue_are_told_before_it_is_full() -> None:
    settings = DeskSettings(departments=DEPARTMENTS, queue_per_person=10)
    kim = Person("console:kim", "Kim")
    assert admit(kim, settings, mine=6, all=6, now=NOW) == ()
    (told,) = admit(kim, settings, mine=7, all=7, now=NOW)
    assert told.en == "You have 8 of the 10 jobs that may wait or run at once."
    assert "10개 중 8개" in told.ko
    (ours,) = admit(replace(kim, department="lab"), settings, mine=0, all=2, ours=Used(open=2), now=NOW)
    assert ours.en.startswith("Your department lab has 3 of the 3 jobs")
    assert quotas.queue_near(1, 0) == (), "one at a time needs no warning"


def test_minutes_are_told_alike() -> None:
    assert check(Quota(minutes=10), Used(seconds=479), NOW) == ()
    (told,) = check(Quota(minutes=10), Used(seconds=8.5 * 60), NOW)
    assert told.en.startswith("You have used 8.5 of 10 minutes of computing today")
    with pytest.raises(Refusal, match=r"10\.0 of 10 minutes.*an administrator can raise"):
        check(Quota(minutes=10), Used(seconds=600), NOW)


def test_the_reset_is_the_next_midnight_of_this_machine() -> None:
    assert "in 3 h 20 min" in quotas.reset(NOW).en
    assert "3시간 20분 뒤" in quotas.reset(NOW).ko
    assert quotas.midnight(NOW) == datetime(2026, 11, 22).timestamp()
    assert quotas.day(NOW) == "2026-11-22"


def test_a_department_has_its_own_end_and_admins_have_none() -> None:
    settings = DeskSettings(roles=ROLES, departments=DEPARTMENTS)
    anna = placed(Person("discord:1", "Anna", groups=("42",)), ROLES, DEPARTMENTS)
    assert admit(anna, settings, mine=0, all=0, now=NOW) == ()
    with pytest.raises(Refusal, match="department lab has used 4 of 4 jobs"):
        admit(anna, settings, mine=0, all=0, ours=Used(jobs=4), now=NOW)
    with pytest.raises(Refusal, match="department lab has 3 jobs waiting or running"):
        admit(anna, settings, mine=0, all=0, ours=Used(open=3), now=NOW)
    with pytest.raises(Refusal, match="You already have 2 jobs"):
        admit(anna, settings, mine=2, all=2, now=NOW)
    boss = Person("discord:9", "B", admin=True, roles=("students",), department="lab")
    assert admit(boss, settings, mine=99, all=99, used=Used(jobs=99), ours=Used(99, 9e9, 99), now=NOW) == ()


@pytest.fixture
async def world(tmp_path: Path, reader: PictureReader) -> AsyncIterator[World]:
    settings = {"roles": ROLES, "departments": DEPARTMENTS, "everyone": Quota(jobs=3)}
    async with opened(tmp_path, reader, **settings) as world:
        world.now[0] = NOW
        yield world


ANNA = Person("discord:1", "Anna", groups=("42",))


async def test_the_desk_keeps_count_tells_and_refuses_until_midnight(world: World) -> None:
    assert "today" not in (await world.say("/txt2img 1", who=LEE)).text
    assert "today" not in (await world.say("/txt2img 2", who=LEE)).text
    assert "You have used 3 of 3 jobs today" in (await world.say("/txt2img 3", who=LEE)).text
    fourth = await world.say("/txt2img 4", who=LEE)
    assert fourth.kind == "refused"
    assert fourth.text.startswith("You have used 3 of 3 jobs today; this resets at 00:00")
    assert (await world.say("/txt2img 4", who=KIM)).kind == "accepted", "a role of 50"
    assert (await world.say("/txt2img 4", who=BOSS)).kind == "accepted", "an admin"
    await world.say("/cancel 3", who=LEE)
    assert (await world.say("/txt2img 5", who=LEE)).kind == "accepted", "a cancelled one is given back"
    world.now[0] = NOW + 4 * 3600
    assert (await world.say("/txt2img 6", who=LEE)).kind == "accepted", "a new day"


async def test_minutes_used_end_the_day(tmp_path: Path, reader: PictureReader) -> None:
    async with opened(tmp_path, reader, everyone=Quota(minutes=0.02)) as world:
        world.now[0] = NOW
        await world.say("/txt2img 1")
        await world.make(png())  # takes 1.5 s
        assert (await world.say("/txt2img 2")).text.startswith("You have used 0.0 of 0.02 minutes")


async def test_a_department_is_written_on_the_job_and_weighs(world: World) -> None:
    own = await world.job((await world.say("/txt2img a", who=ANNA)).job)
    other = await world.job((await world.say("/txt2img a", who=KIM)).job)
    assert (own.department, other.department) == ("lab", "")
    assert own.cost == other.cost / 2


async def test_twice_the_weight_is_twice_the_turns(world: World) -> None:
    bob = Person("discord:2", "Bob")
    for number in range(2):
        await world.say(f"/txt2img {number}", who=ANNA)
    for number in range(3):
        await world.say(f"/txt2img {number}", who=bob)
    order = []
    while (job := await world.store.jobs.claim(NOW)) is not None:
        order.append(job)
    assert [job.name for job in order[:3]].count("Anna") == 2, [job.name for job in order]


async def test_direct_messages_know_the_roles_seen_last_but_make_no_admin(world: World) -> None:
    lead = Person("discord:5", "Lead", groups=("42", "77"))
    await world.say("/help", who=lead)
    said = await world.say("/usage department", who=Person("discord:5", "Lead", groups=None))
    assert "`lab`" in said.text
    assert (await world.say("/usage all", who=Person("discord:5", "Lead", groups=None))).kind == "refused"
    assert (await world.say("/usage all", who=lead)).kind == "said"
    await world.say("/help", who=Person("discord:5", "Lead", groups=()))
    later = await world.say("/usage department", who=Person("discord:5", "Lead", groups=None))
    assert "You are in no department" in later.text


def config(folder: Path, text: str) -> DeskSettings:
    file = folder / "config.toml"
    file.write_text(text, encoding="utf-8")
    return load(file, {}).desk_settings()


def test_the_config_says_it_all(tmp_path: Path) -> None:
    settings = config(
        tmp_path,
        "[quotas]\njobs_a_day = 9\n[roles.students]\ndiscord = [42]\nslack = ['S1']\njobs_a_day = 3\nqueue = 2\n"
        "[departments.lab]\nroles = ['students']\nweight = 2\ngpu_minutes_a_day = 30",
    )
    assert settings.everyone == Quota(jobs=9, queue=20)
    assert settings.roles == (STUDENTS,)
    assert settings.department("lab").weight == 2.0
    assert settings.department("lab").quota == Quota(minutes=30.0)
    assert settings.department("gone").weight == 1.0


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("[roles.x]\ndiscrd = [1]", "unknown key `roles.NAME.discrd`; did you mean `roles.NAME.discord`?"),
        ("[roles.x]\njobs_a_day = -1", "`roles.NAME.jobs_a_day` must be a whole number from 0 to 1000000."),
        ("[departments.y]\nroles = ['x']", "names “x”, but there is no section [roles.x]"),
        ("[departments.y]\nweight = 0", "must be a number from 0.01 to 100"),
    ],
)
def test_a_mistake_in_it_is_a_line(tmp_path: Path, text: str, told: str) -> None:
    with pytest.raises(ConfigError) as caught:
        config(tmp_path, text)
    assert told in str(caught.value)


def test_every_quota_field_is_heeded() -> None:
    """Whichever limit is the one that is reached, it is the one that is told."""
    for jobs, minutes in itertools.product((0, 5), (0.0, 5.0)):
        used = Used(jobs=5, seconds=300)
        if jobs or minutes:
            with pytest.raises(Refusal):
                check(Quota(jobs, minutes), used, NOW)
        else:
            assert check(Quota(), used, NOW) == ()
