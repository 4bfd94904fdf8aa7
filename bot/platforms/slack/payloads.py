"""Slack's payloads, read: which command, which message, which pictures. Pure functions."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from typing import Any

from bot import grammar
from bot.menu import FORMS
from bot.platforms.slack.blocks import plain, unescape
from bot.talk import Message
from engines.forms import Form
from engines.words import Refusal

Body = Mapping[str, Any]

BUTTON = re.compile(r"^ds:(\w+):(\d+):(\d+)$")
PICTURES = re.compile(r"\.(png|jpe?g|webp|bmp|tiff?|gif|zip)$", re.IGNORECASE)  # a zip holds many
VALUE = 2000  # characters a button can carry
LINK = re.compile(r"<(?:https?|mailto|tel):[^|>]*\|([^>]*)>|<((?:https?|mailto|tel):[^>]*)>")


def form_of(name: str) -> type[Form] | None:
    return next((form for form in FORMS if name.strip().lower() in form.names()), None)


def needs_something(form: type[Form]) -> bool:
    return any(p.required for p in form.params().values())


def takes_picture(name: str) -> bool:
    form = form_of(name)
    return form is not None and any(p.kind == "picture" for p in form.params().values())


def said_in(text: str) -> dict[str, str]:
    """What a line of text already says, to fill in a form; nothing where it is not understood."""
    try:
        return dict(grammar.read(text).values)
    except Refusal:
        return {}


def errors(no: Message, view: Body) -> dict[str, str]:
    """The desk's no, under the first field it names (`in backticks`), else under the first of the form."""
    blocks = [str(b["block_id"]) for b in view["blocks"] if b.get("type") == "input"]
    named = [name for name in re.findall(r"`([^`]+)`", no.text) if name in blocks]
    return {[*named, *blocks][0]: plain(no.text)}


def draft(given: Mapping[str, Any], files: tuple[tuple[str, str], ...]) -> str:
    """What was filled in, in the value of the button that opens the form again; the longest give way."""
    kept = {k: v for k, v in given.items() if isinstance(v, str)}
    while len(text := json.dumps([kept, list(files)], ensure_ascii=False)) > VALUE:
        if kept:
            kept.pop(max(kept, key=lambda k: len(kept[k])))
        else:
            files = files[:-1]
    return text


def read_draft(text: str) -> tuple[dict[str, str], tuple[tuple[str, str], ...]]:
    try:
        given, files = json.loads(text)
        return dict(given), tuple((str(id), str(name)) for id, name in files)
    except (ValueError, TypeError):
        return {}, ()


def is_dm(channel: str) -> bool:
    return channel.startswith("D")


def is_direct(event: Body) -> bool:
    """A person's message in our direct message, not a change to one."""
    return event.get("channel_type") == "im" and event.get("subtype") in (None, "file_share")


def thread_of(body: Body) -> str:
    """The thread under the message that was acted on; a direct message stays flat."""
    message = body.get("message") or {}
    if message.get("thread_ts"):
        return str(message["thread_ts"])
    container = body.get("container") or {}
    if container.get("is_ephemeral") or is_dm((body.get("channel") or {}).get("id", "")):
        return ""
    return str(message.get("ts") or container.get("message_ts") or "")


def pictures_in(message: Body) -> list[dict[str, Any]]:
    """The message's pictures: files people sent, or the image blocks of our own answers."""
    files = [f for f in message.get("files") or () if PICTURES.search(str(f.get("name") or ""))]
    blocks = message.get("blocks") or ()
    shown = [b["slack_file"] for b in blocks if b.get("type") == "image" and "slack_file" in b]
    return [dict(f) for f in (*files, *shown) if f.get("id")]


def our_job(message: Body) -> int | None:
    """The job whose message this is, as its buttons say."""
    for block in message.get("blocks") or ():
        for element in block.get("elements") or () if block.get("type") == "actions" else ():
            found = BUTTON.match(str(element.get("action_id", "")))
            if found:
                return int(found.group(2))
    return None


def ticked(body: Body, job: int) -> tuple[str, ...]:
    """What is chosen now in the boxes of a job's message; it comes with every press of its buttons."""
    blocks = ((body.get("state") or {}).get("values") or {}).values()
    found = [
        option["value"]
        for elements in blocks
        for action, element in elements.items()
        if (match := BUTTON.match(action)) and int(match.group(2)) == job
        for option in element.get("selected_options") or ()
    ]
    return tuple(str(value) for value in found)


def spoken(text: str, bot: str) -> str:
    """A message's text without our own mention and without Slack's markup."""
    text = text.replace(f"<@{bot}>", " ") if bot else text
    return unescape(LINK.sub(lambda found: found.group(1) or found.group(2), text)).strip()
