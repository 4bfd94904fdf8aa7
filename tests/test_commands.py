"""The talk-only commands, said at a real desk."""

from __future__ import annotations

import unicodedata
from pathlib import Path

import pytest
from desk_world import BOSS, LEE, World

from bot.commands.help import overview, page
from bot.menu import FORMS, form_named
from engines.forms import read_value
from engines.words import Refusal

ROOT = Path(__file__).parents[1]


def test_the_menu_holds_every_command_once_and_within_the_platforms_limits() -> None:
    names = [form.name for form in FORMS]
    assert len(set(names)) == len(names)
    assert {
        "txt2img",
        "img2img",
        "inpaint",
        "help",
        "jobs",
        "cancel",
        "models",
        "history",
        "language",
    } <= set(names)
    for form in FORMS:
        assert form.name.isascii()
        assert form.name == form.name.lower()
        for words, limit in ((form.about, 100), (form.title, 24)):
            assert 0 < len(words.en) <= limit, form
            assert 0 < len(words.ko) <= limit, form
        for name, p in form.params().items():
            assert 0 < len(p.help.en) <= 100, (form, name)
            assert 0 < len(p.help.ko) <= 100, (form, name)
            assert p.label.en, (form, name)
            assert p.label.ko, (form, name)


@pytest.mark.parametrize(
    ("name", "said", "kept", "told"),
    [
        ("steps", "12", 12, ""),
        ("steps", "1,000", 150, "`steps` 1,000 was changed to 150 (allowed: 1 to 150)."),
        ("steps", "7,5", 7, "`steps` 7,5 was changed to 7 (allowed: 1 to 150)."),
        ("steps", "1e999", 150, "`steps` 1e999 was changed to 150 (allowed: 1 to 150)."),
        ("guidance", "7,5", 7.5, ""),
        ("guidance", "0", 1.0, "`guidance` 0 was changed to 1 (allowed: 1 to 20)."),
        ("width", "1,024", 1024, ""),
        ("width", "101", 104, "`width` 101 was changed to 104 (allowed: 64 to 2048)."),
        ("sampler", "euler_a", "Euler a", ""),
        ("sampler", "dpm++2m-karras", "DPM++ 2M Karras", ""),
    ],
)
def test_values_as_people_write_them(name: str, said: str, kept: float | str, told: str) -> None:
    value, note = read_value(name, form_named("txt2img").params()[name], said)
    assert (value, type(value)) == (kept, type(kept))
    assert (note.en if note else "") == told


@pytest.mark.parametrize("said", ["abc", "nan", "1e999e"])
def test_what_is_no_number_is_told_what_may_be(said: str) -> None:
    for name, command, allowed in (("job", "cancel", "0 upwards"), ("steps", "txt2img", "1 to 150")):
        with pytest.raises(Refusal, match=f"`{name}` must be a number from {allowed}, not “{said}”"):
            read_value(name, form_named(command).params()[name], said)


async def test_a_command_may_be_said_in_korean(world: World) -> None:
    """By the names that Discord's own menu shows; macOS sends Hangul in parts."""
    for said in ("/내작업", "내작업", unicodedata.normalize("NFD", "/내작업")):
        answer = await world.say(said)
        assert (answer.kind, answer.command) == ("said", "jobs"), answer.text
    assert "/cancel" in (await world.say("/도움말")).text
    assert "`/작업취소`" in (await world.say("/작업최소 3")).text


def test_no_bound_is_shown_where_there_is_none() -> None:
    assert "≥ 0" in page(form_named("cancel")).en


@pytest.mark.parametrize("form", FORMS)
def test_names_and_aliases_of_a_form_mean_one_field_each(form: type) -> None:
    params = form_named(form.name).params()  # type: ignore[attr-defined]
    spellings = [s for name, p in params.items() for s in {name, p.label.ko, *p.aliases}]
    assert len(spellings) == len(set(spellings))


def test_a_command_is_found_with_or_without_its_slash() -> None:
    assert form_named("/Inpaint") is form_named("inpaint")
    with pytest.raises(Refusal, match="nothere"):
        form_named("nothere")


