"""Forms as Discord commands: the JSON Discord is given, when to give it again, and the manifest."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterable, Sequence
from enum import IntEnum
from typing import Any

import discord

from bot.platforms.discord import further
from engines.forms import Form, Param
from engines.words import Words

CHOICES = 25
TEXT_MOST = 6000  # characters of a string option
OPTION_NAME = re.compile(r"[-_'\w]{1,32}")
AREA = "_area"  # a mask may be a picture or words: `mask` and `mask_area`

USE_AS_INPUT = Words("Use as input", "입력으로 쓰기")
SHOW_RECIPE = Words("Show recipe", "레시피 보기")
REMOVE_BACKGROUND = Words("Remove background", "배경 제거")
INTERROGATE = Words("Interrogate", "그림 설명하기")
MENUS = (USE_AS_INPUT, SHOW_RECIPE, REMOVE_BACKGROUND, INTERROGATE)
AREA_LABEL = Words("mask_area", "마스크영역")
AREA_HELP = Words(
    "Instead of a mask picture: auto, alpha, colour or box=x,y,w,h",
    "마스크 사진 대신: auto, alpha, colour 또는 box=x,y,w,h",
)
AREAS = ("auto", "alpha", "colour", "box=0,0,64,64")

# What the bot needs in a channel: reading the history is how it looks before it says something twice.
NEEDED = discord.Permissions(
    view_channel=True,
    send_messages=True,
    send_messages_in_threads=True,
    attach_files=True,
    read_message_history=True,
)
SCOPES = ("bot", "applications.commands")


class Option(IntEnum):
    """Discord's numbers for kinds of options."""

    TEXT = 3
    INT = 4
    FLAG = 5
    NUMBER = 10
    FILE = 11


KINDS = {
    "text": Option.TEXT,
    "choice": Option.TEXT,
    "model": Option.TEXT,
    "int": Option.INT,
    "float": Option.NUMBER,
    "flag": Option.FLAG,
    "picture": Option.FILE,
    "mask": Option.FILE,
    "archive": Option.FILE,
}


def commands(forms: Iterable[type[Form]]) -> list[dict[str, Any]]:
    """The whole command list for Discord's bulk overwrite: a slash command per form, then the message menus."""
    where = {
        "contexts": [0, 1],
        "integration_types": [0],
    }  # servers and direct messages; installed to servers
    slash = [{**slash_command(form), **where} for form in forms]
    menus = [{"type": 3, "name": menu.en, "name_localizations": {"ko": menu.ko}, **where} for menu in MENUS]
    return slash + menus


def slash_command(form: type[Form]) -> dict[str, Any]:
    """Discord's JSON for one form. Options beyond its 25 can be said in `more`, the rare ones first of all; where
    there is room, further pictures have options too."""
    ranked = [option for name, p in form.params().items() for option in _options(name, p)]
    ranked.sort(key=lambda pair: pair[0])
    options, names = [option for _, option in ranked], further_pictures(form)
    room = CHOICES - len(names)
    if len(options) > room:
        options = [*options[: room - 1], _more(form, [option["name"] for option in options[room - 1 :]])]
    options += [_further(name, form.params()[field]) for name, field in names.items()]
    return {
        "type": 1,
        "name": form.name,
        **_korean_name(form.names()[1]),
        **_described(form.about),
        "options": _distinct(options),
    }


def further_pictures(form: type[Form]) -> dict[str, str]:
    """Names of the options for further pictures → the field they are for. They come before what is rare."""
    known = form.params()
    own = {name: len(_options(name, p)) for name, p in known.items()}
    taken, rare = sum(own.values()), sum(own[name] for name, p in known.items() if p.rare)
    room = CHOICES - taken
    return further.pictures(form, room if room >= further.PICTURES - 1 else room + rare - 1)


