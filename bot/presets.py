"""Presets: options said once and kept by a name. What is kept are words, checked again each time they are used."""

from __future__ import annotations

import difflib
import re
import unicodedata
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from bot.locale.markup import code, cut
from bot.tokens import Token, tokens
from engines.forms import Form, Param, read_value
from engines.requests import MENU, Request
from engines.words import Refusal, Words

MOST = 50  # presets of one person
LONGEST = 32  # characters of a name
OPTIONS = 30  # in one preset
CHOSEN = "preset"  # the fact that remembers which preset a person uses for everything
NONE = ("none", "없음", "-")
FIELD = "preset"  # of every request: the preset to use for it
_NAME = re.compile(r"[\w][\w .-]*")
_NOT_KEPT = ("picture", "mask", "archive")  # kinds: a file is chosen each time

Said = dict[str, str]  # field → value, as one would say it


@dataclass(frozen=True, slots=True)
class Told:
    """What someone wants to keep; `words` are those before the first option."""

    said: Said
    words: str = ""


def named(name: str) -> str:
    """The name as it is kept: one spelling for capital and small letters. Raises `Refusal`."""
    folded = unicodedata.normalize("NFC", " ".join(name.split())).casefold()
    if not folded:
        raise Refusal(_NO_NAME)
    if len(folded) > LONGEST or not _NAME.fullmatch(folded) or folded in NONE:
        raise Refusal(_BAD_NAME(name=code(cut(name, 60)), most=LONGEST))
    return folded


def read(text: str) -> Told:
    """`steps:40 sampler:"Euler a"` → field → value. Raises `Refusal` for an option that no command has."""
    said: Said = {}
    before: list[str] = []
    field = ""
    for token in tokens(text):
        found = _field(token, talking=bool(field)) if token.name else ""
        if found:
            field = found
            said[field] = token.text
        elif field:
            said[field] = f"{said[field]} {token.raw}".strip()
        else:
            before.append(token.raw)
    return Told(checked(said), " ".join(before))


def checked(said: Mapping[str, str]) -> Said:
    """The options that can be kept. Raises `Refusal` for a value that no command would take."""
    if len(said) > OPTIONS:
        raise Refusal(_TOO_MANY(most=OPTIONS))
    for name, value in said.items():
        params = _params()[name]
        if all(p.kind in _NOT_KEPT for p in params) or value.startswith("@"):
            raise Refusal(_NO_FILES(field=name))
        if not value:
            raise Refusal(_EMPTY(field=name))
        _check(name, params, value)
    return dict(said)


def from_request(request: Request) -> Said:
    """What is particular about a request: all that is not as by default, without pictures, seed and prompt."""
    usual = {name: p for name, p in request.params().items() if p.kind not in _NOT_KEPT}
    said: Said = {}
    for name in usual:
        value, default = getattr(request, name), _default(type(request), name)
        if name not in ("seed", "prompt", "name", FIELD) and value != default and value not in (None, ""):
            said[name] = ("yes" if value else "no") if isinstance(value, bool) else str(value)
    return {name: value for name, value in said.items() if name in _params()}


def applied(
    form: type[Form], values: Mapping[str, Any], name: str, said: Said, *, complete: bool = False
) -> tuple[dict[str, Any], Words]:
    """`values` with what the preset has for fields that were not given, and the sentence that says so.

    Where the values are `complete`, what stands at its default counts as not given.
    """
    known = form.params()
    given = {field for field, value in values.items() if value not in (None, "")}
    if complete:
        given = {field for field in given if field not in known or not _usual(form, field, values[field])}
    used = {field: value for field, value in said.items() if field in known and field not in given}
    if not used:
        return dict(values), _UNUSED(name=code(name), command=form.name)
    return {**values, **used}, _USED(name=code(name), options=printed(used))


def printed(said: Mapping[str, str]) -> str:
    """As it could be said again."""
    return " ".join(
        code(f"{name}:{value if _PLAIN.fullmatch(value) else _quoted(cut(value, 100))}")
        for name, value in said.items()
    )


def _usual(form: type[Form], name: str, value: Any) -> bool:
    try:
        return bool(read_value(name, form.params()[name], value)[0] == _default(form, name))
    except Refusal:
        return False


def _quoted(value: str) -> str:
    return '"' + value.replace('"', '\\"') + '"'


def _params() -> dict[str, list[Param]]:
    """Every field of every request → how each command sees it."""
    found: dict[str, list[Param]] = {}
    for form in MENU:
        for name, p in form.params().items():
            if name != FIELD:
                found.setdefault(name, []).append(p)
    return found


def _field(token: Token, *, talking: bool) -> str:
    """The field that a name means in any command; "" for a colon inside a text. Raises `Refusal`."""
    key = unicodedata.normalize("NFC", token.name).lower().replace("-", "_")
    spellings: dict[str, str] = {}
    for name, params in _params().items():
        for p in params:
            for spelling in (name, p.label.ko, *p.aliases):
                spellings.setdefault(spelling, name)
    if key in spellings:
        return spellings[key]
    near = difflib.get_close_matches(key, spellings, n=1, cutoff=0.75)
    if talking and not near:
        return ""
    hint = _NEAREST(near=spellings[near[0]]) if near else _HELP
    raise Refusal(_UNKNOWN(said=code(cut(token.name, 40))) + hint)


def _check(name: str, params: list[Param], value: str) -> None:
    """At least one of the commands must take it."""
    refusal: Refusal | None = None
    for p in params:
        try:
            read_value(name, p, value)
            return
        except Refusal as no:
            refusal = refusal or no
    if refusal is not None:
        raise refusal


def _default(form: type[Form], name: str) -> Any:
    return form.__dataclass_fields__[name].default


_PLAIN = re.compile(r"[\w.,+%/=-]+")
_NO_NAME = Words(
    "Which preset? Say its name, for instance `/preset save name:fine steps:40`.",
    "어느 프리셋입니까? `/preset save name:fine steps:40` 처럼 이름을 적어 주십시오.",
)
_BAD_NAME = Words(
    "{name} cannot be a preset's name. Use up to {most} letters, digits, spaces, `-`, `.` or `_`, and not `none`.",
    "{name}은(는) 프리셋 이름으로 쓸 수 없습니다. 글자, 숫자, 띄어쓰기, `-`, `.`, `_` 를 {most}자까지 쓸 수 있고 `none` 은 쓸 수 없습니다.",
)
_TOO_MANY = Words("A preset has at most {most} options.", "프리셋에는 옵션을 {most}개까지 넣을 수 있습니다.")
_NO_FILES = Words(
    "`{field}` is a file; a preset keeps words and numbers only. Attach the file when you use the preset.",
    "`{field}` 항목은 파일입니다. 프리셋에는 글과 숫자만 넣을 수 있으니 파일은 쓰실 때 첨부해 주십시오.",
)
_EMPTY = Words("`{field}` has no value.", "`{field}` 값이 없습니다.")
_UNKNOWN = Words("No command has an option {said}.", "{said} 옵션이 있는 명령이 없습니다.")
_NEAREST = Words("Did you mean `{near}`?", "혹시 `{near}`입니까?")
_HELP = Words("`/help txt2img` shows what there is.", "`/help txt2img` 로 옵션을 볼 수 있습니다.")
_USED = Words("From the preset {name}: {options}.", "{name} 프리셋에서 가져온 값: {options}.")
_UNUSED = Words(
    "The preset {name} has nothing to add to this /{command}.",
    "{name} 프리셋에는 이 /{command}에 더할 값이 없습니다.",
)
