"""Stories: people in Slack, the real slack_bolt, the real desk and store, and a Slack of our own."""

from __future__ import annotations

import asyncio
import itertools
import random
import re
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from tests.loopback.slack import Fault, SlackServer, What
from tests.slack_world import labels, mask_png, pictures, png, studio, text

# what goes wrong with a call, and below which luck: 13 % of all
BAD_DAY: list[tuple[What, float]] = [
    ("500", 0.03),
    ("429", 0.05),
    ("lost", 0.07),
    ("dropped", 0.11),
    ("500-after", 0.13),
]


@pytest.fixture
async def slack() -> AsyncIterator[SlackServer]:
    async with SlackServer() as server:
        yield server


async def opened(slack: SlackServer, callback: str = "ds:form") -> str:
    """The id of the newest modal, once it is a form."""
    return (
        await slack.until(lambda: [v["id"] for v in slack.views.values() if v["callback_id"] == callback])
    )[-1]


async def test_a_bare_command_opens_a_form_and_the_form_makes_a_picture(
    slack: SlackServer, tmp_path: Path
) -> None:
    async with studio(slack, tmp_path) as world:
        ack = await slack.slash("inpaint")
        assert ack.seconds < 1
        assert ack.payload is None
        view = await opened(slack)
        assert slack.views[view]["title"]["text"] == "Inpaint a defect"
        photo, mask = slack.put_file("nut.png", png()), slack.put_file("mask.png", mask_png())
        ack = await slack.submit(view, image=[photo], mask=[mask], prompt="a scratch", seed=7, steps=3)
        assert ack.payload is None, ack.payload
        message = await world.done()
        assert len(pictures(message)) == 1
        assert "seed 7" in text(message)
        assert labels(message)[:3] == ["Re-roll", "Vary", "Use as input"]
        assert slack.files[pictures(message)[0]]["data"].startswith(b"\x89PNG")
        first = (await slack.until(lambda: slack.ephemerals))[0]
        assert "#1" in first["text"]
        assert first["user"] == "U0KIM"
        job = (await world.jobs())[0]
        assert job.request["mask"]
        assert job.state == "done"


async def test_a_mention_with_photo_and_mask_is_answered_in_its_thread(
    slack: SlackServer, tmp_path: Path
) -> None:
    async with studio(slack, tmp_path) as world:
        files = [slack.put_file("nut.png", png()), slack.put_file("mask.png", mask_png())]
        await slack.mention("inpaint a deep <scratch> & dent seed:3", files, channel="C0LINE2")
        message = await world.done("C0LINE2")
        asked = slack.channels["C0LINE2"][0]
        assert message["thread_ts"] == asked["ts"]
        assert (await world.jobs())[0].request["prompt"] == "a deep <scratch> & dent"
        assert "&lt;scratch&gt; &amp; dent" in text(message)


async def test_a_direct_message_is_enough(slack: SlackServer, tmp_path: Path) -> None:
    async with studio(slack, tmp_path) as world:
        await slack.direct('img2img "a rusty nut"', [slack.put_file("nut.png", png())])
        message = await world.done("D0KIM")
        assert "thread_ts" not in message
        await slack.direct("help")
        said = await slack.until(
            lambda: [m for m in slack.messages("D0KIM") if "/studio inpaint" in m["text"]]
        )
        assert "`/studio txt2img`" in text(said[0])


async def test_the_message_lives_from_the_queue_to_the_gallery(slack: SlackServer, tmp_path: Path) -> None:
    async with studio(slack, tmp_path, held=True) as world:
        await slack.slash('txt2img "a metal nut" count:3 seed:5')
        message = (await slack.until(lambda: slack.messages()))[0]
        assert labels(message) == ["Cancel"]
        assert not pictures(message)
        ts = message["ts"]
        world.painter.go.set()
        done = await world.done()
        assert done["ts"] == ts
        assert len(pictures(done)) == 3
        assert len(slack.messages()) == 1


async def test_more_than_ten_pictures_bring_an_archive_in_the_thread(
    slack: SlackServer, tmp_path: Path
) -> None:
    async with studio(slack, tmp_path) as world:
        await slack.slash('txt2img "nuts" count:12')
        message = await world.done()
        assert len(pictures(message)) == 9
        shared = [m for m in slack.channels["C0FLOOR"] if m.get("files")]
        assert [m["thread_ts"] for m in shared] == [message["ts"]]
        assert shared[0]["files"][0]["name"].endswith(".zip")


