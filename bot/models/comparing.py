"""What /compare compares: models found for whoever asks, and the concepts they were taught. And its table."""

from __future__ import annotations

import asyncio
import dataclasses
from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from bot.locale.markup import cut
from bot.models.compare_table import Column, Table, drawn
from bot.models.listing import card_of, concepts
from bot.models.shelf import Asker, Shelf
from engines.compare_form import MOST_MODELS, MOST_ROWS, Compare
from engines.events import Artifact
from engines.models import trained
from engines.models.catalogue import Model
from engines.words import Refusal, Words

if TYPE_CHECKING:
    from bot.commands.command import Tools
    from bot.many.assembly import Assembly

NEWEST = 3  # trained models where none is named


async def settled(tools: Tools, request: Compare, by: Asker | None) -> tuple[Compare, tuple[Words, ...]]:
    """The request with its models and rows. Raises `Refusal` for a model `by` cannot have, or nothing to draw."""
    shelf = Shelf(tools, by)
    names = [name.strip() for name in request.models.split(",") if name.strip()] or await _newest(shelf)
    models = list({(model := await shelf.find(name)).name: model for name in names}.values())
    if len(models) > MOST_MODELS:
        raise Refusal(_TOO_MANY(most=MOST_MODELS, n=len(models)))
    able = [model for model in models if request.kind in model.kinds]
    if not able:
        raise Refusal((_NO_INPAINT if request.image else _NEEDS_PHOTO)(names=_names(models)))
    cards = await asyncio.to_thread(lambda: [card_of(model) for model in models])
    rows, notes = _rows(request.prompt, cards)
    columns = tuple(_column(model, card) for model, card in zip(models, cards, strict=True))
    if left := [model for model in models if model not in able]:
        notes += (_UNABLE(names=_names(left), kind=request.kind),)
    changed: dict[str, Any] = {
        "models": ", ".join(model.name for model in models),
        "columns": columns,
        "rows": rows,
        "language": getattr(by, "language", "en"),
    }
    return dataclasses.replace(request, **changed), notes


async def _newest(shelf: Shelf) -> list[str]:
    """The base of the newest trained model, and the newest ones."""
    rows, models = await shelf.owned(), {model.name: model for model in await shelf.models()}
    own = sorted((r for r in rows.values() if r.name in models), key=lambda r: r.created, reverse=True)[
        :NEWEST
    ]
    if not own:
        raise Refusal(_NONE)
    base = models[own[0].name].base
    return [*([base] if base else []), *(row.name for row in own)]


def _rows(
    prompt: str, cards: Sequence[dict[str, Any]]
) -> tuple[tuple[dict[str, str], ...], tuple[Words, ...]]:
    said = [text.strip() for text in prompt.split("|") if text.strip()]
    rows = [{"label": text, "prompt": text} for text in said]
    if not rows:
        taught = {
            str(c["instance_prompt"]): {
                "label": str(c.get("name") or c["instance_prompt"]),
                "prompt": str(c["instance_prompt"]),
            }
            for card in cards
            for c in concepts(card)
            if c.get("instance_prompt")
        }
        rows = list(taught.values())
    if not rows:
        raise Refusal(_NO_PROMPT)
    return tuple(rows[:MOST_ROWS]), (_CUT(most=MOST_ROWS),) if len(rows) > MOST_ROWS else ()


def _column(model: Model, card: dict[str, Any]) -> dict[str, Any]:
    told = card.get("parameters")
    mode = trained.said(card, "mode") or trained.said(told if isinstance(told, dict) else {}, "mode")
    taught = len(concepts(card))
    return {
        "model": model.name,
        "kinds": list(model.kinds),
        "mode": mode or ("trained" if taught else ""),
        "concepts": taught,
    }


