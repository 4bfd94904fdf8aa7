"""Slack: slack_bolt over Socket Mode. `edge` is the platform, `ears` what it hears, the rest their parts."""

from bot.platforms.slack.edge import Slack as Slack
from bot.platforms.slack.manifest import live_check as live_check
from bot.platforms.slack.manifest import manifest as manifest
