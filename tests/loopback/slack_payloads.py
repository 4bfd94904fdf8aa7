"""Payloads as Slack documents them: interactions, events, file objects, filled-in modals. Pure functions."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

from .slack_kit import number_fits

Json = dict[str, Any]


def escaped(text: str) -> str:
    """Text as Slack hands it over."""
    return text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")


def file_object(file: Json, url: str, team: str, user: str, processed: bool) -> Json:
    """A full file object, as events and view_submissions carry it; an unprocessed one has no type yet."""
    kind = Path(file["name"]).suffix.lstrip(".").lower() if processed else ""
    return {
        "id": file["id"], "created": int(time.time()), "timestamp": int(time.time()), "name": file["name"],
        "title": file.get("title") or file["name"], "mimetype": f"image/{kind}" if kind else "", "filetype": kind,
        "user": file.get("user", user), "user_team": team, "mode": "hosted", "editable": False,
        "is_external": False, "external_type": "", "file_access": "visible", "size": file["size"],
        "is_public": False, "url_private": url, "url_private_download": url,
    }  # fmt: skip


def interaction(team: str, user: str, name: str, channel: str, trigger: str, root: str) -> Json:
    """What block_actions and message_action have in common."""
    return {
        "token": "deprecated",
        "api_app_id": "A0",
        "team": {"id": team, "domain": "factory"},
        "user": {"id": user, "username": name, "name": name, "team_id": team},
        "channel": {"id": channel, "name": "floor"},
        "trigger_id": trigger,
        "response_url": f"{root}/respond/{channel}/{user}",
    }


def slash(common: Json, text: str) -> Json:
    """A slash command is flat: `user_id`, not `user.id`."""
    flat = {k: common[k] for k in ("token", "api_app_id", "trigger_id", "response_url")}
    return flat | {
        "team_id": common["team"]["id"], "team_domain": "factory",
        "user_id": common["user"]["id"], "user_name": common["user"]["name"],
        "channel_id": common["channel"]["id"], "channel_name": common["channel"]["name"],
        "command": "/studio", "text": escaped(text), "is_enterprise_install": "false",
    }  # fmt: skip


def pressed(common: Json, message: Json, label: str, ts: str) -> Json:
    """A press on the button of `message` whose label starts with `label`."""
    buttons = [e for b in message.get("blocks", []) if b["type"] == "actions" for e in b["elements"]]
    button = next((b for b in buttons if b["text"]["text"].startswith(label)), None)
    assert button is not None, f"no button {label!r} among {[b['text']['text'] for b in buttons]}"
    action = {"type": "button", "action_id": button["action_id"], "value": button["value"], "action_ts": ts}
    shown = message.get("ts", "")  # none: an ephemeral message
    container = {"type": "message", "message_ts": shown, "channel_id": common["channel"]["id"]}
    container |= {"is_ephemeral": not shown}
    more: Json = {"type": "block_actions", "actions": [action], "container": container}
    return common | more | ({"message": message} if shown else {})


def callback(event: Json, team: str, bot: str, id: str) -> Json:
    """The envelope of the Events API around an event."""
    return {
        "token": "deprecated", "team_id": team, "api_app_id": "A0", "event": event, "type": "event_callback",
        "event_id": id, "event_time": int(float(event["ts"])),
        "authorizations": [{"team_id": team, "user_id": bot, "is_bot": True}],
    }  # fmt: skip


def submission(common: Json, view: Json, values: Json, files: dict[str, Json]) -> Json:
    """A modal filled in. `values` by block: texts and numbers as typed, `True` ticks, lists are file ids.

    Fails where Slack's own client would not let a person submit.
    """
    left = dict(values)
    state = {}
    for block in (b for b in view["blocks"] if b["type"] == "input"):
        filled = _filled(block, left.pop(block["block_id"], None), files)
        state[block["block_id"]] = {block["element"]["action_id"]: filled}
    assert not left, f"no such input: {list(left)}"
    kept = {k: common[k] for k in ("token", "api_app_id", "team", "user", "trigger_id")}
    return kept | {
        "type": "view_submission",
        "view": view | {"state": {"values": state}},
        "response_urls": [],
        "is_enterprise_install": False,
    }


def _filled(block: Json, value: Any, files: dict[str, Json]) -> Json:
    element = block["element"]
    kind = element["type"]
    if kind == "file_input":
        assert value or block.get("optional"), f"{block['block_id']} needs a file"
        assert len(value or ()) <= element.get("max_files", 10)
        return {"type": kind, "files": [files[id] for id in value or ()]}
    if kind == "checkboxes":
        ticked = bool(element.get("initial_options")) if value is None else bool(value)
        return {"type": kind, "selected_options": element["options"] if ticked else []}
    if kind == "static_select":
        chosen = next((o for o in element["options"] if o["value"] == value), element.get("initial_option"))
        return {"type": kind, "selected_option": chosen}
    text = element.get("initial_value") if value is None else str(value)
    assert text or block.get("optional"), f"{block['block_id']} is required"
    if kind == "number_input":
        assert not list(number_fits(element, text)), f"{block['block_id']}: {text}"
    return {"type": kind, "value": text or None}
