"""What people type, and that every command line printed can be read back."""

from __future__ import annotations

import unicodedata

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bot.grammar import read, references, unparse
from bot.menu import FORMS
from engines.forms import Form, Param
from engines.requests import MOST_DRAWN, SEEDS, Inpaint, Txt2Img
from engines.words import Refusal

BLOB = "ab" * 32
TYPED = [
    (
        '/inpaint image:@photo.png mask:@mask.png prompt:"a scratch on a metal nut" seed:7 steps:25',
        "inpaint",
        {"prompt": "a scratch on a metal nut", "seed": "7", "steps": "25"},
        {"image": "photo.png", "mask": "mask.png"},
    ),
    ("inpaint @a.png a scratch", "inpaint", {"prompt": "a scratch"}, {"image": "a.png"}),
    ("/studio txt2img a nut", "txt2img", {"prompt": "a nut"}, {}),
    ('/txt2img "a nut" seed=7 cfg=5', "txt2img", {"prompt": "a nut", "seed": "7", "guidance": "5"}, {}),
    ("/txt2img “a nut” 시드:7 스텝=9", "txt2img", {"prompt": "a nut", "seed": "7", "steps": "9"}, {}),
    ("/txt2img a nut steps: 20 with a crack", "txt2img", {"prompt": "a nut with a crack", "steps": "20"}, {}),
    ("/txt2img prompt:a nut seed:7", "txt2img", {"prompt": "a nut", "seed": "7"}, {}),
    ("/txt2img prompt: a nut", "txt2img", {"prompt": "a nut"}, {}),
    ("/txt2img http://x/y", "txt2img", {"prompt": "http://x/y"}, {}),
    ("/txt2img a ratio of 4:3, see http://x", "txt2img", {"prompt": "a ratio of 4:3, see http://x"}, {}),
    ('/txt2img a sign "open now" on steel', "txt2img", {"prompt": 'a sign "open now" on steel'}, {}),
    ('/txt2img a 5" nut', "txt2img", {"prompt": 'a 5" nut'}, {}),
    (r'/txt2img "a \"big\" nut"', "txt2img", {"prompt": 'a "big" nut'}, {}),
    ("/txt2img mail me @home", "txt2img", {"prompt": "mail me @home"}, {}),
    ("/TXT2IMG x NEGATIVE:blurry", "txt2img", {"prompt": "x", "negative": "blurry"}, {}),
    ('/img2img x @"my photo.png"', "img2img", {"prompt": "x"}, {"image": "my photo.png"}),
    ('/img2img x image:"@my photo.png"', "img2img", {"prompt": "x"}, {"image": "my photo.png"}),
    ("/img2img x image:photo.png", "img2img", {"prompt": "x"}, {"image": "photo.png"}),
    (
        "/inpaint x mask:box=1,2,3,4; 5,6,7,8",
        "inpaint",
        {"prompt": "x", "mask": "box=1,2,3,4;;5,6,7,8"},
        {},
    ),
    (
        "/inpaint x mask:box=1,2,3,4 mask:auto",
        "inpaint",
        {"prompt": "x", "mask": "box=1,2,3,4;auto"},
        {},
    ),
    ("/inpaint x mask:colour mask:@m.png", "inpaint", {"prompt": "x", "mask": "colour"}, {"mask": "m.png"}),
    ("/cancel #42", "cancel", {"job": "42"}, {}),
    ("/cancel", "cancel", {}, {}),
    ("/language ko", "language", {"language": "ko"}, {}),
    ("/history metal nut page:2", "history", {"words": "metal nut", "page": "2"}, {}),
    ("/help /inpaint", "help", {"command": "/inpaint"}, {}),
    ("", "help", {}, {}),
    ("  /studio  ", "help", {}, {}),
]


@pytest.mark.parametrize(("text", "command", "values", "files"), TYPED)
def test_what_people_type(text: str, command: str, values: dict[str, str], files: dict[str, str]) -> None:
    spoken = read(text)
    assert (spoken.form.name, spoken.values, spoken.files) == (command, values, files)


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("/inpain x", "Did you mean `/inpaint`?"),
        ("/xyzzy", "`/help` lists them all."),
        ("/txt2img promt:x", "Did you mean `prompt`?"),
        ('/txt2img "a nut" style:oil', "has no option `style`"),
        ('/txt2img "a nut', "not closed"),
        ("/txt2img x seed:1 seed:2", "`seed` is given twice"),
        ("/txt2img a nut prompt:b", "`prompt` is given twice"),
        ("/cancel 4 5", "what “5” belongs to"),
        ("/", "There is no command “/”"),
    ],
)
def test_what_cannot_be_understood_is_named(text: str, says: str) -> None:
    with pytest.raises(Refusal) as refused:
        read(text)
    assert says in refused.value.words.en


def test_macos_sends_hangul_in_parts() -> None:
    assert read(unicodedata.normalize("NFD", "/txt2img x 시드:7")).values["seed"] == "7"


