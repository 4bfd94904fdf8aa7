"""Stories of the buttons: everything they need is on disk, and a press counts once."""

from __future__ import annotations

import asyncio
import dataclasses
from pathlib import Path

import pytest
from desk_world import BOSS, HERE, KIM, LEE, Sent, World, mask, opened, png
from PIL import Image

from bot.grammar import read
from bot.pictures.reading import PictureReader
from bot.talk import Place
from engines.requests import Img2Img, Inpaint, Txt2Img, request_named


async def test_only_the_asker_or_an_admin_cancels(world: World) -> None:
    for number in (1, 2):
        await world.say(f"/txt2img nut {number}")
    refused = await world.press("cancel", 1, who=LEE)
    assert (refused.kind, (await world.job(1)).state) == ("refused", "queued")
    assert (await world.press("cancel", 1)).text == "Cancelled #1."
    assert (await world.press("cancel", 2, who=BOSS)).text == "Cancelled #2."
    assert (await world.job(2)).state == "cancelled"
    assert world.dispatcher.told[-2:] == [("cancel", 1), ("cancel", 2)]
    assert (await world.press("cancel", 1)).text == "#1 is already cancelled."


async def test_a_finished_job_stays_finished(world: World) -> None:
    await world.say("/txt2img x")
    await world.make(png())
    assert (await world.press("cancel", 1)).text == "#1 is already done."
    assert ("cancel", 1) not in world.dispatcher.told


async def test_reroll_is_the_same_with_another_seed_for_whoever_pressed(world: World) -> None:
    await world.say("/txt2img a nut steps:9 seed:7")
    await world.make(png())
    answer = await world.press("reroll", 1, who=LEE)
    assert answer.kind == "accepted"
    again = await world.job(answer.job)
    before, after = Txt2Img.from_json((await world.job(1)).request), Txt2Img.from_json(again.request)
    assert after.seed != 7
    assert dataclasses.replace(after, seed=7) == before
    assert again.person == LEE.id


@pytest.mark.parametrize("action", ["reroll", "vary", "invert"])
async def test_a_press_delivered_twice_adds_one_job(world: World, action: str) -> None:
    await world.say("/inpaint x", Sent("a.png", png()), Sent("m.png", mask()))
    await world.make(png(colour="green"))
    first, second, third = await asyncio.gather(*(world.press(action, 1, key="same") for _ in range(3)))
    assert first == second == third
    assert first.job == 2
    assert (await world.press(action, 1, key="same")).job == 2
    assert (await world.press(action, 1, key="other")).job == 3


async def test_vary_starts_from_the_picture_pressed(world: World) -> None:
    await world.say("/txt2img a nut seed:7 count:2")
    await world.make(png(colour="red"), png(colour="blue"))
    job = await world.job((await world.press("vary", 1, index=1)).job)
    request = request_named(job.command).from_json(job.request)
    assert isinstance(request, Img2Img)
    assert (request.prompt, request.strength, request.count) == ("a nut", 0.6, 2)
    assert request.seed not in (7, 8)
    with Image.open(world.store.blobs.path(request.image)) as photo:
        assert photo.getpixel((0, 0)) == (0, 0, 255)
    assert (await world.press("vary", 1, index=2)).kind == "refused"


async def test_vary_of_an_inpainting_stays_within_its_mask(world: World) -> None:
    await world.say("/inpaint x grow:3", Sent("a.png", png()), Sent("m.png", mask()))
    await world.make(png(colour="green"))
    before = Inpaint.from_json((await world.job(1)).request)
    after = Inpaint.from_json((await world.job((await world.press("vary", 1)).job)).request)
    assert after.mask == before.mask
    assert after.image != before.image
    assert (after.strength, after.grow) == (0.6, 3)


async def test_invert_changes_nothing_else(world: World) -> None:
    await world.say("/inpaint x seed:7", Sent("a.png", png()), Sent("m.png", mask()))
    before = Inpaint.from_json((await world.job(1)).request)
    after = Inpaint.from_json((await world.job((await world.press("invert", 1)).job)).request)
    assert after == dataclasses.replace(before, invert=True)
    again = Inpaint.from_json((await world.job((await world.press("invert", 2)).job)).request)
    assert again == before
    await world.say("/txt2img x")
    assert (await world.press("invert", 4)).text == "#4 has no mask."


async def test_use_makes_a_result_the_next_photo(world: World) -> None:
    await world.say("/txt2img a nut count:2")
    await world.make(png(colour="red"), png(colour="blue"))
    assert (await world.press("use", 1, who=LEE, index=1)).text.startswith("Picture 2 of #1")
    accepted = await world.say("/img2img a rusty nut", who=LEE)
    assert accepted.kind == "accepted"
    with Image.open(world.store.blobs.path((await world.job(2)).request["image"])) as photo:
        assert photo.getpixel((0, 0)) == (0, 0, 255)


