"""Who belongs to which role and department, and how much they may use. Pure: settings and counts in, answers out."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from bot.talk import Person
from engines.words import Refusal, Words

NEAR = 0.8  # from this part of a quota on it is told how much is left


@dataclass(frozen=True, slots=True)
class Quota:
    """How much may be used; 0 = no limit."""

    jobs: int = 0  # a day
    minutes: float = 0.0  # of a device a day
    queue: int = 0  # waiting or running at once


FREE = Quota()


@dataclass(frozen=True, slots=True)
class Role:
    name: str
    groups: frozenset[str] = frozenset()  # Discord role ids, Slack user group ids
    members: frozenset[str] = frozenset()  # `Person.id`s
    admin: bool = False
    quota: Quota = Quota()


@dataclass(frozen=True, slots=True)
class Department:
    name: str
    roles: frozenset[str] = frozenset()  # names of roles
    members: frozenset[str] = frozenset()  # `Person.id`s
    weight: float = 1.0  # of its people's shares of the devices
    quota: Quota = Quota()  # of all its people together


@dataclass(frozen=True, slots=True)
class Used:
    """What is used up today, and what is open now."""

    jobs: int = 0
    seconds: float = 0.0
    open: int = 0


def placed(person: Person, roles: Sequence[Role], departments: Sequence[Department]) -> Person:
    """The person with roles, department and what a role makes of them."""
    mine = [
        role for role in roles if person.id in role.members or role.groups.intersection(person.groups or ())
    ]
    names = tuple(role.name for role in mine)
    ours = (d.name for d in departments if person.id in d.members or d.roles.intersection(names))
    admin = person.admin or any(role.admin for role in mine)
    return dataclasses.replace(person, roles=names, department=next(ours, ""), admin=admin)


def quota_of(names: Sequence[str], roles: Sequence[Role], everyone: Quota) -> Quota:
    """What someone with these roles may use: of several roles the most generous word counts, each by itself.

    A role that says nothing of a limit (0) leaves that to the others; where none does, everyone's limit holds.
    """
    mine = [role.quota for role in roles if role.name in names]
    return Quota(
        max((q.jobs for q in mine), default=0) or everyone.jobs,
        max((q.minutes for q in mine), default=0.0) or everyone.minutes,
        max((q.queue for q in mine), default=0) or everyone.queue,
    )


def check(quota: Quota, used: Used, now: float, department: str = "") -> tuple[Words, ...]:
    """Sentences where the end is near. Raises `Refusal` where it is reached.

    `used` is what was used before the job that is asked for; `department` is named where the quota is shared. How
    many jobs one person may have open is `bot.admission`'s.
    """
    if department and quota.queue and used.open >= quota.queue:
        raise Refusal(_QUEUE(name=department, open=used.open, limit=quota.queue))
    told = list(queue_near(quota.queue, used.open, department)) if department else []
    if quota.jobs:
        told += _near(_jobs(quota, now, department), used.jobs, quota.jobs, after=used.jobs + 1)
    if quota.minutes:
        minutes = used.seconds / 60
        told += _near(_minutes(quota, now, department), minutes, quota.minutes, after=minutes)
    return tuple(told)


def queue_near(limit: int, open: int, department: str = "") -> tuple[Words, ...]:
    """A sentence where the job that is asked for is one of the last that may be open; `open` are so without it."""
    if limit < 2 or open + 1 < NEAR * limit:
        return ()
    return ((_OPEN_OURS if department else _OPEN_YOURS)(name=department, open=open + 1, limit=limit),)


def standing(quota: Quota, used: Used, now: float, department: str = "") -> list[Words]:
    """How much of each limit is used, however little."""
    told = [_said(_jobs(quota, now, department), used.jobs)] if quota.jobs else []
    return told + ([_said(_minutes(quota, now, department), used.seconds / 60)] if quota.minutes else [])


def _jobs(quota: Quota, now: float, department: str) -> Words:
    return _JOBS(who=_who(department), limit=quota.jobs, when=reset(now))


def _minutes(quota: Quota, now: float, department: str) -> Words:
    return _MINUTES(who=_who(department), limit=f"{quota.minutes:.15g}", when=reset(now))


def _who(department: str) -> Words:
    return _DEPARTMENT(name=department) if department else _YOU


def _near(words: Words, used: float, limit: float, *, after: float) -> list[Words]:
    """`words` wait for how much is used: a refusal tells what was, a note what will be with this job."""
    if used >= limit:
        raise Refusal(_said(words, used) + _FULL)
    return [_said(words, after)] if after >= NEAR * limit else []


def _said(words: Words, used: float) -> Words:
    number = str(used) if isinstance(used, int) else f"{used:.1f}"
    return Words(words.en.replace("{}", number, 1), words.ko.replace("{}", number, 1))


def midnight(now: float) -> float:
    """When today began, by this machine's clock."""
    return datetime.fromtimestamp(now).replace(hour=0, minute=0, second=0, microsecond=0).timestamp()


def day(now: float) -> str:
    """YYYY-MM-DD, by this machine's clock; as storage writes it."""
    return datetime.fromtimestamp(now).date().isoformat()


def reset(now: float) -> Words:
    """When a new day begins."""
    local = datetime.fromtimestamp(now).astimezone()
    tomorrow = (local.replace(tzinfo=None) + timedelta(days=1)).replace(
        hour=0, minute=0, second=0, microsecond=0
    )
    left = max(int(tomorrow.timestamp() - now), 60) // 60
    return _RESET(zone=tomorrow.astimezone().tzname() or "", h=left // 60, m=left % 60)


_YOU = Words("You have", "오늘")
_DEPARTMENT = Words("Your department {name} has", "소속 부서 {name}에서 오늘")
_JOBS = Words(
    "{who} used {{}} of {limit} jobs today; {when}.", "{who} 작업 {limit}개 중 {{}}개를 사용했습니다. {when}."
)
_MINUTES = Words(
    "{who} used {{}} of {limit} minutes of computing today; {when}.",
    "{who} 연산 시간 {limit}분 중 {{}}분을 사용했습니다. {when}.",
)
_RESET = Words(
    "this resets at 00:00 {zone}, in {h} h {m} min",
    "00:00 {zone}에 초기화됩니다 ({h}시간 {m}분 뒤)",
)
_FULL = Words(
    "Nothing more can be accepted until then; an administrator can raise the limit.",
    "그때까지는 요청을 더 받을 수 없습니다. 한도는 관리자가 늘릴 수 있습니다.",
)
_OPEN_YOURS = Words(
    "You have {open} of the {limit} jobs that may wait or run at once.",
    "동시에 맡길 수 있는 작업 {limit}개 중 {open}개를 맡기셨습니다.",
)
_OPEN_OURS = Words(
    "Your department {name} has {open} of the {limit} jobs that may wait or run at once.",
    "소속 부서 {name}에서 동시에 맡길 수 있는 작업 {limit}개 중 {open}개를 맡겼습니다.",
)
_QUEUE = Words(
    "Your department {name} has {open} jobs waiting or running; {limit} are allowed at once. Please wait for one to end.",
    "소속 부서 {name}에 대기 중이거나 실행 중인 작업이 {open}개 있습니다. 한 번에 {limit}개까지 맡길 수 있으니 작업이 "
    "끝나기를 기다려 주십시오.",
)
