"""The real Discord client against a simulated Discord: what is said, and what when it goes wrong."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import discord
import pytest
from discord_world import Desk, buttons, done, picture_file, pictures, png, queued, text, walk, world

from bot.talk import File, Gone, Message, TooLarge, Unreachable
from engines.words import Refusal


async def test_one_message_from_the_queue_to_the_gallery(tmp_path: Path) -> None:
    async with world(Desk()) as w:
        number = await w.platform.post(w.place, queued(), "ds42s")
        (living,) = w.ours()
        assert str(living.id) == number
        assert buttons(living) == {"ds:cancel:42:0": "Cancel"}

        running = Message("progress", "#42 ▰▰▱ 12/25", job=42, buttons=queued().buttons, preview=png("grey"))
        for _ in range(2):
            await w.platform.edit(w.place, number, running)
            assert len(living.attachments) == 1
        assert pictures(living) == [living.attachments[0]["url"]]

        files = [picture_file(tmp_path, f"n{i}.png", colour) for i, colour in enumerate(("red", "lime"))]
        await w.platform.edit(w.place, number, done(files))
        assert [living] == w.ours()
        assert [a["filename"] for a in living.attachments] == ["n0.png", "n1.png"], "the preview is gone"
        assert [w.env.backend.cdn.get(url) for url in pictures(living)] == [png("red"), png("lime")]
        assert list(buttons(living)) == ["ds:reroll:42:0", "ds:use:42:0", "ds:delete:42:0"]
        assert "done in 3 s" in text(living)

        await w.platform.edit(w.place, number, Message("said", "deleted", job=42))
        assert living.attachments == []
        assert buttons(living) == {}


async def test_ten_pictures_a_long_text_and_an_archive(tmp_path: Path) -> None:
    files = [picture_file(tmp_path, f"{i}.png") for i in range(9)]
    (tmp_path / "all.zip").write_bytes(b"PK")
    message = done([*files, tmp_path / "all.zip"])
    message = dataclasses.replace(message, text="```\n" + "x" * 5000 + "\n```")
    async with world(Desk()) as w:
        await w.platform.post(w.place, message, "ds42r")
        (sent,) = w.ours()
        assert len(sent.attachments) == 10
        assert len(pictures(sent)) == 9
        assert [c["file"]["url"] for c in walk(sent.components) if c["type"] == 13] == [
            sent.attachments[-1]["url"]
        ]
        assert len(text(sent)) <= 4000
        assert text(sent).endswith("```")


async def test_names_of_files_never_break_the_gallery(tmp_path: Path) -> None:
    path = picture_file(tmp_path)
    names = ["사진 하나.png", "사진 둘.png", "a b.png", "../x.png", "a b.png"]
    message = Message("finished", "ok", files=tuple(File(path, name) for name in names))
    async with world(Desk()) as w:
        await w.platform.post(w.place, message, "ds1r")
        (sent,) = w.ours()
        given = [a["filename"] for a in sent.attachments]
        assert len(set(given)) == 5
        assert len(pictures(sent)) == 5
        assert all(name.isascii() and name.endswith(".png") and " " not in name for name in given)


async def test_only_the_asker_is_notified_and_only_by_a_new_message() -> None:
    async with world(Desk()) as w:
        ann, bob = w.ann, w.bob
        loud = f"@everyone <@{bob.id}> <@&{w.guild.default_role.id}> @here"
        number = await w.platform.post(
            w.place, Message("finished", loud, mention=f"discord:{ann.id}"), "ds42r"
        )
        (sent,) = w.ours()
        assert set(sent.ping_user_ids) == {ann.id}
        assert not sent.mention_everyone
        assert "@everyone" not in text(sent), "and it does not even look like it"
        await w.platform.edit(w.place, number, Message("finished", loud, mention=f"discord:{ann.id}"))
        assert not sent.ping_user_ids
        assert f"<@{ann.id}>" not in text(sent)


async def test_posting_carries_a_nonce_that_discord_enforces() -> None:
    async with world(Desk()) as w:
        await w.platform.post(w.place, queued(), "ds42s")
        (body,) = w.bodies("POST", "/messages")
        assert (body["nonce"], body["enforce_nonce"]) == ("ds42s", True)


@pytest.mark.parametrize("buttoned", [True, False])
async def test_a_message_is_found_by_its_key_and_no_other(buttoned: bool) -> None:
    message = queued() if buttoned else Message("failed", "#42 cancelled", job=42)
    async with world(Desk()) as w:
        before = w.env.now().timestamp()
        for number in range(5):
            await w.ann.send(w.channel, f"ds42s {number}")
        status = await w.platform.post(w.place, message, "ds42s")
        await w.platform.post(w.place, queued(4), "ds4s")
        assert await w.platform.find(w.place, "ds42s", before) == status
        assert await w.platform.find(w.place, "ds42r", before) is None
        await w.platform.edit(w.place, status, dataclasses.replace(message, kind="finished"))
        assert await w.platform.find(w.place, "ds42r", before) is None, (
            "a status that became an answer is a status"
        )
        answer = await w.platform.post(w.place, message, "ds42r")
        assert await w.platform.find(w.place, "ds42r", before) == answer
        assert await w.platform.find(w.place, "ds42r", before + 3600) is None, "of an earlier life"
        await w.platform.delete(w.place, answer)
        assert await w.platform.find(w.place, "ds42r", before) is None


async def test_deleting_what_is_gone_is_no_error() -> None:
    async with world(Desk()) as w:
        number = await w.platform.post(w.place, queued(), "ds42s")
        await w.platform.delete(w.place, number)
        await w.platform.delete(w.place, number)
        assert w.ours() == []
        with pytest.raises(Gone):
            await w.platform.edit(w.place, number, queued())


@pytest.mark.parametrize(
    ("status", "code", "expected", "uncertain"),
    [
        (500, 0, Unreachable, True),
        (503, 0, Unreachable, True),
        (429, 0, Unreachable, True),
        (403, 50001, Gone, None),
        (403, 50013, Gone, None),
        (404, 10003, Gone, None),
        (404, 10008, Gone, None),
        (400, 30046, Gone, None),
        (413, 40005, TooLarge, None),
        (400, 40005, TooLarge, None),
        (400, 50035, discord.HTTPException, None),
    ],
)
async def test_what_discord_answers_is_told_in_our_words(
    status: int, code: int, expected: type[Exception], uncertain: bool | None
) -> None:
    async with world(Desk()) as w:
        number = await w.platform.post(w.place, queued(), "ds42s")
        w.env.inject_error("*", "/channels/*", status=status, code=code, times=3)
        with pytest.raises(expected) as posted:
            await w.platform.post(w.place, queued(), "ds43s")
        with pytest.raises(expected):
            await w.platform.edit(w.place, number, queued())
        with pytest.raises(expected):
            await w.platform.find(w.place, "ds42s", 0)
        if uncertain is not None:
            assert posted.value.uncertain is uncertain  # type: ignore[attr-defined]


async def test_before_the_connection_nothing_is_said() -> None:
    async with world(Desk()) as w:
        w.platform._client = None
        with pytest.raises(Unreachable) as error:
            await w.platform.post(w.place, queued(), "ds42s")
        assert not error.value.uncertain
        with pytest.raises(Unreachable):
            await w.platform.find(w.place, "ds42s", 0)


# Commands and limits


async def test_commands_are_given_once_and_again_only_when_they_change(tmp_path: Path) -> None:
    async with world(Desk(), notes=tmp_path / "discord.json") as w:
        assert len(w.bodies("PUT", "/commands")) == 1
        await w.restart()
        assert len(w.bodies("PUT", "/commands")) == 1
        w.platform._forms = w.platform._forms[:2]
        await w.restart()
        assert len(w.bodies("PUT", "/commands")) == 2


async def test_commands_for_one_server_are_not_shown_twice(tmp_path: Path) -> None:
    async with world(Desk(), notes=tmp_path / "discord.json") as w:
        w.platform._guilds = (str(w.guild.id),)
        await w.restart()
        assert [bool(body) for body in w.bodies("PUT", "/commands")] == [True, True, False]


async def test_commands_that_discord_will_not_take_do_not_stop_the_bot(tmp_path: Path) -> None:
    desk = Desk()
    notes = tmp_path / "discord.json"
    async with world(desk, notes=notes) as w:
        notes.write_text("not JSON")
        w.env.inject_error("PUT", "/applications/*", status=403, code=50001)
        await w.restart()
        assert notes.read_text() == "not JSON", "it is tried again at the next start"
        await w.ann.slash(w.channel, "help")
    assert len(desk.heard) == 1


async def test_the_upload_limit_is_what_discord_tells() -> None:
    async with world(Desk()) as w:
        assert w.platform.limits(w.place).file_bytes == 10 << 20
        await w.ann.slash(w.channel, "help")
        limits = w.platform.limits(w.place)
        assert 20 << 20 < limits.file_bytes < 25 << 20, "simcord says 25 MiB, and the request needs room"
        assert (limits.files, limits.edit_every, limits.edit_age) == (10, 2.5, 3000.0)


# Files


async def test_a_file_larger_than_allowed_is_not_fetched() -> None:
    desk = Desk()
    async with world(desk) as w:
        await w.ann.slash(w.channel, "img2img", prompt="x", image=("p.png", png()))
        (said,) = desk.heard
        (file,) = said.attachments
        with pytest.raises(Refusal) as refusal:
            await file.read(10)
        assert "too large" in refusal.value.words.en
        lied = dataclasses.replace(file, size=1)
        with pytest.raises(Refusal) as refusal:
            await lied.read(10)
        assert "너무 큽니다" in refusal.value.words.ko
