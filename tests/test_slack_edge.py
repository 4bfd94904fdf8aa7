"""The platform's own promises: post, edit, find and delete against a Slack that misbehaves."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Any

import pytest

from bot.platforms.slack import Slack, live_check, manifest
from bot.platforms.slack.api import PER_MINUTE, SPARE, Bucket
from bot.platforms.slack.manifest import SCOPES
from bot.talk import Button, File, Gone, Message, Place, TooLarge, Unreachable
from engines.words import Refusal
from tests.loopback.slack import Fault, SlackServer
from tests.slack_world import labels, pictures, png, text

FLOOR = Place("slack", "C0FLOOR", guild="T0FACTORY")
QUEUED = Message(
    "accepted", "#42 **txt2img** · next", job=42, buttons=(Button("cancel", 42, "Cancel", danger=True),)
)


@pytest.fixture
async def slack() -> AsyncIterator[SlackServer]:
    async with SlackServer() as server:
        yield server


@asynccontextmanager
async def connected(slack: SlackServer, **options: Any) -> AsyncIterator[Slack]:
    """The platform alone; nobody says anything to it."""
    bot = Slack(slack.bot_token, slack.app_token, api_base=slack.api_base, ping=0.5, **options)
    serving = asyncio.create_task(bot.serve(None))  # type: ignore[arg-type]
    try:
        await slack.until(lambda: serving.done() or slack.sockets)
        if serving.done():
            serving.result()
        yield bot
    finally:
        serving.cancel()
        with suppress(asyncio.CancelledError):
            await serving


def picture(folder: Path, name: str = "42-0.png", colour: str = "blue") -> File:
    path = folder / name
    path.write_bytes(png(colour))
    return File(path, name, "a metal nut")


async def test_a_post_is_found_by_its_key_and_by_no_other(slack: SlackServer) -> None:
    slack.page = 3
    async with connected(slack) as bot:
        since = time.time()
        for i in range(8):
            slack.channels.setdefault("C0FLOOR", []).append(
                {"ts": slack.next_ts(), "text": str(i), "user": "U0EVE"}
            )
        id = await bot.post(FLOOR, QUEUED, "ds42s")
        for i in range(8):
            slack.channels["C0FLOOR"].append({"ts": slack.next_ts(), "text": str(i), "user": "U0EVE"})
        assert await bot.find(FLOOR, "ds42s", since) == id
        assert await bot.find(FLOOR, "ds42r", since) is None
        assert await bot.find(FLOOR, "ds4", since) is None


async def test_a_post_in_a_thread_is_found_there(slack: SlackServer) -> None:
    root = slack.next_ts()
    slack.channels["C0FLOOR"] = [{"ts": root, "text": "studio, please", "user": "U0KIM"}]
    place = Place("slack", "C0FLOOR", root)
    async with connected(slack) as bot:
        id = await bot.post(place, QUEUED, "ds42s")
        assert await bot.find(place, "ds42s", time.time()) == id
        await bot.edit(place, id, Message("progress", "half", job=42))
        assert slack.messages()[0]["thread_ts"] == root


async def test_when_the_asking_message_is_gone_the_answer_stands_in_the_channel(
    slack: SlackServer, tmp_path: Path
) -> None:
    place = Place("slack", "C0FLOOR", "1700000000.000100")
    archive = tmp_path / "42.zip"
    archive.write_bytes(b"zip")
    async with connected(slack) as bot:
        id = await bot.post(place, QUEUED, "ds42s")
        assert await bot.find(place, "ds42s", time.time()) == id
        await bot.edit(place, id, Message("finished", "done", job=42, files=(File(archive, "42.zip"),)))
        shared = [m for m in slack.channels["C0FLOOR"] if m.get("files")]
        assert shared[0]["thread_ts"] == slack.messages()[0]["ts"]


@pytest.mark.parametrize(
    ("what", "done"), [("dropped", True), ("500-after", True), ("lost", False), ("500", False)]
)
async def test_an_uncertain_post_is_settled_by_looking(slack: SlackServer, what: Any, done: bool) -> None:
    async with connected(slack) as bot:
        slack.faults.append(Fault("chat.postMessage", what))
        since = time.time()
        with pytest.raises(Unreachable) as error:
            await bot.post(FLOOR, QUEUED, "ds42s")
        assert error.value.uncertain
        assert len(slack.messages()) == int(done)  # the library did not repeat it by itself
        assert (await bot.find(FLOOR, "ds42s", since) is not None) is done


async def test_told_to_wait_one_waits(slack: SlackServer) -> None:
    async with connected(slack) as bot:
        slack.faults.append(Fault("chat.postMessage", "429", retry_after=7))
        with pytest.raises(Unreachable) as error:
            await bot.post(FLOOR, QUEUED, "ds42s")
        assert error.value.retry_after == 7
        assert not error.value.uncertain
        with pytest.raises(Unreachable):  # without asking again
            await bot.post(FLOOR, QUEUED, "ds43s")
        assert len(slack.called("chat.postMessage")) == 1


@pytest.mark.parametrize("word", ["channel_not_found", "is_archived", "not_in_channel"])
async def test_what_is_closed_is_gone(slack: SlackServer, word: str) -> None:
    async with connected(slack) as bot:
        slack.faults.append(Fault("chat.postMessage", "refused", error=word))
        with pytest.raises(Gone):
            await bot.post(FLOOR, QUEUED, "ds42s")


async def test_an_answer_to_a_deleted_message_is_gone(slack: SlackServer) -> None:
    async with connected(slack) as bot:
        id = await bot.post(FLOOR, QUEUED, "ds42s")
        slack.channels["C0FLOOR"].clear()
        with pytest.raises(Gone):
            await bot.edit(FLOOR, id, Message("finished", "done", job=42))
        await bot.delete(FLOOR, id)


async def test_one_cannot_know_what_one_cannot_look_at(slack: SlackServer) -> None:
    async with connected(slack) as bot:
        for word in ("missing_scope", "internal_error", "ratelimited", "something_new"):
            slack.faults.append(Fault("conversations.history", "refused", error=word))
            with pytest.raises(Unreachable):
                await bot.find(FLOOR, "ds42s", time.time())
            bot.api._held_until.clear()


async def test_an_edit_shows_pictures_and_takes_the_buttons_away(slack: SlackServer, tmp_path: Path) -> None:
    async with connected(slack) as bot:
        id = await bot.post(FLOOR, QUEUED, "ds42s")
        files = tuple(picture(tmp_path, f"42-{i}.png") for i in range(3))
        done = Message("finished", "#42 done", job=42, files=files, mention="slack:T0FACTORY:U0KIM")
        await bot.edit(FLOOR, id, done)
        await bot.edit(FLOOR, id, done)
        message = slack.messages()[0]
        assert len(pictures(message)) == 3
        assert not labels(message)
        assert text(message) == "<@U0KIM> #42 done"
        assert (
            len(slack.called("files.completeUploadExternal")) == 3
        )  # the second time nothing was uploaded again
        await bot.delete(FLOOR, id)
        assert not slack.messages()
        assert not slack.files


async def test_pictures_slack_never_takes_are_shared_in_the_thread(
    slack: SlackServer, tmp_path: Path
) -> None:
    slack.file_delay = 1e9
    async with connected(slack) as bot:
        id = await bot.post(FLOOR, QUEUED, "ds42s")
        done = Message("finished", "#42 done", job=42, files=(picture(tmp_path),))
        with _quick(bot):
            await bot.edit(FLOOR, id, done)
            await bot.edit(FLOOR, id, done)
        assert text(slack.messages()[0]) == "#42 done"
        assert len([m for m in slack.channels["C0FLOOR"] if m.get("files")]) == 1


def _quick(bot: Slack) -> Any:
    patch = pytest.MonkeyPatch()
    patch.setattr("bot.platforms.slack.mouth.AGAIN", (0.01, 0.01, 0.01))
    patch.setattr("bot.platforms.slack.files.PROCESSED", (0.01,))
    return _Undo(patch)


class _Undo:
    def __init__(self, patch: pytest.MonkeyPatch) -> None:
        self.patch = patch

    def __enter__(self) -> None: ...

    def __exit__(self, *_: object) -> None:
        self.patch.undo()


async def test_a_picture_deleted_in_slack_is_uploaded_anew(slack: SlackServer, tmp_path: Path) -> None:
    async with connected(slack) as bot:
        id = await bot.post(FLOOR, QUEUED, "ds42s")
        done = Message("finished", "#42 done", job=42, files=(picture(tmp_path),))
        await bot.edit(FLOOR, id, done)
        slack.files.clear()
        with _quick(bot):
            await bot.edit(FLOOR, id, done)
        assert pictures(slack.messages()[0])[0] in slack.files


async def test_too_many_bytes_is_said_as_such(slack: SlackServer, tmp_path: Path) -> None:
    async with connected(slack) as bot:
        id = await bot.post(FLOOR, QUEUED, "ds42s")
        slack.faults.append(
            Fault("files.getUploadURLExternal", "refused", error="file_upload_size_restricted")
        )
        with pytest.raises(TooLarge):
            await bot.edit(FLOOR, id, Message("finished", "done", job=42, files=(picture(tmp_path),)))


async def test_progress_gives_way_to_answers(slack: SlackServer) -> None:
    async with connected(slack) as bot:
        id = await bot.post(FLOOR, QUEUED, "ds42s")
        shown = await _progress_until_refused(bot, id)
        assert PER_MINUTE - SPARE <= shown <= PER_MINUTE - SPARE + 3
        with pytest.raises(Unreachable) as error:
            await bot.edit(FLOOR, id, Message("progress", "one more", job=42))
        assert 0 < error.value.retry_after < 5
        for _ in range(SPARE + 5):
            await bot.edit(FLOOR, id, Message("finished", "done", job=42))


async def _progress_until_refused(bot: Slack, id: str) -> int:
    for shown in range(PER_MINUTE):
        try:
            await bot.edit(FLOOR, id, Message("progress", f"step {shown}", job=42))
        except Unreachable:
            return shown
    return PER_MINUTE


def test_a_bucket_fills_again() -> None:
    now = [0.0]
    bucket = Bucket(60, lambda: now[0])
    assert [bucket.take(59) for _ in range(2)] == [0.0, pytest.approx(1.0)]
    now[0] += 1.0
    assert bucket.take(59) == 0.0
    assert [bucket.take(-60) for _ in range(60)] == [0.0] * 60


async def test_posts_in_one_channel_keep_a_second_apart(slack: SlackServer) -> None:
    slack.members.add("C0OTHER")
    async with connected(slack) as bot:
        start = time.monotonic()
        other = Place("slack", "C0OTHER")
        await asyncio.gather(*(bot.post(p, QUEUED, f"k{i}") for i, p in enumerate((FLOOR, other, FLOOR))))
        assert 1.0 <= time.monotonic() - start < 2.0


@pytest.mark.parametrize("tokens", [("xoxb-wrong", "xapp-loopback"), ("xoxb-loopback", "xapp-wrong")])
async def test_wrong_tokens_end_in_a_sentence(slack: SlackServer, tokens: tuple[str, str]) -> None:
    bot = Slack(*tokens, api_base=slack.api_base)
    with pytest.raises(Refusal, match="xoxb-"):
        await asyncio.wait_for(bot.serve(None), 5)  # type: ignore[arg-type]


async def test_slack_may_be_late(slack: SlackServer) -> None:
    slack.faults += [Fault("auth.test", "500"), Fault("apps.connections.open", "lost", times=1)]
    async with connected(slack) as bot:
        assert bot.bot_user == slack.bot


async def test_stopping_is_quick_and_says_nothing_more(slack: SlackServer) -> None:
    async with connected(slack) as bot:
        start = time.monotonic()
    assert time.monotonic() - start < 3
    with pytest.raises(Unreachable) as error:
        await bot.post(FLOOR, QUEUED, "ds42s")
    assert not error.value.uncertain


async def test_the_doctor_names_what_is_missing(slack: SlackServer) -> None:
    slack.scopes = ",".join(scope for scope in SCOPES if scope != "files:read")
    found = await live_check("xoxb-loopback", "xapp-wrong", api_base=slack.api_base)
    assert [ok for ok, _ in found] == [True, False, False]
    assert "files:read" in found[1][1].en
    assert "connections:write" in found[2][1].en
    assert not (await live_check("xoxb-wrong", "xapp-loopback", api_base=slack.api_base))[0][0]
    assert not (await live_check("xoxb-x", "xapp-x", api_base="http://127.0.0.1:9/api/"))[0][0]


def test_the_manifest_asks_for_what_is_used() -> None:
    app = manifest()
    assert app["settings"]["socket_mode_enabled"]
    assert set(app["oauth_config"]["scopes"]["bot"]) >= {
        "commands",
        "chat:write",
        "files:read",
        "files:write",
        "im:history",
    }
    assert app["features"]["slash_commands"][0]["command"] == "/studio"
    assert all(len(s["name"]) <= 24 and len(s["description"]) <= 150 for s in app["features"]["shortcuts"])
