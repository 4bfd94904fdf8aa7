"""A form is a frozen dataclass a person can fill in; its fields are the whole definition of a command.

From one form come Discord's command JSON, Slack's modal, the text grammar, `/help` and the README's table.
"""

from __future__ import annotations

import dataclasses
import difflib
import re
from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any, ClassVar, Literal, Self

from engines.words import Refusal, Words

ENDLESS = 2**53 - 1  # the highest whole number that a chat's JSON can carry

Kind = Literal["text", "int", "float", "choice", "flag", "picture", "mask", "archive", "model"]


@dataclass(frozen=True, slots=True)
class Param:
    """How one field looks to a person."""

    kind: Kind
    help: Words  # ≤ 100 characters each (Discord's limit)
    label: Words  # a short name; the Korean one becomes Discord's localised option name
    required: bool = False
    low: float | None = None
    high: float | None = None
    step: int | None = None  # whole numbers are rounded to a multiple of it
    choices: tuple[str, ...] = ()
    aliases: tuple[str, ...] = ()
    long: bool = False  # text that deserves several lines
    advanced: bool = False  # shown last, and left out of short forms
    rare: bool = False  # the first to be said otherwise where a platform has too few places for options

    @property
    def endless(self) -> bool:
        """Whether a number may be as high as one likes."""
        return self.high is not None and self.high >= ENDLESS


def param(kind: Kind, help: Words, label: Words, default: Any = dataclasses.MISSING, **more: Any) -> Any:
    """A dataclass field that a person can fill in; without a default it is required."""
    required = default is dataclasses.MISSING
    shown = Param(kind, help, label, required=required, **more)
    if required:
        return dataclasses.field(metadata={"param": shown})
    return dataclasses.field(default=default, metadata={"param": shown})


@dataclass(frozen=True, kw_only=True)
class Form:
    """A command a person can give. Subclasses add fields made by `param`."""

    name: ClassVar[str]  # what is typed after the slash; ASCII, lower case
    about: ClassVar[Words]  # one line, ≤ 100 characters each
    title: ClassVar[Words]  # ≤ 24 characters (Slack's modal title)
    rest: ClassVar[str] = ""  # the text field that in words takes whatever no other field is named for

    @classmethod
    def names(cls) -> tuple[str, str]:
        """What is typed after the slash: in English, and in Korean as one word."""
        return cls.name, cls.title.ko.replace(" ", "").lower()

    @classmethod
    def params(cls) -> dict[str, Param]:
        """Field name → how it looks, in the order written."""
        if cls not in _params:
            _params[cls] = {f.name: f.metadata["param"] for f in fields(cls) if "param" in f.metadata}
        return dict(_params[cls])

    @classmethod
    def fill(cls, values: Mapping[str, Any]) -> tuple[Self, tuple[Words, ...]]:
        """The form filled in from what a person said, and sentences about what had to be changed.

        `values` maps field names or their aliases to text, or to values of the right type.
        Raises `Refusal` for an unknown name, a missing field or a value that cannot be understood.
        A number out of bounds gets the bound, and a sentence says so.
        """
        known, notes = cls.params(), []
        filled: dict[str, Any] = {}
        for said, value in values.items():
            name = cls.field_named(said)
            if value is None or value == "":
                continue
            filled[name], note = read_value(name, known[name], value)
            notes += [note] if note else []
        missing = [name for name, p in known.items() if p.required and name not in filled]
        if missing:
            raise Refusal(_MISSING(command=cls.name, field=missing[0], help=known[missing[0]].help))
        return cls(**filled), tuple(notes)

    @classmethod
    def field_named(cls, said: str) -> str:
        """The field a person means by `said`; `Refusal` with the nearest known name otherwise."""
        names = {alias: name for name, p in cls.params().items() for alias in (name, p.label.ko, *p.aliases)}
        key = said.strip().lower().replace("-", "_")
        if key in names:
            return names[key]
        near = difflib.get_close_matches(key, names, n=1, cutoff=0.5)
        hint = _NEAREST(near=names[near[0]]) if near else _FIELDS(fields=", ".join(cls.params()) or "–")
        raise Refusal(_UNKNOWN(command=cls.name, said=said[:40]) + hint)

    def to_json(self) -> dict[str, Any]:
        """All fields as JSON values, to be stored and read back by `from_json`."""
        return dataclasses.asdict(self)

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Self:
        """The stored form back; fields it does not know (of a later release) are left out."""
        known = {field.name for field in dataclasses.fields(cls)}
        return cls(**{k: tuple(v) if isinstance(v, list) else v for k, v in data.items() if k in known})


