"""The list of models, and what is told of one: pure words."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

from bot.locale.markup import code, cut, harmless
from bot.locale.numbers import size
from bot.models.shelf import Shelf
from bot.talk import Message
from engines.models import catalogue, trained
from engines.models.catalogue import DEFAULTS, Model
from engines.words import Language, Words, joined
from storage.models import EVERYBODY, Owned

PAGE = 15

TRAINED, EMBEDDED, HUB, LOCAL = "trained", "embedded", "hub", "local"
ORDER = (TRAINED, LOCAL, EMBEDDED, HUB)
SHOWN = (  # of a training
    "mode", "method", "rank", "text_encoder", "steps", "learning_rate", "resolution", "batch", "seed",
)  # fmt: skip


async def listing(shelf: Shelf, language: Language, words: str, page: int) -> Message:
    """One page of the models with all these words in what is told of them."""
    models, rows = await shelf.models(), await shelf.owned()
    cards = await asyncio.to_thread(lambda: {model.name: card_of(model) for model in models})
    said = words.casefold().split()
    found = [m for m in models if all(w in _haystack(m, rows.get(m.name), cards[m.name]) for w in said)]
    found.sort(
        key=lambda m: ORDER.index(origin(m, rows.get(m.name)))
    )  # one's own first, as they stood before
    shown = found[(page - 1) * PAGE : page * PAGE]
    if not shown:
        no = (
            _NOT_FOUND(words=cut(words, 60))
            if words and not found
            else _NO_PAGE(page=page)
            if found
            else _NONE
        )
        return Message("said", no.of(language), facts={"models": []})
    usual = {**DEFAULTS, **{k: v for k, v in shelf.tools.settings.models.items() if v}}
    lines = [_line(m, rows.get(m.name), [c for c, name in usual.items() if name == m.name]) for m in shown]
    notes = dict.fromkeys(_NOTE(licence=m.licence, note=m.licence_note) for m in shown if m.licence_note)
    more = [_NEXT(page=page + 1)] if len(found) > page * PAGE else []
    facts = [_facts(m, rows.get(m.name)) for m in shown]
    return Message("said", joined([*lines, *notes, *more, _HOW], "\n").of(language), facts={"models": facts})


def card_of(model: Model) -> dict[str, Any]:
    """What the model's folder says of it; nothing where it is none of ours, or has just gone."""
    if model.path is None:
        return {}
    try:
        return trained.card(model.path)
    except (OSError, ValueError):
        return {}


def concepts(card: Mapping[str, Any]) -> list[dict[str, Any]]:
    """The concepts a training taught."""
    told = card.get("concepts")
    return [one for one in told if isinstance(one, dict)] if isinstance(told, list) else []


def origin(model: Model, row: Owned | None) -> str:
    if row is not None:
        return TRAINED
    if model.built_in or any(own.name == model.name for own in catalogue.own()):
        return EMBEDDED
    return HUB if model.places or not model.here else LOCAL


def details(model: Model, row: Owned | None, base: Model | None, language: Language) -> Words:
    """Everything there is to say about one model."""
    card = card_of(model)
    lines = [_HEAD(name=model.name, origin=_ORIGINS[origin(model, row)], kinds=", ".join(model.kinds) or "–")]
    if model.base:
        lines.append((_ON if model.lora else _FROM)(base=model.base))
    licence = model.licence or (base.licence if base else "")
    lines.append(_SIZE(size=size(model.size) if model.size else "?", licence=licence or _UNSAID))
    if model.licence_note:
        lines.append(model.licence_note)
    elif base is not None and base.licence:
        lines.append(_BASE_LICENCE(base=base.name, licence=base.licence, note=base.licence_note or ""))
    if row is not None:
        when = datetime.fromtimestamp(row.created).strftime("%Y-%m-%d")
        lines.append(_TRAINER(person=harmless(row.person or row.owner), when=when, job=row.job))
        lines.append(_shared(row))
    told = concepts(card)
    if told:
        lines.append(_CONCEPTS(n=len(told)))
        lines += [
            _CONCEPT(name=code(_text(c, "name")), prompt=harmless(_text(c, "instance_prompt")))
            for c in told[:10]
        ]
    if made := _parameters(card):
        lines.append(_PARAMETERS(told=harmless(made)))
    if model.formerly:
        lines.append(_FORMERLY(names=", ".join(code(name) for name in model.formerly[:5])))
    return joined(lines, "\n")


def _parameters(card: Mapping[str, Any]) -> str:
    """As it went: what was left to be chosen is told as it was chosen."""
    told = card.get("parameters")
    known: dict[str, Any] = dict(told) if isinstance(told, dict) else {}
    if known:
        known |= {key: card[key] for key in ("steps", "learning_rate", "resolution") if card.get(key)}
        if isinstance(learnt := card.get("text_encoder", known.get("text_encoder")), bool):
            known["text_encoder"] = "yes" if learnt else "no"
        if known.get("method") == "full":
            known.pop("rank", None)
    return ", ".join(f"{key} {cut(str(known[key]), 40)}" for key in SHOWN if known.get(key) not in (None, ""))


