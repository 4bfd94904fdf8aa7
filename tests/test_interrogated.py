"""An interrogation as people see it: words, phrases to pick, and a prompt made of them, on every platform."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from desk_world import KIM, LEE, Sent, World, png
from hypothesis import given
from hypothesis import strategies as st
from test_replies import LIMITS, job

from bot import picks
from bot.answers import interrogated, replies
from bot.answers.interrogated import mask_of, offered, picked
from bot.platforms.discord.render import BUTTON, draw
from bot.platforms.slack import blocks, payloads
from bot.talk import Choices, Message, Option, Place, Press
from engines.words import Refusal
from storage.jobs import Job
from storage.results import NewResult, Result

FREE = {"department": ""} if "department" in Job.__slots__ else {}
PHRASES = [
    {"text": "scratch", "ko": "긁힘", "list": "defects", "score": 0.31},
    {"text": "dent", "ko": "찍힘", "list": "defects", "score": -0.2},
    {"text": "metal nut", "ko": "금속 너트", "list": "products", "score": 0.62},
    {"text": "by @everyone", "list": "artists", "score": 0.11},
]


def recipe(image: str = "", **changed: Any) -> dict[str, Any]:
    request = {"image": image, "mode": "fast"}
    whole = {"command": "interrogate", "request": request, "model": "mini-clip", "mode": "fast"}
    whole |= {"text": "a photo of a metal nut", "caption": "a photo", "phrases": PHRASES}
    return {**whole, **changed}


def answered(language: str, **changed: Any) -> Message:
    result = Result(42, 0, "ab" * 32, "interrogate.json", interrogated.MEDIA, recipe(**changed), 0, 0)
    done = job(
        command="interrogate", request={"image": "x"}, state="done", seconds=0.2, language=language, **FREE
    )
    return replies.answer(done, [replies.Shown(result, Path("/blobs/x"))], limits=LIMITS)


def test_the_answer_is_words_in_the_language_of_whoever_asked() -> None:
    english, korean = answered("en"), answered("ko")
    assert "a photo of a metal nut" in english.text
    assert "**Defects** scratch 0.31 · dent −0.20" in english.text
    assert "**결함** 긁힘" not in korean.text
    assert "**결함** scratch (긁힘) 0.31" in korean.text
    assert english.files == ()
    assert "@everyone" not in english.text, "a phrase calls nobody"
    assert [b.action for b in english.buttons][:3] == ["totext", "toimage", "toinpaint"]
    assert english.choices is not None
    assert [o.label for o in english.choices.options] == ["scratch", "metal nut", "by @everyone", "dent"]
    assert english.facts["phrases"] == PHRASES


def test_a_negative_answer_says_that_it_is_one() -> None:
    assert "negative prompt" in answered("en", mode="negative").text
    assert "네거티브" in answered("ko", mode="negative").text


@given(st.lists(st.text(min_size=1, max_size=300), max_size=60, unique=True), st.sampled_from(["en", "ko"]))
def test_any_answer_fits_every_platform(texts: list[str], language: Any) -> None:
    lists = ["defects", "flavors", "products"]
    many = [{"text": t, "ko": t, "list": lists[i % 3], "score": 0.5} for i, t in enumerate(texts)]
    message = answered(language, phrases=many, text=", ".join(texts))
    assert len(message.text) <= LIMITS.text
    shown = message.choices.options if message.choices else ()
    assert len(shown) == min(len(texts), 25)
    drawn = draw(message).layout.to_components()
    menus = [c for row in drawn for c in row.get("components", ()) if c["type"] == 3]
    assert [len(menu["options"]) for menu in menus] == ([len(shown)] if shown else [])
    boxes = [b["accessory"] for b in blocks.blocks_of(message, "x") if "accessory" in b]
    assert all(1 <= len(box["options"]) <= 10 for box in boxes)
    assert all(len(o["text"]["text"]) <= 75 for box in boxes for o in box["options"])


@given(st.sets(st.integers(0, 40)), st.integers(1, 60))
def test_picks_fit_into_a_button_and_come_back(chosen: set[int], count: int) -> None:
    many = recipe(phrases=[{"text": f"p{i}", "list": "flavors", "score": 0.1} for i in range(count)])
    values = [str(i) for i in chosen]
    mask = mask_of(many, values)
    assert picked(many, (), mask) == picked(many, values, 0)
    assert picked(many, values, 0) == [f"p{i}" for i in sorted(chosen) if i < min(count, 25)]
    for button in interrogated.uses(42, "en", mask):
        match = BUTTON.fullmatch(button.id)
        assert match
        assert int(match["index"]) == mask
        assert payloads.BUTTON.match(button.id)
        assert len(button.id) <= 100


def test_what_no_place_is_is_left_out() -> None:
    assert picked(recipe(), ["-1", "x", "99", "²", "1"], 0) == ["metal nut"]
    assert len(offered(recipe(phrases=[*PHRASES, PHRASES[0]]))) == 4, "each phrase once"


@pytest.mark.parametrize(
    ("said", "meant"),
    [
        ("/pick 42 1 3 img2img", (42, ("0", "2"), "toimage")),
        ("/pick #42 1,2 /txt2img", (42, ("0", "1"), "totext")),
        ("/pick 42 2 inpaint", (42, ("1",), "toinpaint")),
        ("/pick 42 1", (42, ("0",), "pick")),
        ("/pick 42 txt2img", (42, (), "totext")),
        ("/txt2img pick 3", None),
        ("pick a nut", None),
        ("", None),
    ],
)
def test_picks_in_words(said: str, meant: Any) -> None:
    assert picks.pressed_by_words(said) == meant


@pytest.mark.parametrize("said", ["/pick", "/pick x", "/pick 42 one", "/pick txt2img"])
def test_a_pick_that_cannot_be_understood_says_how(said: str) -> None:
    with pytest.raises(Refusal, match="/pick 42 1 3"):
        picks.pressed_by_words(said)


# At the desk


async def read(world: World, **changed: Any) -> int:
    """A finished interrogation of a picture."""
    accepted = await world.say("/interrogate", Sent("a.png", png()))
    assert accepted.kind == "accepted", accepted.text
    claimed = await world.store.jobs.claim(world.now[0])
    assert claimed is not None
    told = recipe(claimed.request["image"], **changed)
    blob = await world.store.blobs.put(json.dumps(told).encode())
    made = [NewResult(blob, "interrogate.json", interrogated.MEDIA, told, 0, 0)]
    await world.store.jobs.finish(claimed.id, results=made, notes=[], seconds=0.1, now=world.now[0])
    return claimed.id


async def press(world: World, action: str, number: int, who: Any = KIM, **more: Any) -> Message:
    key = f"press{next(world.counted)}"
    return await world.desk.press(Press(key, who, Place("console", "general"), "en", action, number, **more))


async def test_picked_phrases_become_a_prompt(world: World) -> None:
    number = await read(world)
    chosen = await press(world, "pick", number, values=("0", "1"))
    assert "scratch, metal nut" in chosen.text
    (button,) = [b for b in chosen.buttons if b.action == "totext"]
    started = await press(world, "totext", number, index=button.index)
    assert started.kind == "accepted"
    made = await world.job(started.job)
    assert (made.command, made.request["prompt"]) == ("txt2img", "scratch, metal nut")


async def test_nothing_picked_is_the_whole_prompt_and_the_same_picture(world: World) -> None:
    number = await read(world)
    started = await press(world, "toimage", number, who=LEE)
    made, before = await world.job(started.job), await world.job(number)
    assert (made.command, made.request["prompt"]) == ("img2img", "a photo of a metal nut")
    assert made.request["image"] == before.request["image"]
    assert made.person == LEE.id


async def test_inpainting_needs_a_mask_and_says_how(world: World) -> None:
    number = await read(world)
    answer = await press(world, "toinpaint", number, values=("0",))
    assert answer.kind == "said"
    line = answer.facts["line"]
    assert line == '/inpaint mask:@mask.png prompt:"scratch"'
    done = await world.say(line, Sent("mask.png", png((64, 48), "white", "L")))
    assert done.kind == "accepted", done.text
    made = await world.job(done.job)
    assert made.request["image"] == (await world.job(number)).request["image"], "the photo was kept"


async def test_words_that_do_not_fit_become_a_negative_prompt(world: World) -> None:
    number = await read(world, mode="negative")
    answer = await press(world, "totext", number, values=("0",))
    assert answer.facts["line"] == '/txt2img prompt:"…" negative:"scratch"'


async def test_where_forms_open_the_prompt_stands_in_the_form(world: World) -> None:
    number = await read(world)
    answer = await press(world, "toimage", number, values=("1",), forms=True)
    assert (answer.form, answer.given) == ("img2img", {"prompt": "metal nut"})
    image = (await world.job(number)).request["image"]
    assert await world.store.people.last_input(KIM.id) == image


@pytest.mark.parametrize("action", ["pick", "totext", "use", "vary"])
async def test_what_cannot_be_done_is_a_sentence(world: World, action: str) -> None:
    """Picking from a picture; using words as a picture."""
    if action in ("pick", "totext"):
        await world.say("/txt2img x")
        await world.make(png())
        number = 1
    else:
        number = await read(world)
    answer = await press(world, action, number, values=("0",))
    assert answer.kind == "refused"
    assert f"#{number}" in answer.text


async def test_an_empty_pick_is_a_sentence(world: World) -> None:
    answer = await press(world, "pick", await read(world), values=("77",))
    assert (answer.kind, answer.text) == ("refused", "Please pick at least one of the phrases.")


# Slack


def test_slack_remembers_what_is_ticked() -> None:
    elements = {"ds:pick:42:0": {"type": "checkboxes", "selected_options": [{"value": "0"}, {"value": "3"}]}}
    other = {"ds:pick:41:0": {"type": "checkboxes", "selected_options": [{"value": "9"}]}}
    body = {"state": {"values": {"ds:pick:42:0": elements, "ds:pick:41:0": other}}}
    assert payloads.ticked(body, 42) == ("0", "3")
    assert payloads.ticked({}, 42) == ()
    assert payloads.ticked({"state": {"values": {"x": {"y": {"type": "plain_text_input"}}}}}, 42) == ()


def test_what_is_chosen_already_is_ticked() -> None:
    options = (Option("scratch", "0", chosen=True), Option("dent", "1"))
    message = Message("finished", "x", job=42, choices=Choices("ds:pick:42:0", "Pick", options))
    (box,) = [b["accessory"] for b in blocks.blocks_of(message, "x") if "accessory" in b]
    assert [o["value"] for o in box["initial_options"]] == ["0"]