async def test_buttons_work_after_a_restart(slack: SlackServer, tmp_path: Path) -> None:
    async with studio(slack, tmp_path) as world:
        await slack.slash('txt2img "a metal nut" seed:5')
        message = await world.done()
    async with studio(slack, tmp_path) as world:
        ack = await slack.press(message, "Re-roll")
        assert ack.seconds < 1
        again = await world.done(n=2)
        assert again["thread_ts"] == message["ts"]
        await slack.press(message, "Recipe")
        told = await slack.until(lambda: [e for e in slack.ephemerals if "seed:5" in e["text"]])
        assert "/studio txt2img" in told[0]["text"]
        await slack.press(message, "Delete")
        await slack.until(lambda: message["ts"] not in [m["ts"] for m in slack.messages()])
        await slack.until(lambda: pictures(message)[0] not in slack.files)


async def test_only_the_asker_may_delete(slack: SlackServer, tmp_path: Path) -> None:
    slack.groups["S0LEADS"] = ["U0LEE"]
    async with studio(slack, tmp_path, admins=["S0LEADS"]) as world:
        await slack.slash('txt2img "a metal nut"')
        message = await world.done()
        await slack.press(message, "Delete", user="U0EVE")
        await slack.until(lambda: [e for e in slack.ephemerals if e["user"] == "U0EVE"])
        assert slack.messages()
        await slack.press(message, "Delete", user="U0LEE")
        await slack.until(lambda: not slack.messages())


async def test_a_user_group_of_the_configuration_is_known_and_makes_no_admin(
    slack: SlackServer, tmp_path: Path
) -> None:
    slack.groups |= {"S0LAB": ["U0KIM"], "S0OTHER": ["U0KIM", "U0EVE"]}
    async with studio(slack, tmp_path, groups=["S0LAB"]) as world:
        people = [(await world.bot.people.person(slack.team, user))[0] for user in ("U0KIM", "U0EVE")]
    assert [(person.groups, person.admin) for person in people] == [(("S0LAB",), False), ((), False)]


async def test_whatever_is_delivered_twice_is_done_once(slack: SlackServer, tmp_path: Path) -> None:
    async with studio(slack, tmp_path) as world:
        await slack.mention('txt2img "a nut"', deliveries=3)
        message = await world.done()
        await slack.press(message, "Re-roll", deliveries=2)
        await slack.slash('txt2img "a bolt"', deliveries=2)
        await world.done(n=3)
        await asyncio.sleep(0.2)
        assert len(await world.jobs()) == 3


async def test_an_event_delivered_again_after_a_restart_is_the_same_job(
    slack: SlackServer, tmp_path: Path
) -> None:
    async with studio(slack, tmp_path) as world:
        await slack.mention('txt2img "a nut"')
        await world.done()
    event = next(m for m in slack.channels["C0FLOOR"] if "txt2img" in m["text"] and not m.get("bot_id"))
    payload = {
        "type": "event_callback",
        "team_id": slack.team,
        "event_id": "Ev9",
        "event": event | {"type": "app_mention", "channel": "C0FLOOR"},
    }
    async with studio(slack, tmp_path) as world:
        await slack.send("events_api", payload)
        await slack.until(lambda: len(slack.ephemerals) == 2)
        assert len(await world.jobs()) == 1
        assert len(slack.messages()) == 1


async def test_a_login_page_instead_of_the_photo_names_the_missing_scope(
    slack: SlackServer, tmp_path: Path
) -> None:
    slack.can_read_files = False
    slack.people["U0LEE"] = ("이정민", "ko-KR")
    async with studio(slack, tmp_path) as world:
        photo = slack.put_file("nut.png", png())
        await slack.mention('img2img "a nut"', [photo])
        await slack.mention('img2img "a nut"', [photo], user="U0LEE")
        said = await slack.until(lambda: len(slack.ephemerals) == 2 and slack.ephemerals)
        assert all("files:read" in one["text"] for one in said)
        assert any("권한이 없습니다" in one["text"] for one in said)
        assert not await world.jobs()


@pytest.mark.parametrize(
    "url", ["http://127.0.0.1:9/steal.png", "https://example.org/x.png", "http://localhost/x.png"]
)
async def test_nobody_else_is_asked_for_a_file(slack: SlackServer, tmp_path: Path, url: str) -> None:
    async with studio(slack, tmp_path):
        photo = slack.put_file("nut.png", png(), url=url)
        await slack.mention('img2img "a nut"', [photo])
        said = (await slack.until(lambda: slack.ephemerals))[0]
        assert "not stored in Slack" in said["text"]


