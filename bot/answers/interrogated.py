"""An interrogation's answer as words: the prompt, the phrases by group, and those a person may pick.

The answer lies in the job's result (its recipe), so it can be shown again at any time.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from bot.locale.markup import block, cut, harmless
from bot.talk import Action, Button, Choices, Message, Option
from engines.interrogation.form import NEGATIVE
from engines.words import Words

if TYPE_CHECKING:
    from storage.jobs import Job
    from storage.results import Result

MEDIA = "application/json"
OFFERED = 25  # phrases to pick from
TOLD = 4  # of each group, in the text
USES: dict[Action, Words] = {
    "totext": Words("Use in txt2img", "txt2img에 쓰기"),
    "toimage": Words("Use in img2img", "img2img에 쓰기"),
    "toinpaint": Words("Use in inpaint", "inpaint에 쓰기"),
}

Recipe = Mapping[str, Any]


def is_words(result: Result) -> bool:
    """Whether a result is shown as words and not as a file."""
    return result.media == MEDIA and "phrases" in result.recipe


def told(job: Job, recipe: Recipe, head: str, notes: Sequence[str], limit: int) -> Message:
    """The whole answer; `head` is its first line, `notes` are its last."""
    room = limit - len("\n".join([head, *notes])) - 2
    answer = {key: recipe.get(key) for key in ("mode", "caption", "phrases")}
    return Message(
        "finished",
        "\n".join([head, *lines(recipe, job.language, room), *notes]),
        job=job.id,
        command=job.command,
        buttons=uses(job.id, job.language),
        choices=choices(recipe, job.id, job.language),
        mention=job.person,
        private=False,
        facts={"seconds": job.seconds, "prompt": recipe.get("text"), **answer},
    )


def lines(recipe: Recipe, language: str, room: int) -> list[str]:
    """The prompt in a block to copy, and a line for each group of phrases with their scores."""
    prompt = str(recipe.get("text") or "")
    groups = _groups(recipe)
    shown = [
        f"**{_GROUPS.get(name, _STYLE).of(language)}** "
        + " · ".join(f"{harmless(label(one, language))} {_number(one['score'])}" for one in group[:TOLD])
        for name, group in groups.items()
    ]
    head = (_AGAINST if recipe.get("mode") == NEGATIVE else _PROMPT).of(language)
    told = [head, block(cut(prompt or "–", room // 2)), *shown]
    while len(told) > 2 and len("\n".join(told)) > room:
        told.pop()
    return told


def choices(recipe: Recipe, job: int, language: str) -> Choices | None:
    """The phrases to pick, the best of every group first."""
    options = tuple(Option(cut(label(one, language), 75), str(i)) for i, one in enumerate(offered(recipe)))
    if not options:
        return None
    return Choices(f"ds:pick:{job}:0", _PLACEHOLDER.of(language), options)


def uses(job: int, language: str, mask: int = 0) -> tuple[Button, ...]:
    """ "Use in …" for the phrases that `mask` names bit by bit; 0 = the whole prompt."""
    return tuple(Button(action, job, words.of(language), mask) for action, words in USES.items())


def offered(recipe: Recipe) -> list[dict[str, Any]]:
    """The phrases that can be picked, always in the same order: each group's best, then each group's second …"""
    groups = list(_groups(recipe).values())
    deepest = max((len(group) for group in groups), default=0)
    turns = [group[i] for i in range(deepest) for group in groups if i < len(group)]
    return list({str(one["text"]): one for one in reversed(turns)}.values())[::-1][:OFFERED]


def picked(recipe: Recipe, values: Sequence[str], mask: int) -> list[str]:
    """The phrases that were chosen, by their places in `offered`; nothing chosen is no phrase.

    Values come from outside: what is no place is left out.
    """
    known = offered(recipe)
    wanted = {int(value) for value in values if value.isascii() and value.isdigit()}
    wanted |= {i for i in range(len(known)) if mask >> i & 1}
    return [str(one["text"]) for i, one in enumerate(known) if i in wanted]


def mask_of(recipe: Recipe, values: Sequence[str]) -> int:
    """The chosen phrases as a number that a button can carry."""
    chosen = picked(recipe, values, 0)
    return sum(1 << i for i, one in enumerate(offered(recipe)) if one["text"] in chosen)


def label(phrase: Mapping[str, Any], language: str) -> str:
    """A phrase as it is read: in Korean with its translation, for prompts are English."""
    korean = str(phrase.get("ko") or "")
    return f"{phrase['text']} ({korean})" if language == "ko" and korean else str(phrase["text"])


def _groups(recipe: Recipe) -> dict[str, list[dict[str, Any]]]:
    """List → its phrases; the lists that are not ours are one."""
    groups: dict[str, list[dict[str, Any]]] = {}
    for one in recipe.get("phrases") or ():
        name = str(one["list"])
        groups.setdefault(name if name in _GROUPS else "", []).append(one)
    return groups


def _number(score: float) -> str:
    return f"{score:.2f}".replace("-", "−")


_DEFECTS = Words("Defects", "결함")
_PRODUCTS = Words("Products", "제품")
_GROUPS = {
    "defects": _DEFECTS,
    "taught_defects": _DEFECTS,
    "products": _PRODUCTS,
    "taught_products": _PRODUCTS,
    "materials": Words("Materials", "재질"),
    "photography": Words("Photography", "촬영"),
}
_STYLE = Words("Other words", "그 밖의 문구")
_PROMPT = Words("What the picture shows, as a prompt:", "그림을 나타내는 프롬프트:")
_AGAINST = Words(
    "What does not fit the picture, as a negative prompt:", "그림과 어울리지 않는 네거티브 프롬프트:"
)
_PLACEHOLDER = Words("Pick phrases for a prompt", "프롬프트에 쓸 문구를 고르십시오")
