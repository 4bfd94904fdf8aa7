"""Modals drawn from the forms, and what people filled in read back. Pure functions."""

from __future__ import annotations

import dataclasses
import json
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from bot.platforms.slack.blocks import plain
from bot.talk import Place
from engines.forms import Form, Param, read_value
from engines.words import Language, Refusal, Words

TITLE = 24
LABEL = 2000
OPTION = 75
CHOICES = 100
LONGEST = 3000  # characters of a plain_text_input
META = 3000
PHOTOS = 10  # files of one file_input, at most
TYPES = ["png", "jpg", "jpeg", "webp", "bmp", "tif", "tiff"]
MASK_WORDS = "words"  # block of the mask's text, after its field's name: `mask.words`
FORM, WAIT = "ds:form", "ds:wait"  # callback ids

View = dict[str, Any]
Block = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Asked:
    """What a modal remembers about where it came from; at most 3000 characters of JSON."""

    command: str
    place: Place
    language: Language
    files: tuple[tuple[str, str], ...] = ()  # (id, name) of pictures chosen before the form was opened

    def to_text(self) -> str:
        p = self.place
        where = [p.channel, p.thread, p.guild, int(p.private)]
        files = list(self.files)
        while len(text := json.dumps([self.command, where, self.language, files])) > META and files:
            files.pop()
        return text

    @classmethod
    def from_text(cls, text: str) -> Asked:
        command, (channel, thread, guild, private), language, files = json.loads(text)
        place = Place("slack", channel, thread, guild, bool(private))
        return cls(command, place, language, tuple((one[0], one[1]) for one in files))


def waiting() -> View:
    """The light modal that is opened at once: the trigger lives three seconds, a form may take longer."""
    return {
        "type": "modal",
        "callback_id": WAIT,
        "title": _text("Defect Studio"),
        "blocks": [{"type": "section", "text": _text("One moment, please … 잠시만 기다려 주십시오 …")}],
    }


def form_view(
    form: type[Form], asked: Asked, *, given: Mapping[str, Any] | None = None, models: Sequence[str] = ()
) -> View:
    """The command's form in the person's language, with what they said already filled in."""
    language, given = asked.language, given or {}
    defaults = {
        f.name: None if f.default is dataclasses.MISSING else f.default for f in dataclasses.fields(form)
    }
    params = sorted(form.params().items(), key=lambda item: item[1].advanced)
    blocks: list[Block] = []
    if asked.files:
        names = ", ".join(name for _, name in asked.files)
        blocks.append({"type": "section", "text": _text(_GIVEN(names=names).of(language))})
    for name, p in params:
        if p.kind == "picture":  # an earlier "Use as input" may stand for it: only the desk knows
            p = dataclasses.replace(p, required=False, help=p.help + _OR_CHOSEN)
        blocks += _inputs(name, p, given.get(name, defaults[name]), language, models)
    return {
        "type": "modal",
        "callback_id": FORM,
        "title": _text(form.title.of(language)[:TITLE]),
        "submit": _text(_SUBMIT.of(language)),
        "close": _text(_CLOSE.of(language)),
        "private_metadata": asked.to_text(),
        "blocks": blocks,
    }


def _inputs(name: str, p: Param, value: Any, language: Language, models: Sequence[str]) -> list[Block]:
    """The block or blocks of one field."""
    if p.kind in ("picture", "archive"):  # a zip, or the photos themselves
        return [_input(name, p, _files(PHOTOS, ["zip"]), language)]
    if p.kind == "mask":
        words = dataclasses.replace(
            p, label=_MASK_WORDS(label=p.label), help=_MASK_HELP, kind="text", required=False
        )
        text = value if isinstance(value, str) else ""
        return [
            _input(name, p, _files(1), language),
            _input(f"{name}.{MASK_WORDS}", words, _line(words, text), language),
        ]
    if p.kind == "flag":
        return [_input(name, p, _checkbox(p, bool(value), language), language)]
    choices = p.choices if p.kind == "choice" else tuple(models) if p.kind == "model" else ()
    if choices and len(choices) <= CHOICES:
        return [_input(name, p, _select(choices, value), language)]
    if p.kind in ("int", "float"):
        return [_input(name, p, _number(p, value), language)]
    return [_input(name, p, _line(p, value), language)]


