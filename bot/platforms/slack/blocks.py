"""A `Message` as Slack shows it: mrkdwn text and Block Kit blocks. Pure functions."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

from bot.menu import FORMS
from bot.talk import Button, Choices, File, Message

TEXT = 3000  # a section's characters
MORE = 3  # sections at most: what is longer belongs in a file
ALT = 2000
BUTTONS = 25  # in one actions block
LABEL = 75
BOXES = 10  # options of one checkboxes element
SLASH = "/studio"
PICTURES = (".png", ".jpg", ".jpeg", ".gif")  # what an image block shows; no WebP

Block = dict[str, Any]

_CODE = re.compile(r"(```.*?```|`[^`\n]+`)", re.DOTALL)
_BOLD = re.compile(r"\*\*(?=\S)(.+?)(?<=\S)\*\*", re.DOTALL)
_COMMAND = re.compile(rf"(?<![\w/.])/(?=(?:{'|'.join(form.name for form in FORMS)})\b)")


def escape(text: str) -> str:
    """Nothing in it is a mention, a channel or a link any more."""
    return text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")


def unescape(text: str) -> str:
    """What a person typed, as Slack hands it over."""
    return text.replace("&lt;", "<").replace("&gt;", ">").replace("&amp;", "&")


def mrkdwn(text: str) -> str:
    """Our light Markdown in Slack's: `**bold**` → `*bold*`; code stays; commands get their `/studio`."""
    parts = _CODE.split(_COMMAND.sub(f"{SLASH} ", escape(text)))
    return "".join(part if i % 2 else _BOLD.sub(r"*\1*", part) for i, part in enumerate(parts))


def plain(text: str) -> str:
    """The same without any marks, for modals and errors."""
    return _BOLD.sub(r"\1", _COMMAND.sub(f"{SLASH} ", text)).replace("`", "")


def text_of(message: Message, mention: str = "") -> str:
    """The message in one string; also what notifications show."""
    body = mrkdwn(message.text)
    return f"<@{mention}> {body}" if mention else body


def is_shown(file: File) -> bool:
    """Whether an image block can show it; anything else is shared in the thread."""
    return file.name.lower().endswith(PICTURES)


def blocks_of(message: Message, text: str, pictures: Sequence[tuple[str, File]] = ()) -> list[Block]:
    """Text, pictures (`(file id, file)`), boxes to tick and buttons."""
    drawn: list[Block] = [_section(part) for part in _split(text, TEXT)[:MORE]]
    drawn += [_image(file_id, file) for file_id, file in pictures]
    if message.choices and message.choices.options:
        drawn.append(_boxes(message.choices))
    for start in range(0, len(message.buttons), BUTTONS):
        row = [_button(button) for button in message.buttons[start : start + BUTTONS]]
        drawn.append({"type": "actions", "block_id": f"ds:{message.job}:{start}", "elements": row})
    return drawn


def form_button(command: str, label: str, value: str) -> Block:
    """A button that opens a command's form: a fresh press brings a fresh trigger."""
    button: Block = {"type": "button", "action_id": f"form:{command}", "value": value, "style": "primary"}
    return {"type": "actions", "elements": [button | {"text": {"type": "plain_text", "text": label[:LABEL]}}]}


def _section(text: str) -> Block:
    return {"type": "section", "text": {"type": "mrkdwn", "text": text or " ", "verbatim": True}}


def _image(file_id: str, file: File) -> Block:
    return {"type": "image", "slack_file": {"id": file_id}, "alt_text": (file.alt or file.name)[:ALT]}


def _button(button: Button) -> Block:
    drawn: Block = {
        "type": "button",
        "action_id": button.id,
        "value": button.id,
        "text": {"type": "plain_text", "text": button.label[:LABEL], "emoji": True},
    }
    return drawn | ({"style": "danger"} if button.danger else {})


def _boxes(choices: Choices) -> Block:
    """What is ticked comes with the press of any button of the message, so Slack itself remembers it."""
    options = [
        {
            "text": {"type": "plain_text", "text": one.label[:LABEL], "emoji": False},
            "value": one.value[:LABEL],
        }
        for one in choices.options[:BOXES]
    ]
    ticked = [drawn for drawn, one in zip(options, choices.options, strict=False) if one.chosen]
    boxes: Block = {"type": "checkboxes", "action_id": choices.id, "options": options}
    boxes |= {"initial_options": ticked} if ticked else {}
    text = {"type": "mrkdwn", "text": mrkdwn(choices.placeholder), "verbatim": True}
    return {"type": "section", "block_id": choices.id, "text": text, "accessory": boxes}


def _split(text: str, limit: int) -> list[str]:
    """Pieces of at most `limit` characters, cut at line ends where there are any; a code block cut in two is
    closed and opened again."""
    pieces: list[str] = []
    while len(text) > limit:
        at = text.rfind("\n", limit // 2, limit - 8)
        at = at if at > 0 else _between_entities(text, limit - 8)
        piece, text = text[:at], text[at:].lstrip("\n")
        if piece.count("```") % 2:
            piece, text = f"{piece}\n```", f"```\n{text}"
        pieces.append(piece)
    return [*pieces, text]


def _between_entities(text: str, at: int) -> int:
    """`at`, or a little before where that would cut an `&amp;` in two."""
    start = text.rfind("&", at - 4, at)
    return start if start >= 0 and ";" not in text[start:at] else at
