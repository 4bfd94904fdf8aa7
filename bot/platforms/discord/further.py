"""What has no option of its own: further pictures under `image2`, `image3` …, and options beyond Discord's 25 as text.

Pure functions of forms; `commands` lists them, `hearing` reads them.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Collection, Mapping
from typing import Any

from bot import grammar
from engines.forms import Form, Param
from engines.requests import Request
from engines.words import Refusal, Words

PICTURES = 10  # of one command at most, as everywhere in the studio
MORE = "more"  # no form has a field of this name

FURTHER_HELP = Words(
    "Another photo, or a mask named after its photo: a.png, a_mask.png",
    "사진 더 넣기. 마스크는 사진 이름을 따라: a.png, a_mask.png",
)
MORE_LABEL = Words("more", "더보기")
MORE_HELP = Words(
    "Further options as text, like {example}. /help {command} lists them",
    "그 밖의 옵션을 글로 입력, 예: {example}. 목록은 /help {command}",
)
TWICE = Words(
    "`{field}` is given twice: by itself and in `more`.",
    "`{field}` 값이 두 번 있습니다: 옵션과 더보기(`more`)에 하나씩 있습니다.",
)


def pictures(form: type[Form], room: int) -> dict[str, str]:
    """Names of options for further pictures → the field they are for, where `room` options are free.

    Only for a command that does the same with each picture. `/compare` has parts of its own.
    """
    if not issubclass(form, Request) or form.parts is not Request.parts:
        return {}
    field = next((name for name, p in form.params().items() if p.kind == "picture"), "")
    numbers = range(2, min(PICTURES, room + 1) + 1) if field else range(0)
    return {f"{field}{number}": field for number in numbers}


def example(form: type[Form], left: Collection[str]) -> str:
    """Two of the fields that are `left` for `more`, as they are said there."""
    params = form.params()
    numbers = [
        f for f in dataclasses.fields(form) if f.name in left and params[f.name].kind in ("int", "float")
    ]
    return " ".join(f"{f.name}:{_other(params[f.name], f.default)}" for f in numbers[:2])


def _other(p: Param, default: Any) -> Any:
    """A value that would change something, where that is easy to tell."""
    return f"{p.high:g}" if default == p.low and p.high is not None else default


def more_read(form: type[Form], text: str, given: Mapping[str, Any]) -> dict[str, str]:
    """What `more` says, field by field, in the words of the text grammar. Raises `Refusal`."""
    spoken = grammar.read(f"/{form.name} {text}")
    said = {**spoken.values, **{name: f"@{file}" for name, file in spoken.files.items()}}
    for name in said:
        if name in given:
            raise Refusal(TWICE(field=name))
    return said
