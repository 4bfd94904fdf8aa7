"""What Discord sends, as `Invocation` and `Press`: pure functions of payloads."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Collection, Mapping
from typing import Any

import discord

from bot.menu import form_named
from bot.platforms.discord import further
from bot.platforms.discord.attachments import DiscordFile, Fetcher, files_of
from bot.platforms.discord.commands import (
    AREA,
    INTERROGATE,
    NEEDED,
    REMOVE_BACKGROUND,
    SHOW_RECIPE,
    USE_AS_INPUT,
    further_pictures,
)
from bot.platforms.discord.render import BUTTON
from bot.talk import Invocation, Person, Place, Press
from engines.words import Language, Refusal, Words

HANGUL = re.compile("[\uac00-\ud7a3]")
Context = discord.Interaction[Any]

BOTH_MASKS = Words(
    "Give either a mask picture (`mask`) or words for it (`mask_area`), not both.",
    "마스크 사진(`mask`)과 마스크 영역(`mask_area`) 중 하나만 입력해 주십시오.",
)
NO_PICTURE = Words(
    "There is no picture in this message. Choose a message that shows one.",
    "이 메시지에는 사진이 없습니다. 사진이 있는 메시지를 골라 주십시오.",
)
NAME_ME = Words(
    "Discord does not show me messages that mention my role. Please mention me myself, or use the `/` commands.",
    "제 역할을 멘션하신 메시지는 Discord가 저에게 보여 주지 않습니다. 저를 직접 멘션하시거나 `/` 명령을 사용해 주십시오.",
)
NOT_ALLOWED = Words(
    "I may not do this in this channel: {names}. Please ask an administrator to allow it, or use another channel.",
    "이 채널에서 필요한 권한이 없습니다: {names}. 관리자에게 권한을 요청하시거나 다른 채널에서 사용해 주십시오.",
)


def person_of(user: discord.User | discord.Member, admins: Collection[str]) -> Person:
    """`admins` are ids of people and of roles; Discord never gives an id twice, and no roles in direct messages."""
    roles = tuple(str(id) for id in user._roles) if isinstance(user, discord.Member) else None
    admin = any(id in admins for id in (str(user.id), *(roles or ())))
    return Person(f"discord:{user.id}", user.display_name, admin=admin, groups=roles)


def place_of(channel: int | str, guild: int | None) -> Place:
    """A thread is a channel of its own on Discord."""
    return Place("discord", str(channel), guild=str(guild or ""), private=guild is None)


def language_of(locale: discord.Locale | None) -> Language:
    return "ko" if locale is discord.Locale.korean else "en"


def language_of_text(text: str, guild: discord.Guild | None) -> Language:
    """A message does not tell its writer's language: Hangul does, else the server's own does."""
    if HANGUL.search(text):
        return "ko"
    return language_of(guild.preferred_locale if guild else None)


def missing_permissions(interaction: Context) -> Words | None:
    """Why the bot could not answer where this was said; None where it can."""
    if interaction.guild_id is None or interaction.app_permissions.administrator:
        return None
    needed = set(NEEDED) - set(interaction.app_permissions)
    in_thread = isinstance(interaction.channel, discord.Thread)
    unneeded = "send_messages" if in_thread else "send_messages_in_threads"
    names = sorted(name for name, wanted in needed if wanted and name != unneeded)
    return NOT_ALLOWED(names=", ".join(f"`{name}`" for name in names)) if names else None


def invocation_of(interaction: Context, admins: Collection[str], fetcher: Fetcher) -> Invocation:
    """A slash command as it was filled in. Raises `Refusal`."""
    data: Any = interaction.data or {}
    options = _options(data, fetcher)
    return _said(interaction, admins, str(data["name"]), options)


ACTIONS = {
    USE_AS_INPUT.en: "use",
    SHOW_RECIPE.en: "recipe",
    REMOVE_BACKGROUND.en: "removebg",
    INTERROGATE.en: "interrogate",
}


def menu_choice(interaction: Context, admins: Collection[str], fetcher: Fetcher) -> Press | Invocation:
    """A message menu: on a job's message it is the job's button, on another one it is about its first picture."""
    data: Any = interaction.data or {}
    message = data["resolved"]["messages"][str(data["target_id"])]
    action = ACTIONS[str(data["name"])]
    found = _button_ids(message.get("components", ())) if _is_ours(message, interaction) else []
    if found:
        return _pressed(interaction, admins, action, int(found[0]["job"]), 0)
    pictures = [file for file in files_of(message, fetcher) if _looks_like_picture(file.name)]
    if not pictures:
        raise Refusal(NO_PICTURE)
    return _said(interaction, admins, action, {"image": pictures[0]})


def press_of(interaction: Context, admins: Collection[str]) -> Press | None:
    """A press of one of our buttons; None for a component that is none of ours."""
    data: Any = interaction.data or {}
    match = BUTTON.fullmatch(str(data.get("custom_id", "")))
    if match is None:
        return None
    values = tuple(str(value) for value in data.get("values") or ())  # of a menu of choices
    press = _pressed(interaction, admins, match["action"], int(match["job"]), int(match["index"]))
    return dataclasses.replace(press, values=values)


def message_text(message: discord.Message, me: int) -> str | None:
    """What a message says to us, as text of the grammar; None where it does not speak to us.

    In a server it must name us (a reply alone does not); in a direct message everything is for us.
    """
    names = [f"<@{me}>", f"<@!{me}>"]
    if message.guild is not None and not any(name in message.content for name in names):
        return None
    text = message.content
    for name in names:
        text = text.replace(name, " ", 1)
    return text.strip()


def names_our_role(message: discord.Message, me: int) -> bool:
    """Whether someone mentioned the bot's own role in place of the bot: Discord then hides the words from us."""
    return any(role.tags is not None and role.tags.bot_id == me for role in message.role_mentions)