def table(assembly: Assembly) -> tuple[Artifact, ...]:
    """The table, and every picture of it."""
    request = assembly.work.request
    assert isinstance(request, Compare)
    made = dict(zip(request.cells, assembly.made, strict=True))
    cells = {at: one.artifacts[0].path for at, one in made.items() if one.artifacts}
    failed = frozenset(at for at, one in made.items() if not one.artifacts)
    columns = tuple(_words(column) for column in request.columns)
    picture = drawn(
        Table(tuple(row["label"] for row in request.rows), columns, cells, failed), request.language
    )
    path = assembly.work.folder / "compare.png"
    picture.save(path, "PNG", compress_level=6)
    told = {"sheet": len(made), "seed": request.seed, "model": request.models}
    singles = [
        replace(one.artifacts[0], name=f"{one.part.name}.png") for one in assembly.made if one.artifacts
    ]
    return (Artifact(path, "compare.png", "image/png", told, picture.width, picture.height), *singles)


def _words(column: dict[str, Any]) -> Column:
    """What stands over a column: how it was trained, and what that lets it do."""
    mode, taught = column["mode"], column["concepts"]
    several = _SEVERAL(n=taught) if taught > 1 else _ONE if taught == 1 else _UNTAUGHT
    holes = (
        _HOLES if column["kinds"] == ["inpaint"] else _BLENDED if "inpaint" in column["kinds"] else _NO_HOLES
    )
    return Column(_MODES.get(mode, _MODES["trained"]), column["model"], (several, holes))


def _names(models: Sequence[Model]) -> str:
    return ", ".join(f"`{cut(model.name, 60)}`" for model in models)


_MODES = {
    "": Words("No training", "학습 없음"),
    "normal": Words("Normal DreamBooth", "일반 드림부스"),
    "normal-inpainting": Words("Normal inpainting", "일반 인페인팅"),
    "defect": Words("Defect Studio", "Defect Studio"),
    "trained": Words("Trained", "학습함"),
}
_SEVERAL = Words("multi-concept: yes ({n})", "다중 개념: 예 ({n}개)")
_ONE = Words("multi-concept: no (1)", "다중 개념: 아니요 (1개)")
_UNTAUGHT = Words("multi-concept: no", "다중 개념: 아니요")
_HOLES = Words("inpainting: yes", "인페인팅: 예")
_BLENDED = Words("inpainting: by blending", "인페인팅: 섞어서만")
_NO_HOLES = Words("inpainting: no", "인페인팅: 아니요")
_TOO_MANY = Words(
    "/compare takes {most} models at most; you named {n}.",
    "/compare에는 모델을 {most}개까지 쓸 수 있는데 {n}개를 적으셨습니다.",
)
_NO_INPAINT = Words(
    "None of {names} can inpaint. Leave the photo out, or name other models.",
    "{names} 중에 인페인팅할 수 있는 모델이 없습니다. 사진을 빼거나 다른 모델을 적어 주십시오.",
)
_NEEDS_PHOTO = Words(
    "{names} can only inpaint: attach a photo and a mask (white = change).",
    "{names}은(는) 인페인팅만 할 수 있습니다. 사진과 마스크(흰색 = 바꿀 곳)를 첨부해 주십시오.",
)
_UNABLE = Words(
    "{names} cannot do {kind}, so that column stays empty.",
    "{names}은(는) {kind}을(를) 할 수 없어 그 열은 비어 있습니다.",
)
_NONE = Words(
    "There is no trained model to compare yet. Name models: `/compare models:a,b prompt:…`; `/models` lists them.",
    "아직 비교할 학습 모델이 없습니다. 모델을 적어 주십시오: `/compare models:a,b prompt:…`. `/models` 로 목록을 볼 수 있습니다.",
)
_NO_PROMPT = Words(
    "These models tell no concepts, so say a prompt; several with | between.",
    "이 모델들에는 배운 개념이 적혀 있지 않습니다. 프롬프트를 적어 주십시오. 여러 개는 | 로 구분합니다.",
)
_CUT = Words("The table shows the first {most} rows.", "표에는 앞의 {most}행만 보여 드립니다.")
