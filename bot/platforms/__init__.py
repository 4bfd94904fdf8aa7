"""The edges: one module per chat platform, each an implementation of `bot.talk.Platform`.

discord.py and slack_bolt are imported only where their tokens are set: the console starts without them.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal

from bot.menu import FORMS
from bot.talk import Platform
from engines.words import Words

if TYPE_CHECKING:
    from bot.settings.config import Config


def connect(config: Config) -> list[Platform]:
    """The platforms whose tokens are set, not connected yet."""
    from bot.app import known

    platforms: list[Platform] = []
    if config.discord.on:
        from bot.platforms.discord import Discord

        platforms.append(
            Discord(
                config.discord.token.get_secret_value(),
                api_base=config.discord.api_base,
                gateway=config.discord.gateway,
                guilds=config.discord.guilds,
                admins=(*config.discord.admins, *config.discord.admin_roles),
                models=lambda: known(config),
                notes=config.data / "discord-commands.json",
                proxy=config.discord.proxy,
            )
        )
    if config.slack.on:
        from bot.platforms.slack import Slack

        platforms.append(
            Slack(
                config.slack.bot_token.get_secret_value(),
                config.slack.app_token.get_secret_value(),
                api_base=config.slack.api_base,
                admins=config.slack.admins,
                groups=[group for role in config.roles.values() for group in role.slack],
                models=lambda command: [model.name for model in known(config) if command in model.kinds],
            )
        )
    return platforms


async def live_checks(config: Config) -> list[tuple[bool, Words]]:
    """For `doctor`: ask each configured platform whether its tokens work and what they may do."""
    found: list[tuple[bool, Words]] = []
    if config.discord.on:
        from bot.platforms import discord

        found += await discord.live_check(
            config.discord.token.get_secret_value(), api_base=config.discord.api_base
        )
    if config.slack.on:
        from bot.platforms import slack

        tokens = config.slack.bot_token.get_secret_value(), config.slack.app_token.get_secret_value()
        base = {"api_base": config.slack.api_base} if config.slack.api_base else {}
        found += await slack.live_check(*tokens, **base)
    return found


def manifest_of(platform: Literal["discord", "slack"]) -> dict[str, Any]:
    """What to register with a platform."""
    if platform == "discord":
        from bot.platforms.discord import manifest as discord_manifest

        return discord_manifest(FORMS)
    from bot.platforms.slack import manifest as slack_manifest

    return slack_manifest()
