"""Everything people can ask for, by name: the one list from which each face draws its commands."""

from __future__ import annotations

from bot.commands import COMMANDS
from bot.commands.command import form_called
from engines.forms import Form
from engines.requests import MENU

FORMS: tuple[type[Form], ...] = (*MENU, *COMMANDS)


def form_named(said: str) -> type[Form]:
    """The form a person means by `said`, with or without a slash; `Refusal` with the nearest otherwise."""
    return form_called(said, FORMS)
