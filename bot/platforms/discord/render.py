"""A `Message` as Discord shows it: text, a gallery, files and buttons in one Components V2 layout.

Everything we say is Components V2 from its first moment, because the flag cannot be taken off a message again
and one living message goes from "queued" over previews to ten pictures.
"""

from __future__ import annotations

import io
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import PurePath

import discord
from discord import ui

from bot.talk import Button, Choices, File, Message

TEXT = 4000  # characters of all text components together
PICTURES = 10  # items of one media gallery
FILES = 10
ROW = 5  # buttons side by side
LABEL = 80
OPTIONS, OPTION, PLACEHOLDER = 25, 100, 150  # of a menu: how many, and characters of each
ALT = 256

KEY = re.compile(r"ds(\d{1,9})([sr])")  # what the outbox calls a job's message
BUTTON = re.compile(r"ds:(?P<action>[a-z]{1,20}):(?P<job>\d{1,15}):(?P<index>\d{1,9})")
# A component's own id is ours to choose (32 bits), comes back with the message and is invisible. Discord numbers
# the others 1, 2, 3, …, so ours start high.
MARK = 1 << 30


@dataclass(frozen=True, slots=True)
class Drawn:
    """What goes into one request."""

    layout: ui.LayoutView
    files: list[discord.File]
    mentions: discord.AllowedMentions


def draw(message: Message, *, key: str = "", new: bool = False) -> Drawn:
    """The layout and the opened files of a message. `new` messages may notify the person they mention;
    `key` is put into the layout so that `carries` finds it again."""
    person = _user(message.mention) if new else None
    layout = ui.LayoutView(timeout=None)
    layout.add_item(ui.TextDisplay(_text(message, person), id=mark_of(key)))
    pictures, others, opened = _open(message)
    if pictures:
        layout.add_item(ui.MediaGallery(*pictures))
    for other in others:
        layout.add_item(other)
    if message.choices and message.choices.options:
        layout.add_item(_menu(message.choices))
    for row in _rows(message.buttons):
        layout.add_item(row)
    layout.stop()  # buttons are known by their ids alone; discord.py need not remember this layout
    people = [discord.Object(person)] if person else False
    mentions = discord.AllowedMentions(everyone=False, roles=False, users=people, replied_user=False)
    return Drawn(layout, opened, mentions)


def mark_of(key: str) -> int | None:
    """The component id that stands for a job's message; None for keys of another form."""
    match = KEY.fullmatch(key)
    if match is None or (number := MARK + 2 * int(match[1]) + (match[2] == "r")) >= 1 << 32:
        return None
    return number


def carries(message: discord.Message, key: str) -> bool:
    """Whether this message of ours was posted with `key`.

    Buttons would not do: they are the same on a job's status and on its answer.
    """
    mark = mark_of(key)
    if message.nonce is not None and str(message.nonce) == key:
        return True
    return mark is not None and any(getattr(part, "id", None) == mark for part in message.components)


def _text(message: Message, person: int | None) -> str:
    head = f"<@{person}> " if person else ""
    return head + cut(discord.utils.escape_mentions(message.text), TEXT - len(head)) or "…"


def cut(text: str, limit: int) -> str:
    """At most `limit` characters; an open code block is closed again."""
    if len(text) <= limit:
        return text
    kept = text[: limit - 6]
    return kept + ("…\n```" if kept.count("```") % 2 else "…")


def _open(
    message: Message,
) -> tuple[list[discord.MediaGalleryItem], list[ui.File[ui.LayoutView]], list[discord.File]]:
    pictures: list[discord.MediaGalleryItem] = []
    others: list[ui.File[ui.LayoutView]] = []
    opened: list[discord.File] = []
    if message.preview:
        name = "preview.png" if message.preview.startswith(b"\x89PNG") else "preview.jpg"
        opened.append(discord.File(io.BytesIO(message.preview), name))
        pictures.append(discord.MediaGalleryItem(f"attachment://{name}"))
    taken: set[str] = {file.filename for file in opened}
    for file in message.files[: FILES - len(opened)]:
        name = plain_name(file.name, taken)
        alt = file.alt[:ALT] or None
        opened.append(discord.File(file.path, name, description=alt))
        if file.is_picture and len(pictures) < PICTURES:
            pictures.append(_item(name, alt, file))
        else:
            others.append(ui.File(f"attachment://{name}", spoiler=file.spoiler))
    return pictures, others, opened


def _item(name: str, alt: str | None, file: File) -> discord.MediaGalleryItem:
    return discord.MediaGalleryItem(f"attachment://{name}", description=alt, spoiler=file.spoiler)


def plain_name(name: str, taken: set[str]) -> str:
    """A file name that `attachment://` can point to, unlike all `taken`; it is added to them."""
    path = PurePath(name)
    stem = re.sub(r"[^A-Za-z0-9_-]+", "_", path.stem).strip("_-")[-80:] or "file"
    ending = re.sub(r"[^A-Za-z0-9.]+", "", path.suffix)[:10]
    number, chosen = 1, stem + ending
    while chosen in taken:
        number += 1
        chosen = f"{stem}-{number}{ending}"
    taken.add(chosen)
    return chosen


def _rows(buttons: Sequence[Button]) -> Iterator[ui.ActionRow[ui.LayoutView]]:
    for first in range(0, len(buttons), ROW):
        row: ui.ActionRow[ui.LayoutView] = ui.ActionRow()
        for button in buttons[first : first + ROW]:
            style = discord.ButtonStyle.danger if button.danger else discord.ButtonStyle.secondary
            row.add_item(ui.Button(label=button.label[:LABEL], custom_id=button.id, style=style))
        yield row


def _menu(choices: Choices) -> ui.ActionRow[ui.LayoutView]:
    options = [
        discord.SelectOption(label=cut(one.label, OPTION), value=one.value[:OPTION], default=one.chosen)
        for one in choices.options[:OPTIONS]
    ]
    row: ui.ActionRow[ui.LayoutView] = ui.ActionRow()
    most = max(1, min(choices.most, len(options)))
    menu: ui.Select[ui.LayoutView] = ui.Select(
        custom_id=choices.id,
        placeholder=choices.placeholder[:PLACEHOLDER],
        max_values=most,
        options=options,
    )
    row.add_item(menu)
    return row


def _user(person: str) -> int | None:
    platform, _, number = person.partition(":")
    return int(number) if platform == "discord" and number.isdecimal() else None