async def test_help_lists_all_commands_and_each_of_their_options(world: World) -> None:
    for lang in ("en", "ko"):
        answer = await world.say("/help", lang=lang)
        assert answer.text == overview(FORMS).of(lang)
        for form in FORMS:
            assert f"`/{form.name}` {form.about.of(lang)}" in answer.text
            told = await world.say(f"/help {form.name}", lang=lang)
            assert all(f"`{name}` {p.help.of(lang)}" in told.text for name, p in form.params().items())
    assert "needed" in page(form_named("inpaint")).en
    assert "default 50" in page(form_named("inpaint")).en
    assert "Did you mean `/inpaint`?" in (await world.say("/help inpant")).text


async def test_nothing_said_at_all_is_a_cry_for_help(world: World) -> None:
    assert (await world.say("")).text == (await world.say("/help")).text


async def test_jobs_are_ones_own_in_the_order_asked(world: World) -> None:
    assert (await world.say("/jobs")).text == "You have no jobs waiting or running."
    await world.say("/txt2img the first")
    await world.say("/txt2img of lee", who=LEE)
    await world.say("/txt2img the second")
    running = await world.store.jobs.claim(world.now[0])
    assert running is not None
    world.now[0] += 75
    lines = (await world.say("/jobs")).text.splitlines()
    assert lines[0] == "#1 txt2img · running for 1 min 15 s `the first`"
    assert lines[1] == "#3 txt2img · 2nd in line `the second`"
    assert "lee" not in "".join(lines)


async def test_cancel_without_a_number_takes_the_newest(world: World) -> None:
    assert (await world.say("/cancel")).text == "You have no job to cancel."
    await world.say("/txt2img a")
    await world.say("/txt2img b")
    await world.say("/txt2img c", who=LEE)
    assert (await world.say("/cancel")).text == "Cancelled #2."
    assert (await world.say("/cancel", lang="ko")).text == "#1 작업을 취소했습니다."
    assert (await world.job(3)).state == "queued"


async def test_cancel_of_others_is_for_admins(world: World) -> None:
    await world.say("/txt2img a")
    assert "belongs to someone else" in (await world.say("/cancel 1", who=LEE)).text
    assert (await world.job(1)).state == "queued"
    assert (await world.say("/cancel #1", who=BOSS)).text == "Cancelled #1."
    assert world.dispatcher.told[-1] == ("cancel", 1)
    assert (await world.say("/cancel 1")).text == "#1 is already cancelled."
    assert "There is no job #77" in (await world.say("/cancel 77")).text


async def test_models_tell_kinds_licence_and_default(world: World) -> None:
    text = (await world.say("/models")).text
    assert "`toy` txt2img, img2img, inpaint · default for /txt2img, /img2img" in text
    assert "`toy-inpaint` inpaint · default for /inpaint" in text
    assert "`stable-diffusion-v1-5` txt2img, img2img, inpaint · CreativeML Open RAIL-M" in text
    assert "downloaded when first used (4.27 GB)" in text
    assert text.count("CreativeML Open RAIL-M: Commercial use is allowed") == 1


async def test_a_model_that_is_not_for_work_says_so_and_names_one_that_is(world: World) -> None:
    for said in ("/models rmbg", "/models name:briaai/RMBG-1.4"):
        english, korean = (await world.say(said)).text, (await world.say(said, lang="ko")).text
        assert "BRIA RMBG-1.4 (non-commercial)" in english
        assert "NOT for commercial use" in english
        assert "상업적으로 사용할 수 없습니다" in korean
        assert "`u2netp`" in english
        assert "`u2netp`" in korean
    readme, korean = ((ROOT / name).read_text() for name in ("README.md", "README.ko.md"))
    (row,) = (line for line in readme.splitlines() if line.startswith("| `rmbg-1.4`"))
    assert "**non-commercial only**" in row
    assert "`u2netp`" in row
    (row,) = (line for line in korean.splitlines() if line.startswith("| `rmbg-1.4`"))
    assert "**비상업적 용도만**" in row
    assert "`u2netp`" in row


async def test_language_says_what_it_is(world: World) -> None:
    assert (await world.say("/language")).text.startswith("I speak English")
    assert (await world.say("/language fr")).kind == "refused"
    assert (await world.say("/language en", lang="ko")).text == "I will speak English to you."
