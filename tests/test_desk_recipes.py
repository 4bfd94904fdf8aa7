"""Recipes in pictures: ours, other tools', damaged and hostile ones."""

from __future__ import annotations

import io
import json
import struct
import time
import zlib
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from PIL.PngImagePlugin import PngInfo

from bot.grammar import read
from bot.recipes import SIGNATURE, chunks, recipe_message
from engines import recipe as recipes
from engines.requests import Img2Img, Txt2Img
from engines.words import Refusal

RECIPE: dict[str, Any] = {
    "command": "txt2img",
    "request": Txt2Img(prompt="a nut, 너트", seed=7, count=4, steps=9, model="toy").to_json(),
    "seed": 9,
    "width": 64,
    "height": 48,
    "model": "toy",
    "hash": "0123456789abcdef",
    "versions": {"defect-studio": "0.1.0"},
}


def picture(told: Any = RECIPE) -> bytes:
    return recipes.png(Image.new("RGB", (64, 48)), told)


def with_text(**texts: str) -> bytes:
    info = PngInfo()
    for keyword, text in texts.items():
        info.add_itxt(keyword.replace("_", "-"), text)
    out = io.BytesIO()
    Image.new("RGB", (2, 2)).save(out, "PNG", pnginfo=info)
    return out.getvalue()


def chunk(kind: bytes, body: bytes) -> bytes:
    return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))


def test_our_own_picture_says_the_line_that_makes_it_again() -> None:
    """This one picture: its own seed, and one."""
    message = recipe_message(picture(), "en")
    spoken = read(message.facts["line"])
    form, notes = spoken.form.fill(spoken.values)
    assert form == Txt2Img(prompt="a nut, 너트", seed=9, count=1, steps=9, model="toy")
    assert notes == ()
    assert "64×48" in message.text
    assert "`0123456789`" in message.text


def test_a_recipe_names_the_files_it_needs() -> None:
    request = Img2Img(prompt="x", image="ab" * 32, seed=1).to_json()
    message = recipe_message(picture({**RECIPE, "command": "img2img", "request": request}), "ko")
    assert "image:@photo.png" in message.text
    assert "파일 `photo.png`을(를) 함께 첨부해야 합니다." in message.text


def test_another_tools_recipe_is_shown_as_it_is() -> None:
    message = recipe_message(with_text(parameters="a cat\nSteps: 20, @everyone ```"), "en")
    assert "Steps: 20" in message.text
    assert "@everyone" not in message.text
    assert message.text.count("```") == 2


@pytest.mark.parametrize(
    ("data", "says"),
    [
        (with_text(), "says nothing about how it was made"),
        (b"\xff\xd8\xff\xe0 a jpeg", "kept in PNG files only"),
        (b"", "kept in PNG files only"),
        (with_text(defect_studio="{"), "cannot be understood"),
        (with_text(defect_studio="[]"), "cannot be understood"),
        (with_text(defect_studio='{"command": "rm", "request": {}}'), "cannot be understood"),
        (with_text(defect_studio='{"command": "txt2img", "request": {"seed": "x"}}'), "cannot be understood"),
        (with_text(defect_studio='{"command": ["a"], "request": {}}'), "cannot be understood"),
        (with_text(defect_studio="[" * 100_000), "cannot be understood"),
        (with_text(defect_studio=json.dumps({**RECIPE, "seed": float("inf")})), "cannot be understood"),
    ],
)
def test_what_tells_nothing_is_said_so(data: bytes, says: str) -> None:
    with pytest.raises(Refusal) as refused:
        recipe_message(data, "en")
    assert says in refused.value.words.en


def test_what_a_recipe_says_of_the_size_is_a_number_or_nothing() -> None:
    told = {**RECIPE, "width": "[free models](https://example.com)", "height": 48}
    assert "example.com" not in recipe_message(picture(told), "en").text


def test_a_bomb_in_a_text_is_not_unpacked() -> None:
    bomb = zlib.compress(b"0" * 200_000_000, 9)
    data = SIGNATURE + chunk(b"zTXt", b"defect-studio\0\0" + bomb) + chunk(b"IEND", b"")
    began = time.process_time()
    assert chunks(data) == {}
    assert time.process_time() - began < 0.5


@given(
    st.binary(max_size=200), st.sampled_from([b"tEXt", b"zTXt", b"iTXt", b"IHDR"]), st.integers(0, 2**32 - 1)
)
@settings(deadline=None)
def test_no_bytes_break_the_reading(body: bytes, kind: bytes, claimed: int) -> None:
    for data in (
        SIGNATURE + chunk(kind, b"defect-studio\0" + body),
        SIGNATURE + struct.pack(">I", claimed) + kind + body,
        SIGNATURE + body,
        body,
    ):
        assert all(isinstance(text, str) for text in chunks(data).values())


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=8,
)
keys = st.sampled_from([*RECIPE, *RECIPE["request"]])


@given(
    top=st.dictionaries(keys, json_values, max_size=3), request=st.dictionaries(keys, json_values, max_size=4)
)
@settings(max_examples=200, deadline=None)
def test_a_forged_recipe_is_read_or_refused(top: dict[str, Any], request: dict[str, Any]) -> None:
    told = {**RECIPE, "request": {**RECIPE["request"], **request}, **top}
    try:
        message = recipe_message(with_text(defect_studio=json.dumps(told)), "en")
    except Refusal:
        return
    assert message.text.count("```") == 2
