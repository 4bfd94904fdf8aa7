"""Everything a person reads is there in both languages, and fits where the platforms put it."""

from __future__ import annotations

import ast
import pickle
import re
import string
import unicodedata
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest

from bot.menu import FORMS
from engines.engine import Busy
from engines.forms import Form
from engines.words import Refusal, Words

ROOT = Path(__file__).parents[1]
HANGUL = re.compile(r"[가-힣]")
# said alike in both languages
NAMES = re.compile(r"Discord|Slack|Defect Studio|[A-Z][A-Z0-9]+|GB|MB|Words|PNG|JPEG|px|https?\S+")


@cache
def sentences() -> list[tuple[str, str, str]]:
    """(where, English, Korean) of every `Words("…", "…")` written in the house."""
    found = []
    for room in ("bot", "engines", "storage"):
        for file in sorted((ROOT / room).rglob("*.py")):
            for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
                if pair := _pair(node):
                    found.append((f"{file.relative_to(ROOT)}:{node.lineno}", *pair))  # type: ignore[attr-defined]
    return found


def _pair(node: ast.AST) -> tuple[str, str] | None:
    if not (isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "Words"):
        return None
    said = [arg.value for arg in node.args if isinstance(arg, ast.Constant) and isinstance(arg.value, str)]
    return (said[0], said[1]) if len(said) == 2 == len(node.args) else None


def fields(template: str) -> set[str]:
    return {name for _, name, _, _ in string.Formatter().parse(template) if name}


def shared(names: set[str]) -> set[str]:
    """Without those of one language alone: `{en_nth}` is 1st, 2nd, … where Korean counts with `{n}`."""
    return {name for name in names if not name.startswith(("en_", "ko_")) and name != "n"}


def plain(template: str) -> str:
    """Without fields, code and names: what has to be translated."""
    text = re.sub(r"\{[^}]*\}|`[^`]*`|\*\*", " ", template)
    return NAMES.sub(" ", text)


def test_there_are_many_sentences() -> None:
    assert len(sentences()) > 150


def test_both_languages_say_something() -> None:
    assert [where for where, en, ko in sentences() if not en.strip() or not ko.strip()] == []


def test_both_languages_have_the_same_fields() -> None:
    odd = [where for where, en, ko in sentences() if shared(fields(en)) != shared(fields(ko))]
    assert odd == []


def test_korean_is_korean() -> None:
    english = [
        (where, ko)
        for where, en, ko in sentences()
        if re.search(r"[a-z]{3}", plain(en)) and not HANGUL.search(ko)
    ]
    assert english == []


def test_english_is_english() -> None:
    assert [(where, en) for where, en, _ in sentences() if HANGUL.search(plain(en))] == []


def test_korean_sentences_are_polite() -> None:
    """합니다체: no sentence ends like talk among friends or like a note to oneself."""
    rude = [
        (where, ending)
        for where, _, ko in sentences()
        for ending in re.findall(r"([가-힣])[.!](?=\s|$)", ko)
        if ending in "해어아야지네함음임됨"
    ]
    assert rude == []


# --- forms -----------------------------------------------------------------------------------------------


def lines(form: type[Form]) -> Iterator[tuple[str, str, int]]:
    """(what, text, most characters) for everything of a form that a platform shows."""
    for language in ("en", "ko"):
        yield f"title {language}", form.title.of(language), 24  # Slack's modal title
        yield f"about {language}", form.about.of(language), 100  # Discord's description
        for name, p in form.params().items():
            yield f"{name} help {language}", p.help.of(language), 100
            yield f"{name} label {language}", p.label.of(language), 45  # Discord's modal label
    for name, p in form.params().items():
        for choice in p.choices:
            yield f"{name} choice", choice, 75  # Slack's option text


@pytest.mark.parametrize("form", FORMS, ids=lambda form: form.name)
def test_texts_fit_where_they_are_shown(form: type[Form]) -> None:
    assert [(what, text) for what, text, most in lines(form) if not 0 < len(text) <= most] == []


def is_option_name(text: str) -> bool:
    """Discord: ^[-_'\\p{L}\\p{N}]{1,32}$, lower case where there is one."""
    letters = all(c in "-_'" or unicodedata.category(c)[0] in "LN" for c in text)
    return letters and 1 <= len(text) <= 32 and text == text.lower()


@pytest.mark.parametrize("form", FORMS, ids=lambda form: form.name)
def test_names_are_what_discord_accepts(form: type[Form]) -> None:
    params = form.params()
    names = [
        form.name,
        *params,
        *(p.label.ko for p in params.values()),
        *(a for p in params.values() for a in p.aliases),
    ]
    assert [name for name in names if not is_option_name(name)] == []
    korean = [p.label.ko for p in params.values()]
    assert len(set(korean)) == len(korean)


@pytest.mark.parametrize("form", FORMS, ids=lambda form: form.name)
def test_no_name_means_two_fields(form: type[Form]) -> None:
    for name, p in form.params().items():
        for said in (name, p.label.ko, *p.aliases):
            assert form.field_named(said) == name


@pytest.mark.parametrize("form", FORMS, ids=lambda form: form.name)
def test_counts_are_what_the_platforms_accept(form: type[Form]) -> None:
    assert sum(not p.advanced for p in form.params().values()) <= 25  # Discord; what is advanced is cut there
    assert all(len(p.choices) <= 25 for p in form.params().values())


def test_no_two_forms_have_one_name() -> None:
    names = [form.name for form in FORMS]
    assert len(set(names)) == len(names)


@pytest.mark.parametrize("kind", [Refusal, Busy])
def test_a_refusal_keeps_its_words_between_processes(kind: type[Refusal]) -> None:
    again = pickle.loads(pickle.dumps(kind(Words("no seat", "자리가 없습니다"))))
    assert type(again) is kind
    assert again.words == Words("no seat", "자리가 없습니다")
    assert str(again) == "no seat"
