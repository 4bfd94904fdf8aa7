"""The real Discord client against a simulated Discord: what is heard, typed, said or pressed."""

from __future__ import annotations

import asyncio
import time

import discord
import pytest
from discord_world import Desk, done, png, queued, text, world

from bot.talk import Invocation, Message, Press


async def test_a_slash_command_with_a_picture_reaches_the_desk_whole() -> None:
    desk = Desk(lambda said: Message("accepted", "#1 inpaint · next in line", job=1))
    async with world(desk) as w:
        result = await w.ann.slash(
            w.channel,
            "inpaint",
            prompt="a scratch",
            image=("part.png", png()),
            mask_area="box=1,2,3,4",
            seed=7,
        )
        assert result.ephemeral
        assert result.response is not None
        assert "#1 inpaint" in text(result.response)
        assert not w.ours(), "the first answer is for the asker alone"
    (said,) = desk.heard
    assert isinstance(said, Invocation)
    assert said.command == "inpaint"
    assert {k: v for k, v in said.options.items() if k != "image"} == {
        "prompt": "a scratch",
        "mask": "box=1,2,3,4",
        "seed": 7,
    }
    assert said.options["image"].name == "part.png"
    assert desk.files == [png()]
    assert said.person.id == f"discord:{w.ann.id}"
    assert said.person.name == "Ann"
    assert said.place == w.place


async def test_two_masks_are_refused_before_the_desk_is_asked() -> None:
    desk = Desk()
    async with world(desk) as w:
        result = await w.ann.slash(
            w.channel, "inpaint", prompt="a hole", mask=("mask.png", png("white")), mask_area="auto"
        )
        assert "not both" in text(result.response)
    assert desk.heard == []


async def test_a_slow_desk_does_not_delay_the_acknowledgement() -> None:
    desk = Desk(hold=asyncio.Event())
    async with world(desk) as w:
        began = time.monotonic()
        asking = asyncio.create_task(w.ann.slash(w.channel, "help"))
        while not w.bodies("POST", "/callback"):
            assert time.monotonic() - began < 1.0, "Discord gives up after 3 s; we promise 1"
            await asyncio.sleep(0.01)
        (ack,) = w.bodies("POST", "/callback")
        assert ack == {"type": 5, "data": {"flags": 64}}
        assert desk.hold is not None
        desk.hold.set()
        assert text((await asking).response) == "heard"


async def test_an_interaction_that_expired_is_not_carried_out() -> None:
    desk = Desk()
    async with world(desk) as w:
        w.env.inject_error("POST", "/interactions/*/callback", status=404, code=10062)
        await w.ann.slash(w.channel, "jobs")
        assert desk.heard == [], "the person saw it fail, and will say it again"


async def test_an_acknowledgement_that_arrived_twice_is_one() -> None:
    desk = Desk()
    async with world(desk) as w:
        w.env.inject_error("POST", "/interactions/*/callback", status=400, code=40060)
        await w.ann.slash(w.channel, "jobs")
        assert len(desk.heard) == 1


