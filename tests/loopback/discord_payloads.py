"""Discord's payloads, as documented: what requests carry, and what is shown of messages, channels and servers."""

from __future__ import annotations

import itertools
import json
import time
from typing import Any

from aiohttp import web

Json = dict[str, Any]
BOT = {
    "id": "1000",
    "username": "studio",
    "discriminator": "0",
    "avatar": None,
    "bot": True,
    "global_name": None,
}
GUILD, CHANNEL = "2000", "3000"
EVERYTHING = str((1 << 53) - 1)


def answer(body: Any, status: int = 200, headers: dict[str, str] | None = None) -> web.Response:
    # discord.py compares the whole content type, so there must be no charset
    content = {"Content-Type": "application/json", **(headers or {})}
    return web.Response(body=json.dumps(body).encode(), status=status, headers=content)


def error(status: int, code: int, message: str) -> web.Response:
    return answer({"code": code, "message": message}, status=status)


async def payload_of(request: web.Request) -> tuple[Json, list[tuple[str, int]]]:
    """The JSON of a request and the names and sizes of the files beside it."""
    if not request.content_type.startswith("multipart/"):
        return (await request.json() if request.can_read_body else {}), []
    form = await request.post()
    files = []
    for name, value in form.items():
        if isinstance(value, web.FileField) and name != "payload_json":
            files.append((value.filename, len(value.file.read())))
    return json.loads(str(form["payload_json"])), files


def text_of(payload: Any) -> str:
    """All text of a message, Components V2 included."""
    if isinstance(payload, list):
        return "\n".join(text for one in payload if (text := text_of(one)))
    if not isinstance(payload, dict):
        return ""
    own = str(payload.get("content") or "")
    inner = [text_of(payload.get(key)) for key in ("components", "component", "accessory")]
    return "\n".join(text for text in (own, *inner) if text)


def numbered(components: list[Json]) -> list[Json]:
    """Components as Discord gives them back: each with an id, the one that was given or the next free one."""
    serial = itertools.count(1)

    def number(one: Json) -> Json:
        numbered = {**one, "id": one.get("id") or next(serial)}
        if "components" in one:
            numbered["components"] = [number(inner) for inner in one["components"]]
        for item in numbered.get("items", []):
            item["media"] = {**item["media"], "proxy_url": item["media"]["url"], "width": 1, "height": 1}
        return numbered

    return [number(one) for one in components]


def channel() -> Json:
    return {
        "id": CHANNEL, "type": 0, "guild_id": GUILD, "name": "general", "position": 0, "topic": None, "nsfw": False,
        "permission_overwrites": [], "parent_id": None, "rate_limit_per_user": 0, "last_message_id": None,
        "permissions": EVERYTHING,
    }  # fmt: skip


def guild() -> Json:
    everyone = {
        "id": GUILD, "name": "@everyone", "permissions": EVERYTHING, "position": 0, "color": 0, "hoist": False,
        "managed": False, "mentionable": False, "flags": 0, "icon": None, "unicode_emoji": None,
        "colors": {"primary_color": 0, "secondary_color": None, "tertiary_color": None},
    }  # fmt: skip
    return {
        "id": GUILD, "name": "factory", "icon": None, "owner_id": "1", "roles": [everyone], "emojis": [],
        "features": [], "members": [], "channels": [channel()], "threads": [], "voice_states": [], "presences": [],
        "member_count": 2, "large": False, "joined_at": "2024-01-01T00:00:00+00:00", "verification_level": 0,
        "default_message_notifications": 0, "explicit_content_filter": 0, "mfa_level": 0, "premium_tier": 0,
        "premium_subscription_count": 0, "preferred_locale": "en-US", "nsfw_level": 0, "stickers": [],
        "stage_instances": [], "guild_scheduled_events": [], "system_channel_flags": 0, "afk_timeout": 300,
        "afk_channel_id": None, "system_channel_id": None, "rules_channel_id": None, "vanity_url_code": None,
        "application_id": None, "description": None, "banner": None, "splash": None, "discovery_splash": None,
        "public_updates_channel_id": None, "soundboard_sounds": [], "unavailable": False,
    }  # fmt: skip


def application() -> Json:
    owner = {"id": "1", "username": "owner", "discriminator": "0", "avatar": None, "global_name": None}
    return {
        "id": BOT["id"], "name": "studio", "icon": None, "description": "", "bot_public": True,
        "bot_require_code_grant": False, "verify_key": "", "flags": 0, "owner": owner, "team": None,
        "rpc_origins": [], "summary": "", "hook": False,
    }  # fmt: skip


def interaction(kind: int, data: Json, user: int, locale: str) -> Json:
    """A command or a press, but for its id and token."""
    person = {
        "id": str(user),
        "username": f"p{user}",
        "discriminator": "0",
        "avatar": None,
        "global_name": None,
    }
    member = {
        "user": person, "roles": [], "joined_at": "2024-01-01T00:00:00+00:00", "deaf": False, "mute": False, "flags": 0,
        "permissions": EVERYTHING, "nick": None, "avatar": None, "premium_since": None, "pending": False,
        "communication_disabled_until": None,
    }  # fmt: skip
    return {
        "application_id": BOT["id"], "type": kind, "data": data, "version": 1, "guild_id": GUILD,
        "channel_id": CHANNEL, "channel": channel(), "guild": {"id": GUILD, "locale": "en-US", "features": []},
        "locale": locale, "guild_locale": "en-US", "app_permissions": EVERYTHING, "entitlements": [], "context": 0,
        "authorizing_integration_owners": {"0": GUILD}, "attachment_size_limit": 10 << 20, "member": member,
    }  # fmt: skip


def message(id: str, payload: Json, at: float, files: list[tuple[str, int]], address: str) -> Json:
    """A message of ours as Discord gives it back."""
    return {
        "id": id, "channel_id": CHANNEL, "author": BOT, "content": payload.get("content") or "",
        "timestamp": time.strftime("%Y-%m-%dT%H:%M:%S+00:00", time.gmtime(at)), "edited_timestamp": None, "tts": False,
        "type": 0, "mention_everyone": False, "mentions": [], "mention_roles": [], "embeds": [], "pinned": False,
        "flags": payload.get("flags", 0), "components": numbered(payload.get("components") or []),
        "attachments": [
            {"id": str(i), "filename": name, "size": size, "url": f"{address}/{name}", "proxy_url": f"{address}/{name}"}
            for i, (name, size) in enumerate(files, 1)
        ],
    }  # fmt: skip
