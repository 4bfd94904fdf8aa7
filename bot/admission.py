"""May this person queue this now? A pure answer, so that every limit can be tested and told."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from bot import quotas
from bot.quotas import FREE, Department, Quota, Role, Used
from bot.talk import Person
from engines.words import Language, Refusal, Words


@dataclass(frozen=True, slots=True)
class TrainingSettings:
    """What a data set may be."""

    folders: tuple[Path, ...] = ()  # of the server, that admins may train from
    files: int = 5000  # most files in one
    archive_bytes: int = 2_000_000_000  # largest ZIP with one


@dataclass(frozen=True, slots=True)
class DeskSettings:
    """What the owner of the studio decides about who may ask for what."""

    admins: frozenset[str] = frozenset()  # `Person.id`s
    upload_bytes: int = 25_000_000  # largest picture taken in
    archive_bytes: int = 500_000_000  # largest ZIP taken in
    archive_files: int = 500  # most files in it
    training: TrainingSettings = TrainingSettings()
    queue_per_person: int = 20  # jobs of one person waiting or running at once; admins have no such limit
    queue_total: int = 1000  # jobs of everybody waiting at once
    language: Language = "en"  # where neither the person nor the platform says one
    models: Mapping[str, str] = field(default_factory=dict)  # command → model used when none is named
    models_folder: Path | None = None  # where models of one's own lie
    model_paths: tuple[Path, ...] = ()  # further models, each a folder or a file
    roles: tuple[Role, ...] = ()
    departments: tuple[Department, ...] = ()
    everyone: Quota = FREE  # what a person may use for whom no role says otherwise

    def department(self, name: str) -> Department:
        """The department called so; one without limits where there is none (any more)."""
        return next((d for d in self.departments if d.name == name), Department(name))


def is_admin(person: Person, settings: DeskSettings) -> bool:
    """An admin by the platform's word or by the studio's own list."""
    return person.admin or person.id in settings.admins


def known(person: Person, settings: DeskSettings) -> Person:
    """The person with roles and department, and whether they are an admin."""
    person = quotas.placed(person, settings.roles, settings.departments)
    return dataclasses.replace(person, admin=is_admin(person, settings))


def queue_of(person: Person, settings: DeskSettings) -> int:
    """How many jobs of the person may be open at once."""
    roles = quotas.quota_of(person.roles, settings.roles, FREE)
    return roles.queue or settings.queue_per_person


def admit(
    person: Person,
    settings: DeskSettings,
    *,
    mine: int,
    all: int,
    used: Used = Used(),
    ours: Used = Used(),
    now: float = 0.0,
) -> tuple[Words, ...]:
    """Raise `Refusal` if `person`, who has `mine` of `all` open jobs, may not queue one more.

    `used` is what they used today, `ours` what their department did. Sentences where a quota is nearly used up.
    """
    if is_admin(person, settings):
        return ()
    limit = queue_of(person, settings)
    if mine >= limit:
        raise Refusal(_YOURS(limit=limit, mine=mine))
    if all >= settings.queue_total:
        raise Refusal(_EVERYBODYS(limit=settings.queue_total))
    own = dataclasses.replace(quotas.quota_of(person.roles, settings.roles, settings.everyone), queue=0)
    told = (*quotas.queue_near(limit, mine), *quotas.check(own, used, now))
    if not person.department:
        return told
    department = settings.department(person.department)
    return (*told, *quotas.check(department.quota, ours, now, department.name))


_YOURS = Words(
    "You already have {mine} jobs waiting or running; {limit} are allowed at once. "
    "Wait for one to end, or stop one with `/cancel`.",
    "이미 대기 중이거나 실행 중인 작업이 {mine}개 있습니다. 한 번에 {limit}개까지 맡길 수 있으니 "
    "작업이 끝나기를 기다리시거나 `/cancel` 로 취소해 주십시오.",
)
_EVERYBODYS = Words(
    "The studio's queue is full ({limit} jobs). Please try again in a while.",
    "작업실의 대기열이 가득 찼습니다 ({limit}개). 잠시 후 다시 시도해 주십시오.",
)
