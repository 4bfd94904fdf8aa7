"""One line for each mistake in a configuration: the key, what is wrong with it, what is allowed."""

from __future__ import annotations

import difflib
import types
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any, Literal, Union, get_args, get_origin

from annotated_types import Ge, Le
from pydantic import BaseModel, SecretStr, ValidationError
from pydantic.fields import FieldInfo

from engines.words import Words, joined

NAME = "NAME"  # stands for a name that the owner chooses


def explained(error: ValidationError, config: type[BaseModel], path: Path | None) -> Words:
    """All mistakes in `error`, one line each."""
    where = path or "environment"
    lines = [_line(config, mistake, str(where)) for mistake in error.errors()]
    lines = list(dict.fromkeys(lines))
    return joined(lines, "\n")


def keys(model: type[BaseModel], prefix: str = "") -> Iterator[tuple[str, FieldInfo]]:
    """Every key that can be written, `section.key`, in order."""
    for name, info in model.model_fields.items():
        if section := section_of(info):
            yield from keys(section, f"{prefix}{name}.")
        elif section := named_section_of(info):
            yield from keys(section, f"{prefix}{name}.{NAME}.")
        else:
            yield prefix + name, info


def section_of(info: FieldInfo) -> type[BaseModel] | None:
    """The section a field stands for; None where it is a plain key."""
    kind = info.annotation
    return kind if isinstance(kind, type) and issubclass(kind, BaseModel) else None


def named_section_of(info: FieldInfo) -> type[BaseModel] | None:
    """The section that a field has many of, each with a name of its own: `[roles.NAME]`."""
    kind = get_args(info.annotation)[1] if get_origin(info.annotation) is dict else None
    return kind if isinstance(kind, type) and issubclass(kind, BaseModel) else None


def _line(config: type[BaseModel], mistake: Any, file: str) -> Words:
    names = [str(part) for part in mistake["loc"] if isinstance(part, str)]
    if len(names) > 1 and names[0] in config.model_fields and named_section_of(config.model_fields[names[0]]):
        names[1] = NAME
    key, known = ".".join(names), dict(keys(config))
    if mistake["type"] == "extra_forbidden":
        return _unknown(key, list(known), sections(config), file, isinstance(mistake["input"], dict))
    if key in known:
        return _WRONG(file=file, key=key, allowed=_allowed(known[key]))
    return _SECTION(file=file, key=key)


def sections(config: type[BaseModel]) -> list[str]:
    """The names of the file's sections."""
    return [name for name, i in config.model_fields.items() if section_of(i) or named_section_of(i)]


def _unknown(key: str, known: list[str], parts: list[str], file: str, is_section: bool) -> Words:
    last = key.rpartition(".")[2]
    same_section = [k for k in known if k.rpartition(".")[0] == key.rpartition(".")[0]]
    near = (
        difflib.get_close_matches(key, [*same_section, *parts], n=1, cutoff=0.6)
        or [k for k in known if k.rpartition(".")[2] == last]
        or difflib.get_close_matches(key, [*known, *parts], n=1, cutoff=0.5)
    )
    if near:
        nearest = f"[{near[0]}]" if near[0] in parts else near[0]
        return _UNKNOWN_NEAR(file=file, key=key, near=nearest)
    return _UNKNOWN(file=file, key=key, known=", ".join(parts if is_section else same_section))


def _allowed(info: FieldInfo) -> Words:
    """What may stand there, read from the field itself."""
    return _kind(info.annotation, [*info.metadata])


def _kind(kind: Any, limits: list[Any]) -> Words:
    if get_origin(kind) is Annotated:
        return _kind(get_args(kind)[0], [*get_args(kind)[1:], *limits])
    if get_origin(kind) is Literal:
        return _ONE_OF(choices=", ".join(f'"{choice}"' for choice in get_args(kind)))
    if get_origin(kind) in (Union, types.UnionType):
        return _kind(get_args(kind)[0], limits)
    if get_origin(kind) is tuple:
        return _LIST(of=_kind(get_args(kind)[0], []))
    for limit in limits:
        if examples := getattr(limit, "examples", None):
            return _LIKE(examples=", ".join(f'"{example}"' for example in examples))
    if kind in (int, float):
        low, high = _bounds(limits)
        return (_WHOLE if kind is int else _NUMBER)(low=low, high=high)
    if kind in (str, Path, SecretStr):
        return _TEXT
    return _TEXT if kind is not bool else _FLAG


def _bounds(limits: list[Any]) -> tuple[str, str]:
    low = next((f"{x.ge:.12g}" for x in limits if isinstance(x, Ge)), "-∞")
    high = next((f"{x.le:.12g}" for x in limits if isinstance(x, Le)), "∞")
    return low, high


_UNKNOWN_NEAR = Words(
    "{file}: unknown key `{key}`; did you mean `{near}`?",
    "{file}: `{key}`은(는) 없는 항목입니다. 혹시 `{near}`입니까?",
)
_UNKNOWN = Words(
    "{file}: unknown key `{key}`; there are: {known}.",
    "{file}: `{key}`은(는) 없는 항목입니다. 쓸 수 있는 항목: {known}.",
)
_WRONG = Words("{file}: `{key}` must be {allowed}.", "{file}: `{key}` 항목에 적을 수 있는 값: {allowed}.")
_SECTION = Words(
    "{file}: `{key}` must be a section, written [{key}].",
    "{file}: `{key}` 항목은 [{key}] 처럼 구역으로 적어야 합니다.",
)
_ONE_OF = Words("one of {choices}", "{choices} 중 하나")
_LIST = Words("a list, in [ ], each {of}", "[ ] 안의 목록(각각 {of})")
_LIKE = Words("text like {examples}", "{examples} 같은 글자")
_WHOLE = Words("a whole number from {low} to {high}", "{low}부터 {high}까지의 정수")
_NUMBER = Words("a number from {low} to {high}", "{low}부터 {high}까지의 숫자")
_TEXT = Words("text in quotes", "따옴표로 묶은 글자")
_FLAG = Words("true or false", "true 또는 false")
