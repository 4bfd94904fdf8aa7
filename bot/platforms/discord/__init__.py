"""Discord, through the real discord.py: `platform` says, `ears` hears, the other files are their parts."""

from bot.platforms.discord.check import live_check as live_check
from bot.platforms.discord.commands import manifest as manifest
from bot.platforms.discord.platform import Discord as Discord