async def test_a_person_who_uses_discord_in_korean_is_heard_in_korean(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    import simcord.actors

    whole = simcord.actors._interactions.base_payload

    def in_korean(*args: object, **more: object) -> object:
        record, payload = whole(*args, **more)
        return record, payload | {"locale": "ko"}

    monkeypatch.setattr(simcord.actors._interactions, "base_payload", in_korean)
    desk = Desk(lambda said: Message("said", "안녕하십니까"))
    async with world(desk) as w:
        result = await w.ann.slash(w.channel, "help")
        assert desk.heard[0].language == "ko"
        assert text(result.response) == "안녕하십니까"
        result = await w.ann.slash(
            w.channel, "inpaint", prompt="구멍", mask=("m.png", png()), mask_area="auto"
        )
        assert "하나만 입력해 주십시오" in text(result.response)


async def test_models_and_mask_words_are_suggested_while_typing() -> None:
    async with world(Desk()) as w:
        offered = await w.ann.autocomplete(w.channel, "txt2img", "model", "")
        assert [choice["value"] for choice in offered] == ["tiny", "far"], "those at hand first"
        offered = await w.ann.autocomplete(w.channel, "inpaint", "model", "INP")
        assert [choice["value"] for choice in offered] == ["tiny-inpaint"]
        offered = await w.ann.autocomplete(w.channel, "inpaint", "mask_area", "")
        assert "auto" in [choice["value"] for choice in offered]
    async with world(Desk(private={"tiny"})) as w:
        offered = await w.ann.autocomplete(w.channel, "txt2img", "model", "")
        assert [choice["value"] for choice in offered] == ["far"], "somebody else's own is not offered"


async def test_a_mention_with_a_file_is_a_command() -> None:
    desk = Desk(lambda said: Message("refused", "no such thing"))
    async with world(desk) as w:
        me = f"<@{w.env.backend.bot_user.id}>"
        sent = await w.ann.send(
            w.channel, f'{me} inpaint "a scratch" image:@p.png', attachments=[("p.png", png("blue"))]
        )
        await w.ann.send(w.channel, "hello everybody")
        (said,) = desk.heard
        assert said.text == 'inpaint "a scratch" image:@p.png'
        assert desk.files == [png("blue")]
        assert said.key == f"discord:m{sent.id}"
        (answer,) = w.ours()
        assert text(answer) == "no such thing"
        assert answer.reference["message_id"] == str(sent.id)
        assert not answer.ping_user_ids


async def test_a_message_that_became_a_job_is_answered_by_the_job_alone() -> None:
    async with world(Desk(lambda said: queued())) as w:
        await w.ann.send(w.channel, f"<@{w.env.backend.bot_user.id}> /txt2img a hex nut")
        assert w.ours() == []


async def test_who_names_the_bots_role_is_told_to_name_the_bot() -> None:
    desk = Desk()
    async with world(desk) as w:
        me, other = w.env.bot.user.id, w.guild.create_role("painters")
        cached = w.env.bot.get_guild(w.guild.id)
        role = next(role for role in cached.roles if role.name != "@everyone" and role.id != other.id)
        role.tags = discord.RoleTags({"bot_id": str(me)})  # simcord leaves out whose role it is
        await w.ann.send(w.channel, f"<@&{role.id}> /jobs")
        await w.ann.send(w.channel, f"<@&{other.id}> /jobs")
        (answer,) = w.ours()
        assert "mention me myself" in text(answer)
    assert desk.heard == []


async def test_a_thread_is_a_place_of_its_own() -> None:
    desk = Desk(lambda said: Message("said", "here"))
    async with world(desk) as w:
        parent = w.env.bot.get_channel(w.channel.id)
        thread = await parent.create_thread(name="nuts", type=discord.ChannelType.public_thread)
        await w.env.settle()
        (handle,) = w.channel.threads
        await w.ann.slash(handle, "jobs")
        (said,) = desk.heard
        assert (said.place.channel, said.place.guild) == (str(thread.id), str(w.guild.id))
        number = await w.platform.post(said.place, queued(), "ds42s")
        assert await w.platform.find(said.place, "ds42s", 0) == number
        assert await w.platform.find(w.place, "ds42s", 0) is None


async def test_a_direct_message_needs_no_mention() -> None:
    desk = Desk(lambda said: Message("said", "네"))
    async with world(desk) as w:
        await w.ann.send_dm("도움말 /help")
        (said,) = desk.heard
        assert (said.text, said.language, said.place.private) == ("도움말 /help", "ko", True)


async def test_what_discord_itself_tells_in_a_direct_message_is_not_said_to_us() -> None:
    """Pinning a message makes one: its author is the person, and there is nothing in it."""
    desk = Desk()
    async with world(desk) as w:
        sent = await w.ann.send_dm("/help")
        payload = {
            "id": str(sent.id + 1), "channel_id": str(sent.channel.id), "type": discord.MessageType.pins_add.value,
            "author": {"id": str(w.ann.id), "username": "ann", "discriminator": "0", "avatar": None},
            "content": "", "timestamp": sent.created_at.isoformat(), "edited_timestamp": None, "tts": False,
            "mention_everyone": False, "mentions": [], "mention_roles": [], "attachments": [], "embeds": [],
            "pinned": False, "components": [],
        }  # fmt: skip
        w.env.bot._connection.parse_message_create(payload)
        await w.env.settle()
        assert [said.text for said in desk.heard] == ["/help"]


async def test_bots_are_not_heard() -> None:
    desk = Desk()
    async with world(desk) as w:
        robot = w.guild.add_member(w.env.create_user("robot", bot=True))
        await robot.send(w.channel, f"<@{w.env.backend.bot_user.id}> /help")
    assert desk.heard == []


async def test_admins_are_known_by_id_and_by_role() -> None:
    desk = Desk()
    async with world(desk) as w:
        await w.ann.slash(w.channel, "jobs")
        role = w.guild.create_role("Studio admins")
        chief = w.guild.add_member(w.env.create_user("chief"), roles=[role])
        w.platform._admins = frozenset({str(role.id), str(w.bob.id)})
        await w.restart()
        await chief.slash(w.channel, "jobs")
        await w.bob.slash(w.channel, "jobs")
    assert [said.person.admin for said in desk.heard] == [False, True, True]
    assert [str(role.id) in (said.person.groups or ()) for said in desk.heard] == [False, True, False]


async def test_where_the_bot_may_not_speak_it_says_so_to_the_asker() -> None:
    desk = Desk()
    async with world(desk) as w:
        denied = {w.guild.default_role: discord.PermissionOverwrite(attach_files=False)}
        quiet = w.guild.create_text_channel("quiet", overwrites=denied)
        result = await w.ann.slash(quiet, "jobs")
        assert "attach_files" in text(result.response)
    assert desk.heard == []


async def test_buttons_still_work_after_a_restart() -> None:
    desk = Desk(lambda said: Message("said", "cancelled" if isinstance(said, Press) else "?"))
    async with world(desk) as w:
        await w.platform.post(w.place, queued(), "ds42s")
        await w.restart()
        result = await w.bob.click(w.shown(w.ours()[0]), label="Cancel")
        assert result.ephemeral
        assert text(result.response) == "cancelled"
        (press,) = desk.heard
        assert (press.action, press.job, press.index) == ("cancel", 42, 0)
        assert press.person.id == f"discord:{w.bob.id}"
        assert press.place == w.place


async def test_menus_of_our_own_messages_are_their_buttons() -> None:
    desk = Desk()
    async with world(desk) as w:
        await w.platform.post(w.place, done([]), "ds42r")
        for name in ("Use as input", "Show recipe", "Remove background"):
            await w.ann.context_menu(w.channel, name, w.shown(w.ours()[0]))
    assert [(press.action, press.job) for press in desk.heard] == [
        ("use", 42),
        ("recipe", 42),
        ("removebg", 42),
    ]


async def test_menus_of_other_messages_are_about_their_first_picture() -> None:
    desk = Desk()
    async with world(desk) as w:
        note = await w.bob.send(w.channel, "look", attachments=[("a.txt", b"x"), ("b.PNG", png("blue"))])
        await w.ann.context_menu(w.channel, "Use as input", note)
        await w.ann.context_menu(w.channel, "Remove background", note)
        plain = await w.bob.send(w.channel, "no picture")
        result = await w.ann.context_menu(w.channel, "Show recipe", plain)
        assert "no picture" in text(result.response)
    assert [said.command for said in desk.heard] == ["use", "removebg"]
    assert {said.options["image"].name for said in desk.heard} == {"b.PNG"}
    assert desk.files == [png("blue")] * 2
