"""Text → what was said, and back: `/inpaint image:@photo.png mask:@mask.png prompt:"a scratch" seed:7`.

`name:value` or `name=value`, names (the command's too) in English or Korean; `@file` is an attachment; values with
spaces in double quotes, straight or typographic; words without a name are the prompt. Pure, and never raises but
`Refusal`.
"""

from __future__ import annotations

import contextlib
import dataclasses
import difflib
import re
import unicodedata
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from bot.menu import form_named
from bot.tokens import Token, tokens
from engines.forms import Form, Param
from engines.words import Refusal, Words

FILES = ("picture", "mask", "archive")  # kinds of fields that take an attachment
MANY = ("picture", "mask", "archive")  # of them, those that may be given several times: many pictures at once
FOLDER = "folder:"  # an archive may be a folder of the server instead


@dataclass(frozen=True, slots=True)
class Spoken:
    """A command as it was said: nothing is checked yet but the names."""

    form: type[Form]
    values: Mapping[str, str]  # field → text
    files: Mapping[str, str]  # field → the attachment's name, without its @
    more: Mapping[str, tuple[str, ...]] = field(default_factory=dict)  # further ones of the same field
    loose: tuple[str, ...] = ()  # attachments said without a field, where they are more than there are fields


def read(text: str) -> Spoken:
    """What a line of text asks for. No words at all ask for help. Raises `Refusal`."""
    name, rest = _command(text)
    if not name:
        return Spoken(form_named("help"), {}, {})
    form = form_named(name)
    reading = _Reading(form)
    for token in tokens(rest):
        reading.take(token)
    return reading.spoken()


def command_of(text: str) -> str:
    """The command a text begins with, whether or not the rest is understood; "" where it is none."""
    name, _ = _command(text)
    with contextlib.suppress(Refusal):
        return form_named(name).name
    return ""


def references(text: str) -> tuple[str, ...]:
    """Names of the attachments a text speaks of, each once; none where the text is not understood."""
    try:
        said = read(text)
    except Refusal:
        return ()
    more = (name for names in said.more.values() for name in names)
    return tuple(dict.fromkeys([*said.files.values(), *more, *said.loose]))


def unparse(form: Form, names: Mapping[str, str] | None = None) -> str:
    """The line that says this form; fields at their defaults are left out. `read` gives the same back.

    `names` maps the stored names of pictures to those a person knows.
    """
    said = [f"/{form.name}"]
    defaults = {f.name: f.default for f in dataclasses.fields(form)}
    for key, p in form.params().items():
        value = getattr(form, key)
        if value is not None and value != defaults[key]:
            said.append(f"{key}:{_printed(p, value, names or {})}")
    return " ".join(said)


def _command(text: str) -> tuple[str, str]:
    """The command's name without slash, and the rest; `studio` in front is Slack's one slash command."""
    first, rest = _first(text)
    name = first.lstrip("/").lower()
    if name == "studio":
        first, rest = _first(rest)
        name = first.lstrip("/").lower()
    return (name or ("/" if first else "")), rest


def _first(text: str) -> tuple[str, str]:
    parts = text.split(maxsplit=1)
    return (parts[0], parts[1] if len(parts) > 1 else "") if parts else ("", "")