async def test_a_slow_desk_costs_no_acknowledgement(slack: SlackServer, tmp_path: Path) -> None:
    class Slow:
        def __init__(self, desk: Any) -> None:
            self.desk = desk

        async def hear(self, said: Any) -> Any:
            await asyncio.sleep(2)
            return await self.desk.hear(said)

        async def press(self, press: Any) -> Any:
            await asyncio.sleep(2)
            return await self.desk.press(press)

        async def language_of(self, *said: Any) -> Any:
            await asyncio.sleep(2)
            return await self.desk.language_of(*said)

        async def hidden(self, *said: Any) -> Any:
            await asyncio.sleep(2)
            return await self.desk.hidden(*said)

    async with studio(slack, tmp_path, wrap=Slow) as world:
        photo = slack.put_file("nut.png", png())
        acks = [
            await slack.slash("img2img"),
            await slack.mention('img2img "x"', [photo]),
            await slack.slash("help"),
        ]
        view = await opened(slack)  # the trigger was used in time, and the form came later
        acks.append(await slack.submit(view, image=[photo], prompt="a nut", steps=2))
        message = await world.done()
        acks.append(await slack.press(message, "Recipe"))
        assert max(ack.seconds for ack in acks) < 1
        await slack.until(lambda: len([m for m in slack.messages() if pictures(m)]) == 2)


async def test_a_form_that_comes_too_late_is_offered_by_a_button(slack: SlackServer, tmp_path: Path) -> None:
    slack.trigger_life = -1.0
    async with studio(slack, tmp_path):
        await slack.slash("inpaint")
        offer = (await slack.until(lambda: slack.ephemerals))[0]
        slack.trigger_life = 3.0
        await slack.press(offer, "Open the inpaint form")
        await opened(slack)


async def test_what_the_text_already_said_stands_in_the_form(slack: SlackServer, tmp_path: Path) -> None:
    async with studio(slack, tmp_path):
        await slack.slash("inpaint prompt:“a deep scratch” steps:12")
        view = slack.views[await opened(slack)]
        first = {
            b["block_id"]: b["element"].get("initial_value") for b in view["blocks"] if b["type"] == "input"
        }
        assert first["prompt"] == "a deep scratch"
        assert first["steps"] == "12"


