"""Forms become commands that Discord takes, whatever the forms are."""

from __future__ import annotations

import dataclasses
import json
import keyword
import re
from typing import Any, ClassVar

import pytest
from contract import contract
from hypothesis import given, settings
from hypothesis import strategies as st

from bot.menu import FORMS
from bot.platforms.discord import manifest
from bot.platforms.discord.commands import (
    MENUS,
    OPTION_NAME,
    Option,
    commands,
    fingerprint,
    further_pictures,
    slash_command,
)
from bot.platforms.discord.render import cut, mark_of, plain_name
from engines.forms import Form, param
from engines.requests import Inpaint, Train, Txt2Img
from engines.words import Words


def options(form: type[Form]) -> dict[str, dict[str, Any]]:
    return {option["name"]: option for option in slash_command(form)["options"]}


def test_discord_takes_all_commands() -> None:
    assert contract().check("PUT", "/applications/1/commands", commands(FORMS))


def test_every_form_is_a_command_and_speaks_korean() -> None:
    listed = commands(FORMS)
    assert [c["name"] for c in listed] == [*(form.name for form in FORMS), *(menu.en for menu in MENUS)]
    korean = [command["name_localizations"]["ko"] for command in listed]
    assert len(set(korean)) == len(korean)
    for command in listed[: len(FORMS)]:
        assert OPTION_NAME.fullmatch(command["name_localizations"]["ko"])
        names = [o["name"] for o in command["options"]]
        names += [o["name_localizations"]["ko"] for o in command["options"] if "name_localizations" in o]
        assert len(set(names)) == len(names), "Discord wants names apart, translations included"
        for part in (command, *command["options"]):
            assert 1 <= len(part["description"]) <= 100
            assert 1 <= len(part["description_localizations"]["ko"]) <= 100


def test_options_have_the_kind_and_bounds_of_their_fields() -> None:
    inpaint = options(Inpaint)
    assert inpaint["image"]["type"] == inpaint["mask"]["type"] == Option.FILE
    assert not inpaint["image"]["required"], "a chosen input may stand in for it"
    assert inpaint["mask_area"]["type"] == Option.TEXT
    assert inpaint["model"]["autocomplete"]
    assert (inpaint["steps"]["min_value"], inpaint["steps"]["max_value"]) == (1, 150)
    assert inpaint["guidance"]["type"] == Option.NUMBER
    assert inpaint["invert"]["type"] == Option.FLAG
    assert len(inpaint["sampler"]["choices"]) == 19
    assert inpaint["prompt"]["max_length"] == 2000


def test_required_options_come_first_and_advanced_ones_last() -> None:
    for form in FORMS:
        required = [option["required"] for option in slash_command(form)["options"]]
        assert required == sorted(required, reverse=True)
    names = list(options(Txt2Img))
    assert names[0] == "prompt"
    assert {"width", "height", "sampler", "preset"} == set(names[-4:])


def test_further_pictures_have_options_where_there_is_room() -> None:
    fewest = {"inpaint": 10, "img2img": 10, "removebg": 10, "cleanup": 10, "interrogate": 10}
    for form in FORMS:
        numbered = further_pictures(form)
        assert set(numbered) <= set(options(form))
        assert len(options(form)) <= 25
        assert len(numbered) + 1 == fewest.get(form.name, 1), form.name
    assert options(Inpaint)["image10"]["type"] == Option.FILE
    assert "a_mask.png" in options(Inpaint)["image2"]["description"]


def test_every_field_can_be_said_in_an_option_or_in_more() -> None:
    for form in FORMS:
        assert "more" not in form.params()
        missing = form.params().keys() - options(form).keys()
        assert bool(missing) == ("more" in options(form)), form.name
    more = options(Train)["more"]
    assert "/help train" in more["description"]
    assert "/help train" in more["description_localizations"]["ko"]
    for form in (Train, Inpaint):
        example = re.findall(r"(\w+):[\d.]+", options(form)["more"]["description"])
        assert len(example) == 2
        assert set(example) <= form.params().keys() - options(form).keys(), "the help's own example"
    assert Inpaint.params().keys() - options(Inpaint).keys() == {"tries", "feather"}