def read_value(name: str, p: Param, value: Any) -> tuple[Any, Words | None]:
    """One value as the field wants it, and a sentence if it had to be changed. Raises `Refusal`."""
    if p.kind in ("int", "float"):
        return _read_number(name, p, value)
    if p.kind == "flag":
        return _read_flag(name, value), None
    if p.kind == "choice":
        return _read_choice(name, p, str(value)), None
    text = str(value).strip()
    limit = int(p.high or 2000)
    if len(text) > limit:
        return text[:limit].rstrip(), _CUT(field=name, limit=limit)
    return text, None


def _read_number(name: str, p: Param, value: Any) -> tuple[int | float, Words | None]:
    low, high = p.low if p.low is not None else float("-inf"), p.high if p.high is not None else float("inf")
    allowed = (_UPWARDS if p.endless else _BETWEEN)(low=_short(low), high=_short(high))
    try:
        number = float(value) if isinstance(value, int | float) else _number(str(value), p.kind)
        if number != number:
            raise ValueError("nan")
    except (ValueError, OverflowError):
        raise Refusal(_NOT_A_NUMBER(field=name, said=str(value)[:40], allowed=allowed)) from None
    kept: float = min(max(number, low), high)
    if p.kind == "float":
        kept = float(kept)
    else:
        kept = int(kept) if p.step is None else round(kept / p.step) * p.step
    if kept == number:
        return kept, None
    return kept, _BOUND(field=name, said=str(value)[:40], kept=_short(kept), allowed=allowed)


def _number(said: str, kind: Kind) -> float:
    """As people write them: `7,5` and `7.5`; `1,000` is a thousand where only whole numbers can be meant."""
    grouped = kind == "int" and re.fullmatch(r"[+-]?\d{1,3}(,\d{3})+", said.strip())
    return float(said.replace(",", "" if grouped else "."))


_params: dict[type[Form], dict[str, Param]] = {}  # looked up for every job: a form does not change


def _short(number: float) -> str:
    return str(int(number)) if float(number).is_integer() else f"{number:g}"


_YES = {"true", "yes", "on", "1", "y", "네", "예", "켜기"}
_NO = {"false", "no", "off", "0", "n", "아니오", "아니요", "끄기"}


def _read_flag(name: str, value: Any) -> bool:
    said = str(value).strip().lower()
    if said in _YES | _NO:
        return said in _YES
    raise Refusal(_NOT_A_FLAG(field=name, said=said[:40]))


def _read_choice(name: str, p: Param, value: str) -> str:
    by_folded = {_folded(choice): choice for choice in p.choices}
    for choice, ways in (("yes", _YES), ("no", _NO)):
        if choice in p.choices:
            by_folded |= dict.fromkeys(ways, choice)
    if (said := _folded(value)) in by_folded:
        return by_folded[said]
    raise Refusal(_NOT_A_CHOICE(field=name, said=value[:40], choices=", ".join(p.choices)))


def _folded(choice: str) -> str:
    """`euler_a`, `Euler-A` and `Euler a` are one choice."""
    return re.sub(r"[\s_-]+", "", choice).casefold()


_MISSING = Words(
    "/{command} needs `{field}`: {help}",
    "/{command}에는 `{field}` 항목이 필요합니다: {help}",
)
_UNKNOWN = Words("/{command} has no option `{said}`.", "/{command}에는 `{said}` 옵션이 없습니다.")
_NEAREST = Words("Did you mean `{near}`?", "혹시 `{near}`입니까?")
_FIELDS = Words("It has: {fields}.", "쓸 수 있는 옵션: {fields}.")
_CUT = Words(
    "`{field}` was cut to its first {limit} characters.", "`{field}` 값을 앞 {limit}자까지만 사용했습니다."
)
_NOT_A_NUMBER = Words(
    "`{field}` must be a number from {allowed}, not “{said}”.",
    "`{field}` 값은 {allowed}의 숫자여야 합니다 (입력: “{said}”).",
)
_BOUND = Words(
    "`{field}` {said} was changed to {kept} (allowed: {allowed}).",
    "`{field}` 값 {said}을(를) {kept}(으)로 바꾸었습니다 (허용 범위: {allowed}).",
)
_BETWEEN = Words("{low} to {high}", "{low}~{high}")
_UPWARDS = Words("{low} upwards", "{low} 이상")
_NOT_A_FLAG = Words(
    "`{field}` must be yes or no, not “{said}”.", "`{field}` 값은 예 또는 아니요여야 합니다 (입력: “{said}”)."
)
_NOT_A_CHOICE = Words(
    "`{field}` cannot be “{said}”. Choose one of: {choices}.",
    "`{field}` 값으로 “{said}”은(는) 쓸 수 없습니다. 다음 중에서 골라 주십시오: {choices}.",
)