async def test_a_results_background_is_removed_by_a_message_menu(world: World) -> None:
    await world.say("/txt2img a nut count:2")
    await world.make(png(colour="red"), png(colour="blue"))
    accepted = await world.press("removebg", 1, index=1, who=LEE)
    job = await world.job(accepted.job)
    assert (job.command, job.person) == ("removebg", LEE.id)
    assert job.request["model"] == "u2netp"
    assert job.request["image"] == (await world.store.results.of(1))[1].blob
    await world.say("/removebg background:mauvish", Sent("a.png", png()))
    assert await world.store.jobs.get(job.id + 1) is None, "refused before anything is promised"


async def test_nothing_can_be_taken_from_a_job_without_pictures(world: World) -> None:
    await world.say("/txt2img x")
    for action in ("use", "vary"):
        assert (await world.press(action, 1)).text == "#1 has made no picture."


async def test_a_recipe_read_back_is_the_same_request(world: World) -> None:
    await world.say(
        '/inpaint "a \\"deep\\" `scratch`" grow:2 seed:7', Sent("a.png", png()), Sent("m.png", mask())
    )
    await world.make(png())
    answer = await world.press("recipe", 1)
    assert answer.text.count("```") == 2
    before = Inpaint.from_json((await world.job(1)).request)
    files = {file.name: file.path for file in answer.files}
    sent = [Sent(name, path.read_bytes()) for name, path in files.items()]
    spoken = read(answer.facts["line"])
    assert set(spoken.files.values()) == set(files) == {"photo.png", "mask.png"}
    assert (await world.say(answer.facts["line"], *sent)).kind == "accepted"
    assert Inpaint.from_json((await world.job(2)).request) == before


async def test_delete_takes_everything_away_and_only_once_ones_own(world: World) -> None:
    await world.say("/txt2img x")
    assert (await world.press("delete", 1)).text.startswith("#1 has not ended yet")
    await world.make(png(colour="green"))
    blob = (await world.store.results.of(1))[0].blob
    assert (await world.press("delete", 1, who=LEE)).kind == "refused"
    assert world.store.blobs.path(blob).exists()
    world.now[0] = world.store.blobs.path(blob).stat().st_mtime + 10_000
    assert (await world.press("delete", 1)).text.startswith("The pictures of #1 are deleted")
    assert not world.store.blobs.path(blob).exists()
    assert world.outbox.told[-1] == ("take back", 1)
    assert (await world.press("use", 1)).text.startswith("The picture of #1 is no longer stored.")
    assert (await world.press("reroll", 1)).kind == "accepted"


@pytest.mark.parametrize("how", ["with the first answer", "by its button"])
async def test_the_overlay_shows_what_changes(world: World, how: str) -> None:
    answer = await world.say("/inpaint x feather:0", Sent("a.png", png(colour="blue")), Sent("m.png", mask()))
    assert answer.kind == "accepted"
    if how == "by its button":
        answer = await world.press("overlay", 1)
    with Image.open(answer.files[0].path) as shown:
        inside, outside = shown.convert("RGB").getpixel((8, 8)), shown.convert("RGB").getpixel((60, 44))
    assert isinstance(inside, tuple)
    assert inside[0] > 100
    assert outside == (0, 0, 255)


async def test_a_button_works_only_where_its_job_was_said(world: World) -> None:
    """The number in a button comes from outside; it must not open what was said elsewhere."""
    await world.say("/txt2img a secret product")
    await world.make(png())
    elsewhere = Place("console", "other")
    for action in ("recipe", "use", "vary", "reroll", "delete"):
        answer = await world.press(action, 1, who=LEE, place=elsewhere)
        assert (answer.kind, answer.text) == ("refused", "There is no job #1 here.")
    assert (await world.press("recipe", 1, who=KIM, place=elsewhere)).kind == "said"
    assert (await world.press("recipe", 1, who=BOSS, place=elsewhere)).kind == "said"
    in_thread = dataclasses.replace(HERE, thread="t1")
    assert (await world.press("recipe", 1, who=LEE, place=in_thread)).kind == "said"


@pytest.mark.parametrize(("action", "job"), [("explode", 1), ("cancel", 99), ("recipe", -1), ("use", 2**62)])
async def test_nonsense_is_refused(world: World, action: str, job: int) -> None:
    await world.say("/txt2img x")
    assert (await world.press(action, job)).kind == "refused"


async def test_a_full_line_stops_buttons_too(tmp_path: Path, reader: PictureReader) -> None:
    async with opened(tmp_path, reader, queue_per_person=1) as world:
        await world.say("/txt2img x")
        assert "1 are allowed" in (await world.press("reroll", 1)).text
        assert (await world.press("reroll", 1, who=LEE)).kind == "accepted"