def test_the_fingerprint_changes_with_a_word_and_not_by_itself() -> None:
    before = fingerprint(commands(FORMS))
    assert before == fingerprint(commands(FORMS))
    assert before != fingerprint(commands(FORMS[1:]))


words = st.builds(
    Words,
    st.text(st.characters(codec="ascii", categories=["L", "N", "Z"]), min_size=1, max_size=120),
    st.text("가나다라마 바사", min_size=1, max_size=120),
)
kinds = st.sampled_from(["text", "int", "float", "choice", "flag", "picture", "mask", "model"])
names = st.from_regex(r"\A[a-z][a-z0-9_]{0,20}\Z").filter(lambda name: not keyword.iskeyword(name))


@st.composite
def forms(draw: st.DrawFn) -> type[Form]:
    """Any form that someone might write."""
    known = {"name": draw(names), "about": draw(words), "title": draw(words)}
    made: list[Any] = []
    for name in draw(st.lists(names, max_size=22, unique=True)):
        kind = draw(kinds)
        low = draw(st.none() | st.integers(-(2**40), 2**40))
        more: dict[str, Any] = {
            "low": low,
            "high": None if low is None else low + draw(st.integers(0, 2**33)),
        }
        if kind == "text":
            more = {"high": draw(st.none() | st.integers(1, 9000))}
        if kind == "choice":
            count = draw(st.integers(1, 30))
            more = {"choices": tuple(f"c{i}" for i in range(count))}
        more["advanced"] = draw(st.booleans())
        default = {} if draw(st.booleans()) else {"default": None}
        made.append((name, Any, param(kind, draw(words), draw(words), **default, **more)))
    cls = dataclasses.make_dataclass("Made", made, bases=(Form,), frozen=True, kw_only=True)
    for name, value in known.items():
        setattr(cls, name, value)
    return cls


@settings(max_examples=25, deadline=None)
@given(st.lists(forms(), min_size=1, max_size=2, unique_by=lambda form: form.name))
def test_any_form_makes_a_command_that_discord_takes(made: list[type[Form]]) -> None:
    listed = commands(made)
    contract().check("PUT", "/applications/1/commands", listed)
    for command in listed[: len(made)]:
        names = [o["name"] for o in command["options"]]
        assert len(names) <= 25
        assert len(set(names)) == len(names)


def test_the_manifest_is_all_that_is_needed_to_connect() -> None:
    told = json.loads(json.dumps(manifest(FORMS, 123)))
    assert "client_id=123" in told["invite"]
    assert f"permissions={told['permissions']}" in told["invite"]
    assert "read_message_history" in told["permission_names"]
    assert told["privileged_intents"] == []
    assert len(told["commands"]) == len(FORMS) + len(MENUS)


@pytest.mark.parametrize(
    ("key", "mark"), [("ds1s", 2**30 + 2), ("ds1r", 2**30 + 3), ("a123", None), ("", None), ("ds1x", None)]
)
def test_a_job_and_a_kind_have_one_mark(key: str, mark: int | None) -> None:
    assert mark_of(key) == mark


@given(st.lists(st.text(max_size=200), max_size=12))
def test_file_names_are_plain_and_apart(said: list[str]) -> None:
    taken: set[str] = set()
    for name in said:
        plain = plain_name(name, taken)
        assert plain.isascii()
        assert plain.replace(".", "").replace("-", "").replace("_", "").isalnum()
        assert len(plain) <= 100
    assert len(taken) == len(said)


@given(st.text(st.sampled_from("`ab\n"), max_size=300), st.integers(20, 200))
def test_a_cut_text_fits_and_leaves_no_code_block_open(text: str, limit: int) -> None:
    kept = cut(text, limit)
    assert len(kept) <= limit
    if len(text) > limit:
        assert kept.count("```") % 2 == 0 or "````" in kept


class OneFlag(Form):
    """A form whose only text is in two places."""

    name: ClassVar[str] = "one"
    title: ClassVar[Words] = Words("One", "하나")
    about: ClassVar[Words] = Words("One", "하나")


def test_a_form_without_fields_is_a_command_without_options() -> None:
    assert slash_command(OneFlag)["options"] == []
