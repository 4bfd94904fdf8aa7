"""Who may queue one more, and that a no names the limit."""

from __future__ import annotations

import pytest

from bot.admission import DeskSettings, admit, is_admin
from bot.talk import Person
from engines.words import Refusal

KIM = Person("console:kim", "Kim")
SETTINGS = DeskSettings(queue_per_person=3, queue_total=10, admins=frozenset({"console:boss"}))


@pytest.mark.parametrize(("mine", "all"), [(0, 0), (2, 9)])
def test_below_the_limits_one_more_is_welcome(mine: int, all: int) -> None:
    admit(KIM, SETTINGS, mine=mine, all=all)


@pytest.mark.parametrize(("mine", "all", "limit"), [(3, 3, "3"), (4, 4, "3"), (0, 10, "10"), (3, 10, "3")])
def test_a_full_line_names_its_limit(mine: int, all: int, limit: str) -> None:
    with pytest.raises(Refusal) as refused:
        admit(KIM, SETTINGS, mine=mine, all=all)
    assert limit in refused.value.words.en
    assert limit in refused.value.words.ko


def test_admins_have_no_limit() -> None:
    boss = Person("console:boss", "Boss")
    assert is_admin(boss, SETTINGS)
    admit(boss, SETTINGS, mine=99, all=99)
    admit(Person("discord:1", "Mod", admin=True), SETTINGS, mine=99, all=99)
    assert not is_admin(KIM, SETTINGS)
