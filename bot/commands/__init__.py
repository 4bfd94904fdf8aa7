"""Everything that can be asked without a device. A hand-written list: grep finds it."""

from __future__ import annotations

from bot.commands.cancel import Cancel
from bot.commands.command import Command
from bot.commands.gpu import Gpu
from bot.commands.help import Help
from bot.commands.history import History
from bot.commands.jobs import Jobs
from bot.commands.language import SetLanguage
from bot.commands.models import Models
from bot.commands.pause import Pause, Resume
from bot.commands.preset import Preset
from bot.commands.usage import Usage

COMMANDS: tuple[type[Command], ...] = (
    Help,
    Jobs,
    Cancel,
    Pause,
    Resume,
    Models,
    History,
    Preset,
    Usage,
    Gpu,
    SetLanguage,
)