def _input(name: str, p: Param, element: Block, language: Language) -> Block:
    label = p.label.of(language)
    return {
        "type": "input",
        "block_id": name,
        "optional": not p.required,
        "label": _text((label[:1].upper() + label[1:])[:LABEL]),
        "hint": _text(p.help.of(language)[:LABEL]),
        "element": {"action_id": name, **element},
    }


def _files(most: int, more: Sequence[str] = ()) -> Block:
    return {"type": "file_input", "filetypes": [*TYPES, *more], "max_files": most}


def _line(p: Param, value: Any) -> Block:
    most = min(int(p.high or LONGEST), LONGEST)
    drawn: Block = {"type": "plain_text_input", "multiline": p.long, "max_length": most}
    return drawn | ({"initial_value": str(value)[:most]} if value not in (None, "") else {})


def _number(p: Param, value: Any) -> Block:
    """Slack refuses a form whose first value is out of its own bounds: the bound stands in for it."""
    shown = {"min_value": p.low, "max_value": p.high, "initial_value": _bounded(p, value)}
    drawn: Block = {"type": "number_input", "is_decimal_allowed": p.kind == "float"}
    return drawn | {key: _decimal(n) for key, n in shown.items() if n is not None}


def _decimal(number: float) -> str:
    """Without an exponent, which Slack does not read."""
    return str(int(number)) if float(number).is_integer() else f"{number:.9f}".rstrip("0")


def _bounded(p: Param, value: Any) -> float | None:
    try:
        number = float(value)
    except (TypeError, ValueError):
        return None
    if not math.isfinite(number):
        return None
    number = max(number, p.low) if p.low is not None else number
    number = min(number, p.high) if p.high is not None else number
    return number if p.kind == "float" else float(round(number))


def _select(choices: Sequence[str], value: Any) -> Block:
    drawn: Block = {"type": "static_select", "options": [_option(c) for c in choices]}
    return drawn | ({"initial_option": _option(value)} if value in choices else {})


def _checkbox(p: Param, value: bool, language: Language) -> Block:
    option = {"text": _text(p.label.of(language)[:OPTION]), "value": "yes"}
    return {"type": "checkboxes", "options": [option]} | ({"initial_options": [option]} if value else {})


def _option(choice: str) -> Block:
    return {"text": _text(choice[:OPTION]), "value": choice[:OPTION]}


def _text(text: str) -> Block:
    return {"type": "plain_text", "text": text}


def read_view(
    form: type[Form], view: Mapping[str, Any], file: Callable[[Mapping[str, Any]], Any]
) -> tuple[dict[str, Any], dict[str, str]]:
    """What was filled in, by field, and what is wrong with it, by block.

    The value of a field for pictures or an archive is a list of `file(…)`; the mask is one such file, or text.
    """
    language = Asked.from_text(view["private_metadata"]).language
    said: dict[str, Any] = {}
    wrong: dict[str, str] = {}
    for block, elements in view["state"]["values"].items():
        name = block.partition(".")[0]
        value = _said(next(iter(elements.values()), {}), file)
        if name not in form.params() or value is None or (name in said and block != name):
            continue
        p = form.params()[name]
        try:
            if isinstance(value, str):
                read_value(name, p, value)
            said[name] = value[0] if p.kind == "mask" and isinstance(value, list) else value
        except Refusal as no:
            wrong[block] = plain(no.words.of(language))
    return said, wrong


def _said(state: Mapping[str, Any], file: Callable[[Mapping[str, Any]], Any]) -> Any:
    """The value of one element: text, `yes`/`no` of a checkbox, or files; None where nothing was given."""
    kind = state.get("type")
    if kind == "file_input":
        return [file(one) for one in state.get("files") or ()] or None
    if kind == "checkboxes":
        return "yes" if state.get("selected_options") else "no"
    if kind == "static_select":
        return (state.get("selected_option") or {}).get("value")
    return state.get("value") or None


_SUBMIT = Words("Start", "시작")
_CLOSE = Words("Close", "닫기")
_GIVEN = Words("Photo: {names}", "사진: {names}")
_OR_CHOSEN = Words("(empty = the one of “Use as input”)", "(비우면 “입력으로 쓰기”로 고른 사진)")
_MASK_WORDS = Words("{label} in words", "{label} (글로)")
_MASK_HELP = Words(
    "Instead of a file: alpha, colour, auto, box=x,y,w,h",
    "파일 대신: alpha, colour, auto, box=x,y,w,h",
)
