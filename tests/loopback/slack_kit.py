"""Block Kit's limits, as documented: what Slack would answer `invalid_blocks` or `invalid_arguments` to."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

Block = dict[str, Any]

FILE_ID = re.compile(r"^F[A-Z0-9]{8,}$")


def check_message(args: dict[str, Any]) -> Iterator[str]:
    """What is wrong with a chat.postMessage, chat.update or chat.postEphemeral."""
    blocks = args.get("blocks") or []
    if len(blocks) > 50:
        yield f"{len(blocks)} blocks in a message"
    if not args.get("text"):
        yield "no text: notifications would be empty"
    if len(args.get("text") or "") > 40_000:
        yield "text over 40,000 characters"
    if re.search(r"<!(?:channel|here|everyone)", str(args.get("text")) + str(blocks)):
        yield "a mention of everybody"
    metadata = args.get("metadata")
    if metadata is not None and not (
        metadata.get("event_type") and isinstance(metadata.get("event_payload"), dict)
    ):
        yield f"metadata without event_type and event_payload: {metadata}"
    yield from _unique("block_id", blocks)
    for block in blocks:
        yield from _block(block, {"section", "actions", "image", "context", "divider", "header", "rich_text"})


def check_view(view: dict[str, Any]) -> Iterator[str]:
    """What is wrong with a modal."""
    if view.get("type") != "modal":
        yield f"view type {view.get('type')}"
    for part, most in (("title", 24), ("submit", 24), ("close", 24)):
        if part in view:
            yield from _text(view[part], most, part, kinds={"plain_text"})
    if len(view.get("private_metadata", "")) > 3000:
        yield "private_metadata over 3000 characters"
    if len(view.get("callback_id", "")) > 255:
        yield "callback_id over 255 characters"
    blocks = view.get("blocks", [])
    if not 1 <= len(blocks) <= 100:
        yield f"{len(blocks)} blocks in a modal"
    if any(b["type"] == "input" for b in blocks) and "submit" not in view:
        yield "inputs without a submit"
    yield from _unique("block_id", blocks)
    for block in blocks:
        yield from _block(block, {"section", "actions", "image", "context", "divider", "header", "input"})


def _unique(key: str, things: list[Block]) -> Iterator[str]:
    said = [t[key] for t in things if key in t]
    if len(said) != len(set(said)):
        yield f"{key} twice: {said}"
    yield from (f"{key} over 255 characters" for one in said if len(one) > 255)


def _text(text: Any, most: int, where: str, kinds: set[str] | None = None) -> Iterator[str]:
    if not isinstance(text, dict) or text.get("type") not in (kinds or {"plain_text", "mrkdwn"}):
        yield f"{where}: not a text object of the right kind: {text}"
    elif not 1 <= len(text.get("text", "")) <= most:
        yield f"{where}: {len(text.get('text', ''))} characters, 1 to {most} allowed"


def _block(block: Block, allowed: set[str]) -> Iterator[str]:
    kind = block.get("type")
    if kind not in allowed:
        yield f"block {kind} not allowed here"
    elif kind == "section":
        yield from _text(block.get("text"), 3000, "section")
    elif kind == "image":
        if "slack_file" in block and not FILE_ID.match(block["slack_file"].get("id", "")):
            yield f"slack_file {block['slack_file']}"
        if not 1 <= len(block.get("alt_text", "")) <= 2000:
            yield "image without alt_text"
    elif kind == "actions":
        elements = block.get("elements", [])
        if not 1 <= len(elements) <= 25:
            yield f"{len(elements)} elements in an actions block"
        yield from _unique("action_id", elements)
        for element in elements:
            yield from _button(element)
    elif kind == "input":
        yield from _text(block.get("label"), 2000, "label", {"plain_text"})
        if "hint" in block:
            yield from _text(block["hint"], 2000, "hint", {"plain_text"})
        yield from _element(block.get("element", {}))


def _button(element: Block) -> Iterator[str]:
    if element.get("type") != "button":
        yield f"element {element.get('type')} in an actions block"
    yield from _text(element.get("text"), 75, "button", {"plain_text"})
    if len(element.get("action_id", "")) > 255 or len(element.get("value", "")) > 2000:
        yield "button's action_id or value too long"
    if element.get("style") not in (None, "primary", "danger"):
        yield f"button style {element['style']}"


def _element(element: Block) -> Iterator[str]:
    kind = element.get("type")
    if kind == "plain_text_input":
        most = element.get("max_length", 3000)
        if not 1 <= most <= 3000 or len(element.get("initial_value", "")) > most:
            yield f"plain_text_input: {element}"
    elif kind == "number_input":
        if "is_decimal_allowed" not in element:
            yield "number_input without is_decimal_allowed"
        for key in ("min_value", "max_value", "initial_value"):
            if key in element and not re.fullmatch(r"-?\d+(\.\d+)?", str(element[key])):
                yield f"number_input: {key} is {element[key]!r}"
            if key in element and not isinstance(element[key], str):
                yield f"number_input: {key} is not a string"
        yield from number_fits(element, element.get("initial_value"))
    elif kind == "static_select":
        options = element.get("options", [])
        if not 1 <= len(options) <= 100:
            yield f"{len(options)} options"
        yield from _options(options)
        if element.get("initial_option") not in [None, *options]:
            yield "initial_option is no option"
    elif kind == "checkboxes":
        if not 1 <= len(element.get("options", [])) <= 10:
            yield "checkboxes: 1 to 10 options"
        yield from _options(element.get("options", []))
    elif kind == "file_input":
        if not 1 <= element.get("max_files", 10) <= 10:
            yield "file_input: max_files"
    else:
        yield f"input element {kind}"


def _options(options: list[Block]) -> Iterator[str]:
    for option in options:
        yield from _text(option.get("text"), 75, "option")
        if not 1 <= len(option.get("value", "")) <= 150:
            yield f"option value {option.get('value')!r}"


def number_fits(element: Block, value: str | None) -> Iterator[str]:
    """Why Slack's own client would not let a person submit this number."""
    if value is None:
        return
    if not element["is_decimal_allowed"] and not re.fullmatch(r"-?\d+", value):
        yield f"{value} is not a whole number"
    elif float(value) < float(element.get("min_value", "-inf")) or float(value) > float(
        element.get("max_value", "inf")
    ):
        yield f"{value} is out of bounds"
