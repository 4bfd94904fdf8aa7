"""The methods of Slack's Web API that the studio uses, as documented, over the loopback server's book."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from aiohttp import web

from .slack_kit import check_message, check_view

if TYPE_CHECKING:
    from .slack import SlackServer

Args = dict[str, Any]
JSON_FIELDS = ("blocks", "metadata", "files", "view", "attachments")


class Error(Exception):
    """`{"ok": false, "error": …}`."""

    def __init__(self, word: str, **more: Any) -> None:
        super().__init__(word)
        self.answer = {"ok": False, "error": word, **more}


async def arguments(request: web.Request) -> Args:
    """From the query, a form or a JSON body; Slack takes all three, and JSON texts in the first two."""
    args: Args = dict(request.query)
    if request.content_type == "application/json":
        args.update(await request.json())
        return args
    args.update(await request.post())
    return {k: json.loads(v) if k in JSON_FIELDS and isinstance(v, str) else v for k, v in args.items()}


def methods(server: SlackServer) -> dict[str, Callable[[Args], Args]]:
    """Method name → what it does to the book."""
    api = _Methods(server)
    return {
        "auth.test": api.auth_test,
        "chat.postMessage": api.post,
        "chat.postEphemeral": api.whisper,
        "chat.update": api.update,
        "chat.delete": api.delete,
        "conversations.history": api.history,
        "conversations.replies": api.replies,
        "conversations.open": api.open,
        "users.info": api.user,
        "usergroups.users.list": api.group,
        "views.open": api.open_view,
        "views.update": api.update_view,
        "files.getUploadURLExternal": api.upload_address,
        "files.completeUploadExternal": api.complete,
        "files.info": api.file,
        "files.delete": api.delete_file,
    }


class _Methods:
    def __init__(self, server: SlackServer) -> None:
        self.book = server

    def auth_test(self, args: Args) -> Args:
        return {
            "team": "Factory",
            "team_id": self.book.team,
            "user": "studio",
            "user_id": self.book.bot,
            "bot_id": "B0BOT",
        }

    # Messages.

    def post(self, args: Args) -> Args:
        channel = self._channel(args)
        self._check(args)
        thread = args.get("thread_ts")
        if thread and not any(m["ts"] == thread for m in self.book.channels.get(channel, [])):
            raise Error("thread_not_found")
        message = self._message(args) | {"ts": self.book.next_ts()}
        message |= {"thread_ts": thread} if thread else {}
        self.book.channels.setdefault(channel, []).append(message)
        return {"channel": channel, "ts": message["ts"], "message": message}

    def whisper(self, args: Args) -> Args:
        channel = self._channel(args)
        self._check(args)
        self.book.ephemerals.append(self._message(args) | {"channel": channel, "user": args["user"]})
        return {"message_ts": self.book.next_ts()}

    def update(self, args: Args) -> Args:
        message = self._find(args)
        self._check(args)
        # Without metadata in the call none is left: the harsher of the two readings of the documentation.
        kept = {k: message[k] for k in ("ts", "thread_ts") if k in message}
        edits = message.get("edits", 0) + 1
        message.clear()
        message.update(self._message(args) | kept | {"edits": edits})
        return {"channel": args["channel"], "ts": message["ts"], "text": message["text"]}

    def delete(self, args: Args) -> Args:
        self.book.channels[self._channel(args)].remove(self._find(args))
        return {"channel": args["channel"], "ts": args["ts"]}

    def history(self, args: Args) -> Args:
        messages = [
            m
            for m in self.book.channels.get(self._channel(args), [])
            if m.get("thread_ts") in (None, m["ts"])
        ]
        return self._page(messages[::-1], args)

    def replies(self, args: Args) -> Args:
        messages = self.book.channels.get(self._channel(args), [])
        if not any(m["ts"] == args["ts"] for m in messages):
            raise Error("thread_not_found")
        parent = [m for m in messages if m["ts"] == args["ts"]]
        replies = [m for m in messages if m.get("thread_ts") == args["ts"] and m["ts"] != args["ts"]]
        later = [m for m in replies if float(m["ts"]) >= float(args.get("oldest", 0))]
        later = [m for m in later if float(m["ts"]) <= float(args.get("latest") or "inf")]
        return self._page(parent + later, args | {"oldest": 0, "latest": None})

    def _page(self, messages: list[Args], args: Args) -> Args:
        found = [m for m in messages if float(m["ts"]) >= float(args.get("oldest") or 0)]
        found = [m for m in found if float(m["ts"]) <= float(args.get("latest") or "inf")]
        start, limit = int(args.get("cursor") or 0), min(int(args.get("limit", 100)), self.book.page)
        shown = found[start : start + limit]
        if str(args.get("include_all_metadata", "")).lower() not in ("1", "true"):
            shown = [{k: v for k, v in m.items() if k != "metadata"} for m in shown]
        more = start + limit < len(found)
        cursor = {"response_metadata": {"next_cursor": str(start + limit)}} if more else {}
        return {"messages": shown, "has_more": more} | cursor

    def _message(self, args: Args) -> Args:
        more = {k: args[k] for k in ("blocks", "metadata") if args.get(k) is not None}
        return {"type": "message", "user": self.book.bot, "bot_id": "B0BOT", "text": args["text"], **more}

    def _channel(self, args: Args) -> str:
        channel = str(args.get("channel", ""))
        if channel in self.book.archived:
            raise Error("is_archived")
        if channel not in self.book.members:
            raise Error("not_in_channel" if channel.startswith("C") else "channel_not_found")
        return channel

    def _find(self, args: Args) -> Args:
        for message in self.book.channels.get(self._channel(args), []):
            if message["ts"] == args["ts"]:
                return message
        raise Error("message_not_found")

    def _check(self, args: Args) -> None:
        self.book.complain(*check_message(args))
        for i, block in enumerate(args.get("blocks") or []):
            file = self.book.files.get((block.get("slack_file") or {}).get("id", ""))
            if "slack_file" in block and (file is None or not self.book.is_processed(file)):
                raise Error(
                    "invalid_blocks", errors=[f"invalid slack file [json-pointer:/blocks/{i}/slack_file]"]
                )
            if "slack_file" in block and not file["name"].lower().endswith((".png", ".jpg", ".jpeg", ".gif")):
                raise Error("invalid_blocks", errors=["not a png, jpg or gif"])

    # People, views.

    def open(self, args: Args) -> Args:
        channel = f"D{args['users'][1:]}"
        self.book.members.add(channel)
        return {"channel": {"id": channel}}

    def user(self, args: Args) -> Args:
        name, locale = self.book.people.get(args["user"], (args["user"].lower(), "en-US"))
        user = {"id": args["user"], "name": name, "profile": {"display_name": name, "real_name": name}}
        return {"user": user | ({"locale": locale} if args.get("include_locale") else {})}

    def group(self, args: Args) -> Args:
        if args["usergroup"] not in self.book.groups:
            raise Error("no_such_subteam")
        return {"users": self.book.groups[args["usergroup"]]}

    def open_view(self, args: Args) -> Args:
        sent = self.book.triggers.pop(args["trigger_id"], None)
        if sent is None:
            raise Error("exchanged_trigger_id")
        if time.monotonic() - sent > self.book.trigger_life:
            raise Error("expired_trigger_id")
        return self._view(self.book.new_id("V"), args["view"])

    def update_view(self, args: Args) -> Args:
        if args["view_id"] not in self.book.views:
            raise Error("not_found")
        return self._view(args["view_id"], args["view"])

    def _view(self, id: str, view: Args) -> Args:
        self.book.complain(*check_view(view))
        self.book.views[id] = view | {"id": id, "hash": self.book.new_id("h"), "team_id": self.book.team}
        return {"view": self.book.views[id]}

    # Files.

    def upload_address(self, args: Args) -> Args:
        id = self.book.new_id("F")
        self.book.files[id] = {
            "id": id,
            "name": args["filename"],
            "size": int(args["length"]),
            "data": None,
            "done": None,
        }
        return {"file_id": id, "upload_url": f"{self.book.root}/upload/{id}"}

    def complete(self, args: Args) -> Args:
        for one in args["files"]:
            file = self.book.files.get(one["id"])
            if file is None or file["data"] is None:
                raise Error("file_not_found")
            file |= {"title": one.get("title"), "done": time.monotonic()}
            if args.get("channel_id"):
                shared = {
                    "type": "message",
                    "user": self.book.bot,
                    "text": "",
                    "ts": self.book.next_ts(),
                    "files": [self._shown(file)],
                }
                shared |= {"thread_ts": args["thread_ts"]} if args.get("thread_ts") else {}
                self.book.channels.setdefault(self._channel({"channel": args["channel_id"]}), []).append(
                    shared
                )
        return {"files": [{"id": one["id"], "title": one.get("title")} for one in args["files"]]}

    def file(self, args: Args) -> Args:
        if args["file"] not in self.book.files:
            raise Error("file_not_found")
        return {"file": self._shown(self.book.files[args["file"]])}

    def delete_file(self, args: Args) -> Args:
        if self.book.files.pop(args["file"], None) is None:
            raise Error("file_not_found")
        return {}

    def _shown(self, file: Args) -> Args:
        return self.book.file_object(file["id"])