def _further(name: str, p: Param) -> dict[str, Any]:
    number = name.lstrip("abcdefghijklmnopqrstuvwxyz_")
    shown = {**_korean_name(p.label.ko + number), **_described(further.FURTHER_HELP)}
    return {"type": int(Option.FILE), "name": name, **shown, "required": False}


def _more(form: type[Form], left: Sequence[str]) -> dict[str, Any]:
    """`left`: the fields it is for."""
    example = further.example(form, left)
    described = _described(further.MORE_HELP(command=form.name, example=example))
    shown = {**_korean_name(further.MORE_LABEL.ko), **described}
    return {
        "type": int(Option.TEXT), "name": further.MORE, **shown, "required": False, "max_length": TEXT_MOST,
    }  # fmt: skip


def _options(name: str, p: Param) -> list[tuple[int, dict[str, Any]]]:
    """One option, or two for a mask, each with its rank: required, pictures, plain, advanced, rare.

    A picture is never required here: the one kept by "Use as input" may stand in for it.
    """
    picture = p.kind in ("picture", "mask", "archive")
    required = p.required and not picture
    rank = 0 if required else 1 if picture else 4 if p.rare else 3 if p.advanced else 2
    option = {
        "type": int(KINDS[p.kind]),
        "name": name,
        **_korean_name(p.label.ko),
        **_described(p.help),
        "required": required,
        **_bounds(p),
    }
    if p.kind != "mask":
        return [(rank, option)]
    area = {
        "type": int(Option.TEXT),
        "name": name + AREA,
        **_korean_name(AREA_LABEL.ko),
        **_described(AREA_HELP),
        "required": False,
        "autocomplete": True,
        "max_length": 200,
    }
    return [(rank, option), (rank, area)]


def _bounds(p: Param) -> dict[str, Any]:
    if p.kind == "text":
        return {"max_length": min(int(p.high or 2000), TEXT_MOST)}
    if p.kind == "model" or (p.kind == "choice" and len(p.choices) > CHOICES):
        return {"autocomplete": True}
    if p.kind == "choice":
        return {"choices": [{"name": c, "value": c} for c in p.choices]}
    if p.kind in ("int", "float"):
        as_said = int if p.kind == "int" else float
        bounds = {"min_value": p.low, "max_value": p.high}
        return {name: as_said(value) for name, value in bounds.items() if value is not None}
    return {}


def _described(words: Words) -> dict[str, Any]:
    return {"description": words.en[:100], "description_localizations": {"ko": words.ko[:100]}}


def _korean_name(name: str) -> dict[str, Any]:
    name = name.replace(" ", "").lower()
    return {"name_localizations": {"ko": name}} if OPTION_NAME.fullmatch(name) else {}


def _distinct(options: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Two options may not share a Korean name: the later one goes without."""
    taken: set[str] = {option["name"] for option in options}
    for option in options:
        korean = option.get("name_localizations", {}).get("ko", "")
        if korean in taken and korean != option["name"]:
            del option["name_localizations"]
        taken.add(korean or option["name"])
    return options


def fingerprint(listed: Sequence[dict[str, Any]]) -> str:
    """Changes exactly when the commands do."""
    return hashlib.sha256(json.dumps(listed, sort_keys=True).encode()).hexdigest()


def invite(application: int | str) -> str:
    """The address that adds the bot to a server."""
    scopes = "+".join(SCOPES)
    return (
        "https://discord.com/oauth2/authorize"
        f"?client_id={application}&permissions={NEEDED.value}&scope={scopes}"
    )


def manifest(forms: Iterable[type[Form]], application: int | str = "YOUR_APPLICATION_ID") -> dict[str, Any]:
    """All an administrator has to know to connect the bot, as JSON."""
    return {
        "invite": invite(application),
        "scopes": list(SCOPES),
        "permissions": str(NEEDED.value),
        "permission_names": [name for name, granted in NEEDED if granted],
        "privileged_intents": [],
        "commands": commands(forms),
    }
