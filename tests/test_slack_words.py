"""Texts, blocks and modals: pure, within Slack's limits whatever comes in."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bot.locale.markup import block, code
from bot.menu import FORMS
from bot.platforms.slack import blocks, modals, payloads
from bot.talk import Button, File, Message, Place
from engines.forms import Form
from engines.requests import MENU, Inpaint
from engines.words import LANGUAGES, Language
from tests.loopback.slack_kit import check_message, check_view

PLACE = Place("slack", "C0FLOOR", "1700000000.000100", "T0FACTORY")


@pytest.mark.parametrize("language", LANGUAGES)
@pytest.mark.parametrize("form", FORMS)
def test_every_command_has_a_form_slack_takes(form: type[Form], language: Language) -> None:
    asked = modals.Asked(form.name, PLACE, language, (("F0LOOP000001", "nut.png"),))
    assert (
        not list(check_view(modals.form_view(form, asked, models=[f"model-{i}" for i in range(100)])))
        or not form.params()
    )


@given(
    given=st.dictionaries(st.sampled_from(list(Inpaint.params())), st.text(max_size=4000)),
    names=st.lists(st.text(min_size=1, max_size=300), max_size=10),
)
def test_whatever_was_said_before_the_form_is_one_slack_takes(
    given: dict[str, str], names: list[str]
) -> None:
    files = tuple((f"F0LOOP{i:06d}", name) for i, name in enumerate(names))
    view = modals.form_view(Inpaint, modals.Asked("inpaint", PLACE, "ko", files), given=given)
    wrong = [w for w in check_view(view) if "section" not in w]
    assert not wrong
    assert modals.Asked.from_text(view["private_metadata"]).place == PLACE


@given(st.text(max_size=9000), st.integers(0, 60))
def test_any_message_fits(said: str, buttons: int) -> None:
    pressed = tuple(Button("vary", 42, "Vary " * 30, i) for i in range(buttons))
    message = Message("finished", said, job=42, buttons=pressed)
    text = blocks.text_of(message)
    drawn = blocks.blocks_of(message, text, [("F0LOOP000001", File(Path("x.png"), "x.png"))])
    assert not list(check_message({"text": text or "-", "blocks": drawn}))


@given(st.text(alphabet="<>&@!#|`*_ \nabU0", max_size=60))
def test_nothing_a_person_says_is_a_mention(said: str) -> None:
    shown = blocks.mrkdwn(said)
    assert "<" not in shown
    assert ">" not in shown
    assert blocks.unescape(blocks.escape(said)) == said


@pytest.mark.parametrize(
    ("ours", "slacks"),
    [
        ("**bold** and `**code**`", "*bold* and `**code**`"),
        ("say `/inpaint` or /txt2img", "say `/studio inpaint` or /studio txt2img"),
        ("see a/txt2img and /txt2imgs", "see a/txt2img and /txt2imgs"),
        ("a < b & c > d", "a &lt; b &amp; c &gt; d"),
        ("```\n**kept** <x>\n```", "```\n**kept** &lt;x&gt;\n```"),
    ],
)
def test_our_markdown_in_slacks_words(ours: str, slacks: str) -> None:
    assert blocks.mrkdwn(ours) == slacks


def test_a_long_prompt_is_cut_into_whole_code_blocks() -> None:
    text = blocks.mrkdwn(block("&<a very long prompt>\n" * 260))
    drawn = blocks.blocks_of(Message("said", ""), text)
    parts = [b["text"]["text"] for b in drawn]
    assert len(parts) > 1
    assert all(part.count("```") % 2 == 0 for part in parts[:-1])
    assert not any(part.endswith(("&", "&l", "&lt", "&am", "&amp")) for part in parts)


def test_a_form_is_read_back_as_it_was_filled_in() -> None:
    values: dict[str, Any] = {
        "image": {"image": {"type": "file_input", "files": [{"id": "F1", "name": "a.png"}]}},
        "mask": {"mask": {"type": "file_input", "files": []}},
        "mask.words": {"mask.words": {"type": "plain_text_input", "value": "box=1,2,3,4"}},
        "prompt": {"prompt": {"type": "plain_text_input", "value": "긁힌 자국"}},
        "steps": {"steps": {"type": "number_input", "value": "12"}},
        "guidance": {"guidance": {"type": "number_input", "value": None}},
        "sampler": {"sampler": {"type": "static_select", "selected_option": {"value": "Euler a"}}},
        "invert": {"invert": {"type": "checkboxes", "selected_options": [{"value": "yes"}]}},
    }
    view = {"state": {"values": values}, "private_metadata": modals.Asked("inpaint", PLACE, "en").to_text()}
    said, wrong = modals.read_view(Inpaint, view, lambda one: one["id"])
    assert said == {
        "image": ["F1"],
        "mask": "box=1,2,3,4",
        "prompt": "긁힌 자국",
        "steps": "12",
        "sampler": "Euler a",
        "invert": "yes",
    }
    assert not wrong
    values["seed"] = {"seed": {"type": "number_input", "value": "seven"}}
    assert "seed" in modals.read_view(Inpaint, view, lambda one: one["id"])[1]


@given(
    st.dictionaries(st.sampled_from(["prompt", "negative", "seed"]), st.text(max_size=3000)),
    st.integers(0, 10),
)
def test_a_draft_fits_a_button_and_comes_back(given: dict[str, str], n: int) -> None:
    files = tuple((f"F0LOOP{i:06d}", "사진" * 60) for i in range(n))
    text = payloads.draft(given, files)
    assert len(text) <= payloads.VALUE
    again, chosen = payloads.read_draft(text)
    assert again.items() <= given.items()
    assert set(chosen) <= set(files)


def test_a_command_in_the_menu_is_short_enough() -> None:
    assert all(len(form.title.of(language)) <= modals.TITLE for form in MENU for language in LANGUAGES)
    assert code("x") in blocks.mrkdwn(code("x"))


@pytest.mark.parametrize(
    ("sent", "meant"),
    [
        ("<@U0STUDIO> inpaint a &lt;b&gt; &amp; c", "inpaint a <b> & c"),
        ("<@U0STUDIO>  help", "help"),
        (
            "see <https://example.org/a|example.org/a> and <https://example.org>",
            "see example.org/a and https://example.org",
        ),
        ("txt2img <@U0KIM>", "txt2img <@U0KIM>"),
    ],
)
def test_what_was_meant_by_a_mention(sent: str, meant: str) -> None:
    assert payloads.spoken(sent, "U0STUDIO") == meant
