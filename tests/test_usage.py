"""/usage: what was made is counted once, by day, command and model, and shown to those whom it concerns."""

from __future__ import annotations

import io
from collections.abc import AsyncIterator
from datetime import datetime
from pathlib import Path

import pytest
from desk_world import BOSS, KIM, LEE, World, opened, png
from PIL import Image

from bot import usage_picture
from bot.pictures.reading import PictureReader
from bot.quotas import Department, Quota
from storage.usage import Line

DAY = 86400.0
NOW = datetime(2026, 11, 22, 15, 30).timestamp()
INSPECTION = Department("inspection", members=frozenset({KIM.id}), quota=Quota(jobs=10))


@pytest.fixture
async def world(tmp_path: Path, reader: PictureReader) -> AsyncIterator[World]:
    async with opened(tmp_path, reader, departments=(INSPECTION,), everyone=Quota(jobs=5)) as world:
        world.now[0] = NOW
        yield world


async def test_what_was_made_is_counted_by_day_command_and_model(world: World) -> None:
    world.now[0] = NOW - DAY
    await world.say("/txt2img nut")
    await world.make(png(), png())
    world.now[0] = NOW
    await world.say("/txt2img nut")
    await world.make(png())
    await world.say("/txt2img waiting")
    lines = await world.store.usage.of("person", KIM.id, "2026-11-21")
    assert [(x.day, x.command, x.model, x.jobs, x.pictures, x.seconds) for x in lines] == [
        ("2026-11-21", "txt2img", "toy", 1, 2, 1.5),
        ("2026-11-22", "txt2img", "toy", 1, 1, 1.5),
    ]
    assert len(await world.store.usage.of("person", KIM.id, "2026-11-22")) == 1
    assert await world.store.usage.of("person", LEE.id, "2026-11-01") == []


async def test_the_answer_is_a_table_and_a_picture(world: World) -> None:
    await world.say("/txt2img nut")
    await world.make(png(), png())
    said = await world.say("/usage days:7")
    assert said.text.startswith(
        "**Your usage, last 7 days**\nPictures: 2 · jobs: 1 · minutes on a device: 0.0"
    )
    assert "txt2img" in said.text
    assert "You have used 1 of 5 jobs today" in said.text
    assert "Your department inspection has used 1 of 10 jobs today" in said.text
    with Image.open(said.files[0].path) as picture:
        assert picture.size == (1200, 800)
    assert said.facts["pictures"] == 2


async def test_nothing_made_is_said_so(world: World) -> None:
    said = await world.say("/usage", who=LEE)
    assert "Nothing was made." in said.text
    assert said.files == ()


async def test_everybodys_is_for_admins_and_a_department_for_its_people(world: World) -> None:
    await world.say("/txt2img nut")
    await world.make(png())
    await world.say("/txt2img nut", who=LEE)
    await world.make(png())
    assert (await world.say("/usage all", who=KIM)).text.startswith("Only administrators")
    assert (await world.say("/usage all", who=BOSS)).facts["jobs"] == 2
    assert (await world.say("/usage department", who=KIM)).facts["jobs"] == 1
    assert (await world.say("/usage department:inspection", who=BOSS)).facts["jobs"] == 1
    assert (await world.say("/usage department:other", who=KIM)).kind == "refused"
    assert "You are in no department" in (await world.say("/usage department", who=LEE)).text
    assert "`inspection`" in (await world.say("/usage department", who=BOSS)).text


async def test_what_is_deleted_stays_counted(world: World) -> None:
    await world.say("/txt2img nut")
    await world.make(png())
    await world.press("delete", 1)
    assert (await world.say("/usage")).facts["pictures"] == 1


def test_a_picture_of_a_year_of_strange_names_is_drawn(monkeypatch: pytest.MonkeyPatch) -> None:
    days = usage_picture.range_of(366, "2026-11-22")
    assert (days[0], days[-1], len(days)) == ("2025-11-22", "2026-11-22", 366)
    names = ["$x_1$", "너트 모델", "a" * 300, "\n\t", "", "ok"]
    lines = [Line(days[i * 7], f"c{i % 3}", names[i % 6], 1, i * 100, i * 60.0) for i in range(50)]
    for language in ("en", "ko"):
        with Image.open(io.BytesIO(usage_picture.draw(lines, days, language))) as picture:
            picture.load()
            assert len(picture.convert("L").getcolors() or ()) > 50, "more than an empty page"
    monkeypatch.setattr(usage_picture, "KOREAN", ("DejaVu Sans",))
    assert usage_picture.korean_font() == "DejaVu Sans"
    monkeypatch.setattr(usage_picture, "KOREAN", ("No Such Font",))
    assert usage_picture.korean_font() is None
    assert usage_picture.draw([], days[:1], "ko")[:4] == b"\x89PNG"