@dataclass(slots=True)
class _Reading:
    """A command while its words come in. Mutable."""

    form: type[Form]
    values: dict[str, list[Token]] = field(default_factory=dict)
    files: dict[str, str] = field(default_factory=dict)
    more: dict[str, list[str]] = field(default_factory=dict)
    loose: list[str] = field(default_factory=list)  # attachments without a field
    named: set[str] = field(default_factory=set)  # fields given by name
    awaiting: str = ""  # `seed:` was said, the value comes next
    open: str = ""  # the text field, given by name without quotes, that plain words go on with

    def take(self, token: Token) -> None:
        if self.form.rest and self._is_rest(token):
            self.values.setdefault(self.form.rest, []).append(Token(token.raw, token.raw))
            self.awaiting, self.open = "", "" if token.quoted else self.form.rest
            return
        name = self._field(token)
        if name:
            self._name(name, token)
        elif self.awaiting:
            name, self.awaiting = self.awaiting, ""
            self._give(name, Token(token.raw, token.raw) if token.name else token)
        else:
            self._word(token)

    def _is_rest(self, token: Token) -> bool:
        """Whether it belongs to the form's field for the rest: a foreign name, or a word too many."""
        if token.name:
            return _folded(token.name) not in _names(self.form)
        return not (self.awaiting or self.open) and not self._goes_on(_main(self.form))

    def spoken(self) -> Spoken:
        given = self.files.keys() | self.values.keys()
        free = [name for name, p in self.form.params().items() if p.kind in FILES and name not in given]
        fits = len(self.loose) <= len(free)
        placed = self.files | (dict(zip(free, self.loose, strict=False)) if fits else {})
        files = {name: placed[name] for name in self.form.params() if name in placed}
        values = {name: self._text(name) for name in self.values}
        more = {name: tuple(said) for name, said in self.more.items()}
        return Spoken(self.form, values, files, more, () if fits else tuple(self.loose))

    def _text(self, name: str) -> str:
        """What the words of one field come to. One quoted text is itself; quotes in a sentence stay in it."""
        said = self.values[name]
        if self.form.params()[name].kind == "mask":
            return ";".join(token.text for token in said)
        if len(said) == 1:
            return said[0].text
        return " ".join(token.text if token.name else token.raw for token in said)

    def _field(self, token: Token) -> str:
        """The field a token names; "" for a plain word. Raises `Refusal` for what looks like a wrong name."""
        if not token.name:
            return ""
        names = _names(self.form)
        key = _folded(token.name)
        if key in names:
            return names[key]
        talking = bool(self.open or self.awaiting or self._main_flows)
        near = difflib.get_close_matches(key, names, n=1, cutoff=0.75)
        if talking and not (near and token.text):
            return ""
        return self.form.field_named(token.name)

    @property
    def _main_flows(self) -> bool:
        """Whether a plain word would be part of the prompt: it is text and was neither named nor quoted."""
        main = _main(self.form)
        said = self.values.get(main, [])
        text = bool(main) and self.form.params()[main].kind == "text"
        return text and main not in self.named and not (len(said) == 1 and said[0].quoted)

    def _name(self, name: str, token: Token) -> None:
        if name in self.named and self.form.params()[name].kind not in MANY:
            raise Refusal(_TWICE(field=name))
        self.named.add(name)
        self.awaiting = self.open = ""
        if not token.text and not token.quoted:
            self.awaiting = name
            return
        self._give(name, token)

    def _give(self, name: str, token: Token) -> None:
        """A value for a named field."""
        kind = self.form.params()[name].kind
        file = kind == "picture" or (kind == "archive" and not token.text.startswith(FOLDER))
        if kind in FILES and (token.text.startswith("@") or file):
            self._attach(name, token.text)
            return
        if name == _main(self.form) and self.values.get(name):  # plain words stood there before
            raise Refusal(_TWICE(field=name))
        self.values.setdefault(name, []).append(_tidy(token) if kind in ("int", "float") else token)
        if kind == "mask" and token.text.endswith((";", ",")) and not token.quoted:
            self.awaiting = name  # `mask:box=1,2,3,4; 5,6,7,8`
        self.open = name if kind == "text" and not token.quoted else ""

    def _word(self, token: Token) -> None:
        """A word without a name: a file, more of an open text, or the prompt."""
        if token.name:  # a colon inside a sentence
            token = Token(token.raw, token.raw)
        kinds = [p.kind for p in self.form.params().values() if p.kind in FILES]
        if kinds and token.text.startswith("@") and len(token.text) > 1:
            if not {"picture", "archive"}.intersection(kinds) and len(self.files) + len(self.loose) >= len(
                kinds
            ):
                raise Refusal(_TOO_MANY(file=token.text[:60], command=self.form.name))
            self.loose.append(token.text.removeprefix("@"))
            return
        name, main = self.open, _main(self.form)
        if not name and (not main or main in self.named or not self._goes_on(main)):
            raise Refusal(_STRAY(word=token.raw[:40], command=self.form.name))
        name = name or main
        number = self.form.params()[name].kind in ("int", "float")
        self.values.setdefault(name, []).append(_tidy(token) if number else token)

    def _goes_on(self, main: str) -> bool:
        return self.form.params()[main].kind == "text" or main not in self.values

    def _attach(self, name: str, said: str) -> None:
        said = said.removeprefix("@")
        if name not in self.files:
            self.files[name] = said
            return
        if self.form.params()[name].kind not in MANY:
            raise Refusal(_TWICE(field=name))
        self.more.setdefault(name, []).append(said)


def _main(form: type[Form]) -> str:
    """The field that words without a name fill: the first required text, else the first that is no file."""
    params = {name: p for name, p in form.params().items() if p.kind not in FILES}
    required = (name for name, p in params.items() if p.required and p.kind == "text")
    return next(required, next(iter(params), ""))


def _names(form: type[Form]) -> Mapping[str, str]:
    """Every spelling of a field's name → the field."""
    if form not in _spelt:
        known = form.params().items()
        _spelt[form] = {_folded(said): name for name, p in known for said in (name, p.label.ko, *p.aliases)}
    return _spelt[form]


_spelt: dict[type[Form], Mapping[str, str]] = {}


def _folded(name: str) -> str:
    """macOS sends Hangul in parts; option names are typed in any case, with - or _."""
    return unicodedata.normalize("NFC", name).lower().replace("-", "_")


def _tidy(token: Token) -> Token:
    """A number as it is said in a chat: `#42`, `7,`."""
    return dataclasses.replace(token, text=token.text.strip("#,;"))


def _printed(p: Param, value: Any, names: Mapping[str, str]) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    known = p.kind == "mask" and (value in names or _BLOB.fullmatch(value))
    if known or p.kind == "picture" or (p.kind == "archive" and not value.startswith(FOLDER)):
        return "@" + _quote(names.get(value, value))
    if isinstance(value, int | float):
        return repr(value)
    return _quote(str(value), always=p.kind == "text")


def _quote(text: str, always: bool = False) -> str:
    if not always and _PLAIN.fullmatch(text):
        return text
    escaped = text.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")
    return f'"{escaped}"'


_BLOB = re.compile(r"[0-9a-f]{64}")
_PLAIN = re.compile(r"[\w.,+%/=][\w.,+%/=:;-]*")
_TWICE = Words("`{field}` is given twice.", "`{field}` 값이 두 번 있습니다.")
_STRAY = Words(
    'I do not know what “{word}” belongs to in /{command}. Put values with spaces in "quotes".',
    '/{command}에서 “{word}”이(가) 어느 옵션의 값인지 알 수 없습니다. 띄어쓰기가 있는 값은 "따옴표"로 묶어 주십시오.',
)
_TOO_MANY = Words(
    "/{command} has no place for one more file, {file}.",
    "/{command} 명령에는 파일 {file}을(를) 더 넣을 곳이 없습니다.",
)