def _said(
    interaction: Context, admins: Collection[str], command: str, options: Mapping[str, Any]
) -> Invocation:
    return Invocation(
        key=f"discord:{interaction.id}",
        person=person_of(interaction.user, admins),
        place=place_of(interaction.channel_id or 0, interaction.guild_id),
        language=language_of(interaction.locale),
        command=command,
        options=options,
        attachments=tuple(file for value in options.values() for file in _files(value)),
    )


def _pressed(interaction: Context, admins: Collection[str], action: str, job: int, index: int) -> Press:
    return Press(
        key=f"discord:{interaction.id}",
        person=person_of(interaction.user, admins),
        place=place_of(interaction.channel_id or 0, interaction.guild_id),
        language=language_of(interaction.locale),
        action=action,
        job=job,
        index=index,
    )


def _files(value: Any) -> list[DiscordFile]:
    return [one for one in (value if isinstance(value, list) else [value]) if isinstance(one, DiscordFile)]


def _options(data: Mapping[str, Any], fetcher: Fetcher) -> dict[str, Any]:
    """What was filled in, field by field; further pictures go with the first, and `more` is read."""
    form = form_named(str(data["name"]))
    found = _by_name(data, fetcher)
    for name, field in further_pictures(form).items():
        if name in found:
            file = found.pop(name)
            found[field] = [*_files(found.get(field)), file]
    if further.MORE in found:
        text = str(found.pop(further.MORE))
        found |= further.more_read(form, text, found)
    return found


def _by_name(data: Mapping[str, Any], fetcher: Fetcher) -> dict[str, Any]:
    sent: Mapping[str, Any] = data.get("resolved", {}).get("attachments", {})
    found: dict[str, Any] = {}
    for option in data.get("options", ()):
        name, value = option["name"], option["value"]
        if option["type"] == discord.AppCommandOptionType.attachment.value:
            (value,) = files_of({"attachments": [sent[str(value)]]}, fetcher)
        if name.endswith(AREA):
            name = name.removesuffix(AREA)
        if name in found:
            raise Refusal(BOTH_MASKS)
        found[name] = value
    return found


def _is_ours(message: Mapping[str, Any], interaction: Context) -> bool:
    me = interaction.client.user
    return me is not None and str(message.get("author", {}).get("id")) == str(me.id)


def _button_ids(components: Any) -> list[re.Match[str]]:
    found: list[re.Match[str]] = []
    for component in components:
        match = BUTTON.fullmatch(str(component.get("custom_id", "")))
        found += [match] if match else []
        found += _button_ids(component.get("components", ()))
    return found


def _looks_like_picture(name: str) -> bool:
    return name.lower().rpartition(".")[2] in {"png", "jpg", "jpeg", "webp", "bmp", "tif", "tiff", "gif"}