async def test_what_is_wrong_with_a_form_is_said_in_the_form(
    slack: SlackServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("bot.platforms.slack.ears.PATIENCE", 2.5)  # the machine may be busy with other tests
    async with studio(slack, tmp_path) as world:
        await world.desk.tools.reader.read(png(), "warm.png")  # the first one waits for a process to start
        await slack.slash("inpaint")
        view = await opened(slack)
        ack = await slack.submit(view, prompt="a scratch")
        assert ack.payload
        assert ack.payload["response_action"] == "errors"
        assert "image" in ack.payload["errors"]
        photo = slack.put_file("nut.png", b"this is no picture")
        ack = await slack.submit(view, image=[photo], prompt="a scratch", mask__words="box=1,1,9,9")
        assert ack.payload
        assert ack.payload["response_action"] == "errors"
        photo = slack.put_file("nut.png", png())
        ack = await slack.submit(view, image=[photo], prompt="a scratch", mask__words="box=1,1,9,9")
        assert ack.payload is None
        await world.done()
        assert not [e for e in slack.ephemerals if "needs" in e["text"]]


async def test_a_no_that_comes_late_brings_the_form_back_as_it_was(
    slack: SlackServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("bot.platforms.slack.ears.PATIENCE", 0.0)
    async with studio(slack, tmp_path) as world:
        await slack.slash("inpaint")
        photo = slack.put_file("nut.png", png())
        ack = await slack.submit(await opened(slack), image=[photo], prompt="a deep scratch", steps=9)
        assert ack.payload is None
        no = (await slack.until(lambda: slack.ephemerals))[0]
        assert "mask" in no["text"]
        await slack.press(no, "Open the inpaint form")
        view = await opened(slack)
        first = {b["block_id"]: b["element"].get("initial_value") for b in slack.views[view]["blocks"][1:]}
        assert first["prompt"] == "a deep scratch"
        await slack.submit(view, mask__words="box=2,2,20,20")
        await world.done()
        assert (await world.jobs())[0].request["steps"] == 9


async def test_a_form_with_several_photos_makes_one_job_of_them_all(
    slack: SlackServer, tmp_path: Path
) -> None:
    async with studio(slack, tmp_path) as world:
        await slack.slash("img2img")
        photos = [slack.put_file(f"{c}.png", png(c)) for c in ("red", "green", "blue")]
        await slack.submit(await opened(slack), image=photos, prompt="a nut")
        await world.done()
        (job,) = await world.jobs()
        assert [item["name"] for item in job.request["items"]] == ["red.png", "green.png", "blue.png"]
        assert len({item["image"] for item in job.request["items"]}) == 3


async def test_shortcuts_take_the_pictures_of_a_message(slack: SlackServer, tmp_path: Path) -> None:
    async with studio(slack, tmp_path) as world:
        photo = slack.put_file("nut.png", png())
        message = {
            "type": "message",
            "user": "U0EVE",
            "ts": slack.next_ts(),
            "text": "look",
            "files": [slack.file_object(photo)],
        }
        slack.channels["C0FLOOR"] = [message]
        assert (await slack.shortcut("ds:inpaint", message)).seconds < 1
        view = await opened(slack)
        assert "nut.png" in str(slack.views[view]["blocks"][0])
        await slack.submit(view, prompt="a scratch", mask__words="box=2,2,20,20")
        done = await world.done()
        await slack.shortcut("ds:use", message)
        await slack.until(lambda: [e for e in slack.ephemerals if "next input" in e["text"]])
        await slack.shortcut("ds:recipe", done)  # our own message: its buttons say which job it is
        await slack.until(lambda: [e for e in slack.ephemerals if "/studio inpaint" in e["text"]])
        await slack.shortcut("ds:recipe", message | {"files": [], "ts": "1.0"})
        await slack.until(lambda: [e for e in slack.ephemerals if "no picture" in e["text"]])


async def test_a_korean_reads_korean_everywhere(slack: SlackServer, tmp_path: Path) -> None:
    slack.people["U0LEE"] = ("이정민", "ko-KR")
    async with studio(slack, tmp_path) as world:
        await slack.slash("img2img", user="U0LEE")
        view = await opened(slack)
        shown = slack.views[view]
        assert shown["title"]["text"] == "사진으로 그림 만들기"
        assert shown["submit"]["text"] == "시작"
        assert "프롬프트" in [b["label"]["text"] for b in shown["blocks"] if b["type"] == "input"]
        await slack.submit(view, user="U0LEE", image=[slack.put_file("너트.png", png())], prompt="긁힌 너트")
        message = await world.done()
        assert "완료" in text(message)
        assert "다시 만들기" in labels(message)


async def test_outside_its_channels_the_bot_answers_by_direct_message(
    slack: SlackServer, tmp_path: Path
) -> None:
    async with studio(slack, tmp_path) as world:
        await slack.slash('txt2img "a nut"', channel="C0PRIVATE")
        await world.done("D0KIM")
        assert not slack.messages("C0PRIVATE")
        assert "/invite" in (await slack.until(lambda: slack.ephemerals))[0]["text"]


async def test_busy_slack_is_obeyed_and_everything_arrives(slack: SlackServer, tmp_path: Path) -> None:
    slack.faults += [
        Fault("chat.postMessage", "429", times=2, retry_after=1),
        Fault("chat.update", "429", retry_after=1),
        Fault("chat.update", "500", times=2),
        Fault("upload", "500"),
        Fault("files.completeUploadExternal", "lost"),
    ]
    async with studio(slack, tmp_path) as world:
        await slack.slash('txt2img "a nut"')
        message = await world.done()
        assert len(slack.messages()) == 1
        assert len(pictures(message)) == 1
        posts = [at for at, name, _ in slack.calls if name == "chat.postMessage"]
        assert all(b - a >= 0.9 for a, b in itertools.pairwise(posts))


async def test_a_picture_is_shown_when_slack_has_processed_it(slack: SlackServer, tmp_path: Path) -> None:
    slack.file_delay = 1.0
    async with studio(slack, tmp_path) as world:
        await slack.slash('txt2img "a nut"')
        assert pictures(await world.done())


async def test_a_new_socket_when_slack_asks_for_one(slack: SlackServer, tmp_path: Path) -> None:
    async with studio(slack, tmp_path) as world:
        old = slack.sockets[-1]
        await slack.refresh()
        await slack.until(lambda: slack.sockets and slack.sockets[-1] is not old)
        await slack.slash('txt2img "a nut"')
        await world.done()


async def test_nothing_is_lost_or_said_twice_on_a_bad_day(slack: SlackServer, tmp_path: Path) -> None:
    rng = random.Random(7)

    def chaos(method: str) -> What | None:
        if method.startswith(("views", "response", "download", "apps", "auth")):
            return None
        luck = rng.random()
        return next((what for what, until in BAD_DAY if luck < until), None)

    async with studio(slack, tmp_path) as world:
        slack.chaos = chaos
        for i in range(8):
            await slack.mention(f'txt2img "nut {i}" count:2')
        jobs = [f"#{i + 1} done" for i in range(8)]
        await slack.until(lambda: all(any(job in text(m) for m in slack.messages()) for job in jobs), 45)
        slack.chaos = lambda method: None
        await asyncio.sleep(0.5)
        said = [re.findall(r"#(\d+)", text(m))[0] for m in slack.messages()]
        assert sorted(said, key=int) == [str(i + 1) for i in range(8)]
        assert len(await world.jobs()) == 8
    hurt = {what for what, _ in BAD_DAY}
    assert hurt <= set(slack.went_wrong), slack.went_wrong
