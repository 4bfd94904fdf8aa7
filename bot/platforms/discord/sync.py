"""Giving Discord our commands: only when they changed, and never in the way of a start."""

from __future__ import annotations

import asyncio
import json
import logging
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import discord

from bot.platforms.discord.commands import commands, fingerprint
from bot.platforms.discord.errors import FAILURES
from engines.forms import Form

log = logging.getLogger(__name__)

EVERYWHERE = "everywhere"


class Notes:
    """What Discord was given before, in a small file; without a file nothing is remembered."""

    def __init__(self, path: Path | None) -> None:
        self._path = path

    def read(self) -> dict[str, str]:
        """Scope → fingerprint of the commands there. A file that cannot be read counts as none."""
        if self._path is None:
            return {}
        try:
            found = json.loads(self._path.read_text())
        except (OSError, ValueError):
            return {}
        return found if isinstance(found, dict) else {}

    def write(self, given: dict[str, str]) -> None:
        if self._path is None:
            return
        fresh = self._path.with_suffix(".new")
        try:
            fresh.write_text(json.dumps(given, indent=1, sort_keys=True))
            fresh.replace(self._path)
        except OSError as error:
            log.warning("could not note which commands Discord has: %s", error)


async def sync(
    client: discord.Client, forms: Sequence[type[Form]], guilds: Sequence[str], notes: Notes
) -> None:
    """Make Discord's list ours: in these servers, which is at once, or everywhere. A failure is for the log."""
    app, listed = client.application_id or 0, commands(forms)
    wanted: dict[str, list[dict[str, Any]]] = {guild: listed for guild in guilds}
    wanted[EVERYWHERE] = [] if guilds else listed  # else every command would be shown twice
    given = await asyncio.to_thread(notes.read)
    for scope, those in wanted.items():
        key, now = f"{app}/{scope}", fingerprint(those)
        if given.get(key) == now or (key not in given and not those):
            continue
        try:
            await _give(client, app, scope, those)
        except FAILURES as error:
            log.error("Discord did not take the commands (%s): %s", scope, error)
            continue
        given[key] = now
        await asyncio.to_thread(notes.write, given)
        log.info("gave Discord %d commands (%s)", len(those), scope)


async def _give(client: discord.Client, app: int, scope: str, those: list[Any]) -> None:
    if scope == EVERYWHERE:
        await client.http.bulk_upsert_global_commands(app, those)
    else:
        await client.http.bulk_upsert_guild_commands(app, int(scope), those)
