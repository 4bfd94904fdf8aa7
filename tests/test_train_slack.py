"""One training in Slack from the form to the mention: real slack_bolt, desk, store, outbox; the devices only paint."""

from __future__ import annotations

import functools
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from tests.data_sets import mvtec, zipped
from tests.loopback.slack import SlackServer
from tests.slack_world import labels, studio, text

ZIP = zipped(mvtec(defects=("scratch",), photos=5, good=3, around="metal_nut/"))


@pytest.fixture
async def slack() -> AsyncIterator[SlackServer]:
    async with SlackServer() as server:
        yield server


async def test_from_the_form_to_the_mention(slack: SlackServer, tmp_path: Path) -> None:
    until = functools.partial(slack.until, seconds=90.0)
    async with studio(slack, tmp_path) as world:
        await slack.slash("train")
        view = (
            await until(lambda: [v["id"] for v in slack.views.values() if v["callback_id"] == "ds:form"])
        )[-1]
        archive = slack.put_file("metal_nut.zip", ZIP)
        ack = await slack.submit(view, dataset=[archive], save_as="nut-scratch", steps=3)
        assert ack.payload is None, ack.payload
        review = (await until(lambda: [m for m in slack.messages() if "Draft 1" in text(m)]))[0]
        assert labels(review) == ["Start", "Change", "Cancel"]
        assert "a photo of a metal nut with a scratch" in text(review)

        await slack.press(review, "Change")
        form = await until(
            lambda: [v for v in slack.views.values() if v["id"] != view and v["callback_id"] == "ds:form"]
        )
        first = {
            b["block_id"]: b["element"].get("initial_value") for b in form[-1]["blocks"] if "element" in b
        }
        assert first["draft"] == "1"
        assert first["save_as"] == "nut-scratch"
        assert first["steps"] == "3"
        assert first["prompts"].startswith("scratch = a photo of a metal nut with a scratch |")

        await slack.press(review, "Start")
        report = (await until(lambda: [m for m in slack.messages() if "is trained" in text(m)]))[0]
        assert "<@U0KIM>" in str(report)
        assert "5 photos" not in text(report), "what was said before is not said again"
        assert labels(report)[0] == "Try it"
        assert len([m for m in slack.messages() if "<@U0KIM>" in str(m) and "#2" in text(m)]) == 1
        train = next(job for job in await world.jobs() if job.command == "train")
        assert train.state == "done"
        assert train.request["steps"] == 3