def test_several_files_of_one_field_and_files_without_a_field() -> None:
    said = read("/inpaint x image:@a.png image:@b.png mask:@a_mask.png mask:@b_mask.png")
    assert said.files == {"image": "a.png", "mask": "a_mask.png"}
    assert said.more == {"image": ("b.png",), "mask": ("b_mask.png",)}
    assert read("/inpaint x @a.png @b.png").files == {"image": "a.png", "mask": "b.png"}
    loose = read("/inpaint x @a.png @b.png @c.png")
    assert (loose.files, loose.loose) == ({}, ("a.png", "b.png", "c.png"))
    assert read("/img2img x @a.png @b.png").loose == ("a.png", "b.png")
    assert read("/inpaint x @a.png @b.png mask:auto").loose == ("a.png", "b.png")
    assert references("/img2img x @a.png image:@b.png image:@c.png") == ("b.png", "c.png", "a.png")


def test_references_are_the_files_spoken_of() -> None:
    assert references("/inpaint x @a.png mask:@b.png") == ("a.png", "b.png")
    assert references("/nonsense @a.png") == ()
    assert references('/inpaint "never closed @a.png') == ()


def test_a_printed_line_can_name_the_files() -> None:
    form, _ = Inpaint.fill({"prompt": "x", "image": BLOB, "mask": "cd" * 32, "invert": True})
    line = unparse(form, {BLOB: "photo.png", "cd" * 32: "my mask.png"})
    assert line == '/inpaint prompt:"x" image:@photo.png mask:@"my mask.png" invert:yes'


def value_of(p: Param) -> st.SearchStrategy[object]:
    match p.kind:
        case "int":
            return st.integers(int(p.low or 0), int(p.high or SEEDS))
        case "float":
            return st.floats(p.low or 0, p.high or 1)
        case "flag":
            return st.booleans()
        case "choice":
            return st.sampled_from(p.choices)
        case "picture":
            return st.just(BLOB)
        case "mask":
            return st.sampled_from([BLOB, "auto", "box=1,2,3,4;10%,10%,5%,5%", "colour=red", "alpha; white"])
    hard = st.sampled_from(['"', "“", "”", "'", "\\", "\n", "@", ":", "seed:7", "`", " ", "/", "\\n", "이름"])
    mixed = st.lists(st.one_of(hard, st.text(max_size=8)), max_size=8).map("".join)
    return mixed.filter(lambda text: bool(text.strip()))


@st.composite
def forms(draw: st.DrawFn) -> Form:
    form = draw(st.sampled_from(FORMS))
    said = {name: draw(value_of(p)) for name, p in form.params().items() if p.required or draw(st.booleans())}
    if "background" in said:  # the one text that must be a colour
        said["background"] = draw(st.sampled_from(["white", "#a0b1c2"]))
        said.pop("mask_only", None)
    if "tries" in said and "count" in said:  # refused together where they are too many
        said["count"] = min(said["count"], MOST_DRAWN // said["tries"])
    return form.fill(said)[0]


@given(forms())
@settings(max_examples=300, deadline=None)
def test_every_printed_line_is_read_back(form: Form) -> None:
    spoken = read(unparse(form))
    assert spoken.form is type(form)
    again, notes = spoken.form.fill({**spoken.values, **spoken.files})
    assert again == form
    assert notes == ()


PIECES = st.sampled_from(
    [
        "/txt2img",
        "/inpaint",
        "/cancel",
        "studio",
        "seed:",
        "seed",
        ":",
        "=",
        '"',
        "“",
        "@",
        "@a",
        "프롬프트:",
        "x",
        "mask:",
        "image:",
        "\\",
        "'",
        "#",
        "：",
        " ",
        "\n",
        "page:",
        "-",
        "steps=NaN",
        "seed:1e999",
        "invert:",
    ]
)


@given(st.one_of(st.text(), st.lists(st.one_of(PIECES, st.text(max_size=4)), max_size=12).map("".join)))
@settings(max_examples=500, deadline=None)
def test_no_text_breaks_it(text: str) -> None:
    """Whatever is said, it is understood or refused, and what is understood can be filled in or is refused."""
    references(text)
    try:
        spoken = read(text)
        form, _ = spoken.form.fill({**spoken.values, **dict.fromkeys(spoken.files, "@")})
    except Refusal:
        return
    for name, p in form.params().items():
        value = getattr(form, name)
        if p.low is not None and p.high is not None and value is not None and p.kind in ("int", "float"):
            assert p.low <= value <= p.high


def test_quotes_keep_a_prompt_as_it_is() -> None:
    prompt = "(masterpiece:1.2), a nut \\(M8\\), <lora:x:0.8>"
    form, _ = Txt2Img.fill({"prompt": prompt})
    assert read(unparse(form)).values["prompt"] == prompt
    assert read(f"/txt2img {prompt}").values["prompt"] == prompt
