"""How a picture was made: the line that makes it again, from a job or from the picture itself."""

from __future__ import annotations

import dataclasses
import json
import zlib
from collections.abc import Iterator, Mapping
from typing import Any

from bot.grammar import unparse
from bot.locale.markup import block, code, cut, harmless
from bot.talk import Message
from engines.recipe import COMMON, OURS
from engines.requests import MENU, Request
from engines.words import Refusal, Words, alike

SIGNATURE = b"\x89PNG\r\n\x1a\n"
MOST = 200_000  # bytes of one text; a recipe has a few thousand
TOLD = 1500  # characters of a recipe that are shown


def line(request: Request) -> tuple[str, dict[str, str]]:
    """The command line that says `request`, and which stored file goes by which name in it."""
    names: dict[str, str] = {}
    if request.items:  # in words only: the files may be hundreds
        fields: dict[str, str] = {p.kind: name for name, p in reversed(request.params().items())}
        unsaid: dict[str, Any] = {fields["mask"]: ""} if "mask" in fields else {}
        shown = dataclasses.replace(request, **unsaid)
        return unparse(shown, {getattr(request, fields["picture"]): "photos.zip"}), {}
    for field, p in request.params().items():
        if p.kind in ("picture", "mask") and (blob := getattr(request, field)):
            names.setdefault(blob, "photo.png" if p.kind == "picture" else "mask.png")
    return unparse(request, names), names


def described(request: Request, seconds: float | None, recipe: Mapping[str, Any] | None) -> Words:
    """The line in a code block, and where known what it made: size, model's fingerprint, time."""
    said, names = line(request)
    facts = [f"{request.name}"]
    if recipe:
        sides = [recipe.get("width"), recipe.get("height")]
        if all(isinstance(side, int) and side > 0 for side in sides):
            facts.append("{}×{}".format(*sides))
        if recipe.get("model"):
            facts.append(code(cut(str(recipe["model"]), 80)))
        if recipe.get("hash"):
            facts.append(code(str(recipe["hash"])[:10]))
    if seconds:
        facts.append(f"{seconds:.1f} s")
    text = f"{block(cut(said, TOLD))}\n{harmless(' · '.join(facts))}"
    words = alike(text)
    return words + _FILES(names=", ".join(f"`{name}`" for name in names.values())) if names else words


def recipe_message(data: bytes, language: str) -> Message:
    """What an uploaded picture tells about itself. Raises `Refusal` where it tells nothing."""
    texts = chunks(data)
    if OURS in texts:
        try:
            told = json.loads(texts[OURS])
            request = one_of(told)
        except (ValueError, KeyError, TypeError, AttributeError, OverflowError, RecursionError, Refusal):
            raise Refusal(_DAMAGED) from None
        facts = {"command": request.name, "line": line(request)[0]}
        return Message("said", described(request, None, told).of(language), facts=facts)
    if COMMON in texts:
        return Message("said", f"{_FOREIGN.of(language)}\n{block(cut(texts[COMMON], TOLD))}")
    raise Refusal(_NOTHING if data.startswith(SIGNATURE) else _NOT_PNG)


def one_of(recipe: Mapping[str, Any]) -> Request:
    """The request that makes this one picture: its own seed, count 1. Nothing in `recipe` is believed.

    Raises `KeyError`, `TypeError`, `ValueError`, `OverflowError` or `Refusal` for what is no recipe of ours.
    """
    form = {known.name: known for known in MENU}[recipe["command"]]
    plain = {
        name: value
        for name, value in dict(recipe["request"]).items()
        if name in form.params() and isinstance(value, str | int | float)
    }
    request, _ = form.fill(plain)
    changed = (
        {"seed": int(recipe["seed"]), "count": 1} if "seed" in recipe and "seed" in form.params() else {}
    )
    again, _ = form.fill({**plain, **changed})
    return dataclasses.replace(request, **{name: getattr(again, name) for name in changed})


def chunks(data: bytes) -> dict[str, str]:
    """The texts in a PNG by keyword, read without decoding the picture. Nothing for other files.

    https://www.w3.org/TR/png-3/#11textinfo
    """
    texts: dict[str, str] = {}
    for kind, body in _chunks(data):
        if kind not in (b"tEXt", b"zTXt", b"iTXt"):
            continue
        keyword, _, rest = body.partition(b"\0")
        if len(texts) < 20 and (text := _text(kind, rest)) is not None:
            texts.setdefault(keyword.decode("latin-1"), text)
    return texts


def _chunks(data: bytes) -> Iterator[tuple[bytes, bytes]]:
    at = len(SIGNATURE)
    while data.startswith(SIGNATURE) and at + 12 <= len(data):
        size = int.from_bytes(data[at : at + 4], "big")
        kind = data[at + 4 : at + 8]
        if at + 12 + size > len(data) or kind == b"IEND":
            return
        yield kind, data[at + 8 : at + 8 + size]
        at += 12 + size


def _text(kind: bytes, rest: bytes) -> str | None:
    """The text of a chunk; None where it is too long or broken."""
    if kind == b"tEXt":
        return rest[:MOST].decode("latin-1") if len(rest) <= MOST else None
    if kind == b"zTXt":
        found = _unpacked(rest[1:])
        return found.decode("latin-1") if found is not None else None
    packed, rest = rest[:1] == b"\1", rest[2:]
    _language, _, rest = rest.partition(b"\0")
    _translated, _, rest = rest.partition(b"\0")
    found = _unpacked(rest) if packed else rest if len(rest) <= MOST else None
    return found.decode("utf-8", "replace") if found is not None else None


def _unpacked(data: bytes) -> bytes | None:
    """At most `MOST` bytes: a small chunk may claim to hold gigabytes."""
    unpacker = zlib.decompressobj()
    try:
        found = unpacker.decompress(data, MOST)
    except zlib.error:
        return None
    return found if unpacker.eof else None


_FILES = Words(
    "\nThis needs the files {names} attached.",
    "\n파일 {names}을(를) 함께 첨부해야 합니다.",
)
_FOREIGN = Words("This picture says of itself:", "이 그림에 적힌 내용입니다:")
_NOTHING = Words(
    "This picture says nothing about how it was made. Only originals keep their recipe; screenshots and "
    "pictures saved anew lose it.",
    "이 그림에는 만든 방법이 적혀 있지 않습니다. 레시피는 원본에만 남고, 화면을 찍거나 다시 저장하면 사라집니다.",
)
_NOT_PNG = Words(
    "Recipes are kept in PNG files only, and this is none.",
    "레시피는 PNG 파일에만 남는데, 이 파일은 PNG가 아닙니다.",
)
_DAMAGED = Words(
    "This picture has a recipe, but it cannot be understood.",
    "이 그림에 레시피가 있지만 읽을 수 없습니다.",
)
