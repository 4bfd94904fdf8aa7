"""Who someone is in Slack: name, language, and whether they may do what admins do."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable

from bot.platforms.slack.api import Api, Denied
from bot.talk import Gone, Person, Unreachable
from engines.words import Language

KEPT = 3600.0  # seconds that what Slack said about a person is believed
AGAIN = 60.0  # seconds after which one asks again when Slack did not answer


class People:
    """Asks Slack once an hour about each person."""

    def __init__(
        self,
        api: Api,
        admins: Iterable[str],
        groups: Iterable[str] = (),
        *,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """`admins` are ids of people (`U…`, `W…`) and of user groups (`S…`), `groups` further ones that matter."""
        self._api, self._clock = api, clock
        self._admins = frozenset(admins)
        asked = (*sorted(self._admins), *groups)
        self._groups = tuple(dict.fromkeys(one for one in asked if one.startswith("S")))
        self._known: dict[str, tuple[float, str, Language]] = {}  # user → until, name, language
        self._members: tuple[float, dict[str, frozenset[str]]] = (float("-inf"), {})  # until, group → users

    async def person(self, team: str, user: str, name: str = "") -> tuple[Person, Language]:
        """The person and the language of their Slack; what cannot be learned now is guessed."""
        until, known, language = self._known.get(user, (float("-inf"), name, "en"))
        if until < self._clock():
            until, known, language = await self._ask(user, known or name, language)
            if len(self._known) > 10_000:
                self._known.clear()
            self._known[user] = (until, known, language)
        groups = await self._groups_of(user)
        admin = user in self._admins or not self._admins.isdisjoint(groups)
        return Person(f"slack:{team}:{user}", known or name or user, admin, groups), language

    async def _ask(self, user: str, name: str, language: Language) -> tuple[float, str, Language]:
        try:
            said = await self._api.call(self._api.client.users_info, user=user, include_locale=True)
        except (Gone, Unreachable, Denied):
            return self._clock() + AGAIN, name, language
        found = said.get("user") or {}
        profile = found.get("profile") or {}
        shown = profile.get("display_name") or profile.get("real_name") or found.get("name") or name
        return self._clock() + KEPT, shown, "ko" if str(found.get("locale", "")).startswith("ko") else "en"

    async def _groups_of(self, user: str) -> tuple[str, ...]:
        """The groups among ours that the person is in, as Slack said some minutes ago."""
        if not self._groups:
            return ()
        until, members = self._members
        if until < self._clock():
            members = await self._ask_groups(members)
        return tuple(group for group in self._groups if user in members.get(group, ()))

    async def _ask_groups(self, before: dict[str, frozenset[str]]) -> dict[str, frozenset[str]]:
        """Where Slack does not answer for a group, what it said before is believed."""
        found, until = dict(before), self._clock() + KEPT / 6
        for group in self._groups:
            try:
                said = await self._api.call(self._api.client.usergroups_users_list, usergroup=group)
                found[group] = frozenset(said.get("users") or ())
            except (Gone, Unreachable, Denied):
                until = self._clock() + AGAIN
        self._members = (until, found)
        return found
