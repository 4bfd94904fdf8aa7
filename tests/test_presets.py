"""Presets: options kept by a name, filled in where one says nothing, told, and never stronger than one's own words."""

from __future__ import annotations

import pytest
from desk_world import HERE, KIM, LEE, Sent, World, png

from bot import presets
from bot.talk import Invocation
from engines.requests import Txt2Img
from engines.words import Refusal


async def test_a_preset_is_saved_used_once_and_told(world: World) -> None:
    saved = await world.say('/preset save name:Fine steps:40 sampler:"Euler a" cfg:9')
    assert saved.text.startswith('Saved `fine`: `steps:40` `sampler:"Euler a"` `guidance:9`.')
    accepted = await world.say("/txt2img a nut preset:fine")
    assert "From the preset `fine`: `steps:40`" in accepted.text
    request = (await world.job(accepted.job)).request
    assert (request["steps"], request["sampler"], request["guidance"]) == (40, "Euler a", 9)
    assert "preset" not in request, "what is stored says all by itself"
    assert (await world.job((await world.say("/txt2img a nut")).job)).request["steps"] == 50


async def test_what_one_says_wins(world: World) -> None:
    await world.say("/preset save fine steps:40 strength:0.3")
    job = await world.job(
        (await world.say("/img2img a nut @p.png preset:fine steps:7", Sent("p.png", png()))).job
    )
    assert (job.request["steps"], job.request["strength"]) == (7, 0.3)
    other = await world.say("/txt2img a nut preset:fine")
    assert "strength" not in other.text, "a field the command does not have is left out"


async def test_one_in_use_holds_for_everything_until_it_ends(world: World) -> None:
    await world.say("/preset save fine steps:40")
    assert "From now on `fine` holds" in (await world.say("/preset use fine")).text
    assert (await world.job((await world.say("/txt2img a nut")).job)).request["steps"] == 40
    assert (await world.job((await world.say("/txt2img a nut preset:none")).job)).request["steps"] == 50
    assert "`fine` (in use): `steps:40`" in (await world.say("/preset")).text
    assert (await world.job((await world.say("/txt2img a nut", who=LEE)).job)).request["steps"] == 50
    await world.say("/preset use none")
    assert (await world.job((await world.say("/txt2img a nut")).job)).request["steps"] == 50


async def test_a_form_that_shows_every_field_does_not_undo_the_preset(world: World) -> None:
    await world.say("/preset save fine steps:40 guidance:3")
    said = Invocation(
        "k", KIM, HERE, "en", command="txt2img", complete=True,
        options={"prompt": "a nut", "steps": "50", "guidance": "8", "preset": "fine"},
    )  # fmt: skip
    job = await world.job((await world.desk.hear(said)).job)
    assert (job.request["steps"], job.request["guidance"]) == (40, 8)


async def test_a_preset_of_an_old_job(world: World) -> None:
    await world.say('/txt2img "a nut" steps:33 negative:"blurry, dark" seed:5')
    saved = await world.say("/preset save name:as-then job:1 steps:34")
    assert '`negative:"blurry, dark"`' in saved.text
    assert "`steps:34`" in saved.text
    assert "seed" not in saved.text
    assert (await world.say("/preset save theirs job:1", who=LEE)).kind == "refused"


async def test_deleting_ends_its_use(world: World) -> None:
    await world.say("/preset save fine steps:40")
    await world.say("/preset use fine")
    assert (await world.say("/preset delete fine")).text == "Deleted `fine`."
    assert (await world.job((await world.say("/txt2img a nut")).job)).request["steps"] == 50
    assert (await world.say("/preset")).text.startswith("You have no presets yet.")


@pytest.mark.parametrize(
    ("said", "told"),
    [
        ("/preset save", "Which preset?"),
        ("/preset save fine", "What should fine keep?"),
        ("/preset save fine stps:40", "Did you mean `steps`?"),
        ("/preset save fine zzz:40", "No command has an option `zzz`."),
        ("/preset save fine steps:many", "`steps` must be a number"),
        ("/preset save fine sampler:Eule", "`sampler` cannot be “Eule”"),
        ("/preset save fine image:@photo.png", "`image` is a file"),
        ("/preset save name:none steps:40", "cannot be a preset's name"),
        (f"/preset save name:{'x' * 33} steps:40", "cannot be a preset's name"),
        ("/preset save name:`x` steps:40", "cannot be a preset's name"),
        ("/preset use gone", "You have no preset `gone`."),
        ("/preset delete gone", "You have no preset `gone`."),
        ("/preset use fine steps:40", "Options can only be given to `/preset save`"),
        ("/txt2img a nut preset:gone", "You have no preset `gone`."),
        ("/preset shave fine", "cannot be “shave”"),
    ],
)
async def test_a_mistake_is_a_sentence(world: World, said: str, told: str) -> None:
    message = await world.say(said)
    assert message.kind == "refused"
    assert told in message.text


async def test_so_many_and_no_more(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(presets, "MOST", 2)
    for name in ("one", "two", "one"):
        assert (await world.say(f"/preset save {name} steps:40")).kind == "said"
    assert "You have 2 presets" in (await world.say("/preset save three steps:40")).text
    assert (await world.say("/preset save three steps:40", who=LEE)).kind == "said"


def test_texts_with_colons_and_korean_names_are_understood() -> None:
    told = presets.read('네거티브:흐림, 어두움 스텝:40 prompt:"a nut: scratched"')
    assert told.said == {"negative": "흐림, 어두움", "steps": "40", "prompt": "a nut: scratched"}
    assert presets.read(presets.printed(told.said).replace("`", "")).said == told.said
    with pytest.raises(Refusal):
        presets.read("smoothness:3")


def test_only_what_is_particular_of_a_request_is_kept() -> None:
    assert presets.from_request(Txt2Img(prompt="x", seed=4)) == {}
    assert presets.from_request(Txt2Img(prompt="x", steps=9, width=256)) == {"steps": "9", "width": "256"}