def _text(told: Mapping[str, Any], key: str) -> str:
    return cut(str(told.get(key) or "–"), 120)


def _shared(row: Owned) -> Words:
    if EVERYBODY in row.shared:
        return _WITH_ALL
    return _WITH_ROOMS(n=len(row.shared)) if row.shared else _WITH_NOBODY


def _haystack(model: Model, row: Owned | None, card: Mapping[str, Any]) -> str:
    where = origin(model, row)
    named = [_text(c, key) for c in concepts(card) for key in ("name", "instance_prompt")]
    own = [row.person, row.owner] if row else []
    kind = ["lora"] if model.lora else []
    whole = [
        model.name,
        *model.kinds,
        *kind,
        where,
        _ORIGINS[where].ko,
        model.licence,
        model.base,
        *own,
        *named,
    ]
    return "\n".join(whole).casefold()


def _line(model: Model, row: Owned | None, default_for: Sequence[str]) -> Words:
    licence = f" · {model.licence}" if model.licence else ""
    return _LINE(
        name=model.name,
        kinds=", ".join(model.kinds) or "–",
        lora=_LORA(base=model.base or "?") if model.lora else "",
        licence=licence,
        size=f" · {size(model.size)}" if model.here and model.size else "",
        owner=_BY(person=harmless(row.person or row.owner)) if row else "",
        default=_DEFAULT(commands=", ".join(f"/{c}" for c in default_for)) if default_for else "",
        away="" if model.here or model.built_in else _AWAY(size=size(model.size)),
    )


def _facts(model: Model, row: Owned | None) -> dict[str, Any]:
    return {
        "name": model.name,
        "kinds": list(model.kinds),
        "lora": model.lora,
        "base": model.base,
        "origin": origin(model, row),
        "licence": model.licence,
        "size": model.size,
        "here": model.here,
        "owner": row.owner if row else "",
        "job": row.job if row else 0,
    }


_ORIGINS = {
    TRAINED: Words("trained here", "학습"),
    EMBEDDED: Words("ships with Defect Studio", "내장"),
    HUB: Words("from the hub", "허브"),
    LOCAL: Words("put here by an administrator", "로컬"),
}
_LINE = Words(
    "`{name}` {kinds}{licence}{default}{lora}{size}{owner}{away}",
    "`{name}` {kinds}{licence}{default}{lora}{size}{owner}{away}",
)
_LORA = Words(" · LoRA on `{base}`", " · `{base}`용 LoRA")
_BY = Words(" · by {person}", " · {person} 님이 학습")
_DEFAULT = Words(" · default for {commands}", " · {commands} 기본 모델")
_AWAY = Words(" · downloaded when first used ({size})", " · 처음 쓸 때 내려받습니다 ({size})")
_NOTE = Words("{licence}: {note}", "{licence}: {note}")
_NEXT = Words("More: `page:{page}`", "다음: `page:{page}`")
_HOW = Words(
    "Look closer: `/models model:…` Search: `/models scratch`",
    "자세히 보기: `/models model:…` 검색: `/models scratch`",
)
_NONE = Words("There is no model yet.", "아직 쓸 수 있는 모델이 없습니다.")
_NOT_FOUND = Words(
    "No model has “{words}” in its name, kind, licence, trainer or concepts. `/models` lists all.",
    "이름, 용도, 라이선스, 만든 사람, 개념에 “{words}”이(가) 들어간 모델이 없습니다. `/models` 로 전체를 볼 수 있습니다.",
)
_NO_PAGE = Words("There is no page {page}.", "{page}쪽은 없습니다.")
_HEAD = Words("**`{name}`** {origin} · for {kinds}", "**`{name}`** {origin} · 용도: {kinds}")
_ON = Words("A LoRA, used on `{base}`", "`{base}` 위에 얹어 쓰는 LoRA")
_FROM = Words("Made from `{base}`", "`{base}`에서 학습")
_SIZE = Words("{size} · licence: {licence}", "{size} · 라이선스: {licence}")
_BASE_LICENCE = Words("Licence of `{base}`: {licence}. {note}", "`{base}`의 라이선스: {licence}. {note}")
_UNSAID = Words("not said", "알 수 없음")
_TRAINER = Words("Trained by {person} on {when} (#{job})", "{person} 님이 {when}에 학습 (#{job})")
_WITH_ALL = Words("Everybody here may use it.", "모두가 쓸 수 있습니다.")
_WITH_ROOMS = Words(
    "Its trainer and the people of {n} channel(s) may use it.",
    "만든 사람과 채널 {n}곳의 사람들이 쓸 수 있습니다.",
)
_WITH_NOBODY = Words("Only its trainer may use it.", "만든 사람만 쓸 수 있습니다.")
_CONCEPTS = Words("**Concepts ({n})**", "**개념 ({n})**")
_CONCEPT = Words("{name} “{prompt}”", "{name} “{prompt}”")
_PARAMETERS = Words("**Training** {told}", "**학습 설정** {told}")
_FORMERLY = Words("Formerly {names}", "예전 이름: {names}")
