"""What is said about a job: pure functions of data to a `Message`, in the job's language."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bot.answers import interrogated
from bot.locale.markup import block, code, cut, harmless
from bot.locale.numbers import bar, duration, in_line, time_left
from bot.many.assembly import SHEET
from bot.talk import Action, Bar, Button, File, Limits, Message
from bot.training import replies as training_replies
from engines.events import Progress
from engines.requests import MENU
from engines.words import Words, alike, dotted
from storage.jobs import OPEN

if TYPE_CHECKING:
    from storage.jobs import Job
    from storage.results import Result

ALT = 200  # characters of a prompt that describe a picture to someone who cannot see it
EACH = 4  # pictures that get buttons of their own


@dataclass(frozen=True, slots=True)
class Shown:
    """A stored result and the file that holds it."""

    result: Result
    path: Path


def accepted(job: Job, ahead: int, wait: Words | None = None) -> Message:
    """The first answer: the promise, the place in line, and what was understood differently than said."""
    head = (
        _QUEUED(id=job.id, command=job.command, where=waiting(ahead, wait))
        if job.state == "queued"
        else _WORDS[job.state](id=job.id, command=job.command)
    )
    facts = {"ahead": ahead, "state": job.state, **_made_with(job)}
    text = _lines(head.of(job.language), *_notes(job))
    return Message("accepted", text, job=job.id, command=job.command, facts=facts)


def status(
    job: Job,
    *,
    ahead: int = 0,
    wait: Words | None = None,
    progress: Progress | None = None,
    eta: float | None = None,
    preview: bytes | None = None,
) -> Message:
    """The living message of a job that waits (`ahead` others before it, done in `wait`) or runs (`eta` seconds left)."""
    if job.state == "queued":
        head = _QUEUED(id=job.id, command=job.command, where=waiting(ahead, wait))
        return _living(job, "accepted", head, None, None)
    if job.state != "running":
        return _living(job, "progress", _WORDS[job.state](id=job.id, command=job.command), None, None)
    if progress is None:
        return _living(job, "progress", _WORDS["running"](id=job.id, command=job.command), None, preview)
    parts = [
        alike(bar(progress.step, progress.total)),
        *([time_left(eta)] if eta is not None and progress.step < progress.total else []),
        *([progress.note] if progress.note else []),
    ]
    head = _RUNNING(id=job.id, command=job.command, how=dotted(parts))
    return _living(
        job, "progress", head, Bar(progress.step, progress.total, eta), preview or progress.preview
    )


def waiting(ahead: int, wait: Words | None) -> Words:
    """The place in line, and where that is known how long it takes until the result."""
    where = in_line(ahead)
    return where if wait is None else dotted([where, _DONE_IN(time=wait)])


def goes_on(job: Job) -> Message:
    """What a long run's message says when a newer one took its place."""
    return _living(job, "progress", _GOES_ON(id=job.id, command=job.command), None, None, buttons=False)


def calls(job: Job) -> bool:
    """Whether the person is to be called when it ends: nobody looks at a training all the time."""
    return job.command == training_replies.TRAINING and job.state in ("done", "failed")


def answer(job: Job, shown: Sequence[Shown], *, limits: Limits) -> Message:
    """The last word on a job: done with its pictures, failed with the cause, or cancelled."""
    if job.state == "done" and shown and job.command == training_replies.TRAINING:
        return training_replies.trained(job, shown, limits)
    if job.command == training_replies.REVIEW and job.state in ("done", "failed"):
        if job.state == "failed":
            return training_replies.unreviewed(job, _failed(job, limits))
        return training_replies.reviewed(job, shown, limits)
    if job.state == "done":
        return _done(job, shown, limits)
    if job.state == "failed":
        failed = _failed(job, limits)
        if job.command == training_replies.TRAINING:
            return training_replies.broken(job, failed, shown, limits)
        return failed
    return _ended(job, _WORDS[job.state])


def _ended(job: Job, words: Words) -> Message:
    """Over without a result; nobody needs to be called for that."""
    text = words(id=job.id, command=job.command).of(job.language)
    buttons = (_button(job, "reroll"), _button(job, "recipe"))
    return Message(
        "failed",
        text,
        job=job.id,
        command=job.command,
        buttons=buttons,
        private=False,
        facts={"state": job.state},
    )


def _done(job: Job, shown: Sequence[Shown], limits: Limits) -> Message:
    if not shown:
        return _ended(job, _DELETED)
    made = _made_with(job)
    made["model"] = shown[0].result.recipe.get("model") or made.get("model", "")
    if interrogated.is_words(shown[0].result):
        return _words(job, shown[0].result.recipe, made, limits)
    parts = [_DONE(id=job.id, time=duration(job.seconds or 0.0))]
    parts += [_SEED(seed=made["seed"])] if "seed" in made else []
    parts += [alike(harmless(str(made["model"])))] if made.get("model") else []
    sheets = [one for one in shown if one.result.recipe.get(SHEET)]
    # where not all are shown, the last place is left for the archive that the outbox packs
    whole = len(shown) <= limits.files and not sheets
    most = limits.files if whole else max(limits.files - 1, 0)
    files = tuple(_file(job, one) for one in (sheets or shown)[:most])
    return Message(
        "finished",
        _told(dotted(parts).of(job.language), _notes(job), _prompt(job), limits.text),
        job=job.id,
        command=job.command,
        files=files,
        buttons=_after(job, 0 if sheets else len(shown)),
        mention=job.person,
        private=False,
        facts={"files": [one.result.name for one in shown], "seconds": job.seconds, **made},
    )


def _words(job: Job, recipe: Mapping[str, Any], made: Mapping[str, Any], limits: Limits) -> Message:
    """An answer that is words and no picture."""
    head = dotted([_DONE(id=job.id, time=duration(job.seconds or 0.0)), alike(made["model"])])
    told = interrogated.told(job, recipe, head.of(job.language), _notes(job), limits.text)
    buttons = (*told.buttons, _button(job, "recipe"), _button(job, "delete"))
    return dataclasses.replace(told, buttons=buttons, facts={**told.facts, **made})


def _failed(job: Job, limits: Limits) -> Message:
    error = job.error or {}
    reason = error.get(job.language) or error.get("en") or _NO_REASON(id=job.id).of(job.language)
    head = _FAILED(id=job.id, command=job.command, reason=harmless(str(reason)))
    facts = {"state": job.state, "code": error.get("code", "error"), "error": str(reason), **_made_with(job)}
    return Message(
        "failed",
        _told(head.of(job.language), [], _prompt(job), limits.text),
        job=job.id,
        command=job.command,
        buttons=(_button(job, "reroll"), _button(job, "recipe")),
        mention=job.person,
        private=False,
        facts=facts,
    )


def _living(
    job: Job, kind: Any, head: Words, drawn: Bar | None, preview: bytes | None, *, buttons: bool = True
) -> Message:
    prompt = cut(" ".join(_prompt(job).split()), 200)
    open_still = buttons and job.state in OPEN
    actions: tuple[Action, ...] = ("cancel", "overlay") if _asks(job, "mask") else ("cancel",)
    if job.command == training_replies.TRAINING and job.state != "queued":
        actions = ("resume" if job.state == "paused" else "pause", "cancel")
    return Message(
        kind,
        _lines(head.of(job.language), code(prompt) if prompt else ""),
        job=job.id,
        command=job.command,
        buttons=tuple(_button(job, action) for action in actions) if open_still else (),
        bar=drawn,
        preview=preview,
        private=False,
        facts={"state": job.state},
    )


def _told(head: str, notes: Sequence[str], prompt: str, limit: int) -> str:
    """Head, notes and prompt within `limit` characters: the prompt gives way first, then the notes."""
    body = _lines(head, *notes)
    if not prompt:
        return cut(body, limit)
    room = limit - len(_lines(body, block("")))
    if room < min(40, len(prompt)):
        return cut(body, limit)
    whole = _lines(body, block(prompt))
    if len(whole) <= limit:
        return whole
    spare = room - (len(block(prompt)) - len(block("")) - len(prompt))  # what making it harmless adds
    return _lines(body, block(cut(prompt, max(spare, 0)))) if spare > 0 else cut(body, limit)


def _file(job: Job, one: Shown) -> File:
    alt = cut(harmless(" ".join(_prompt(job).split())), ALT) or f"#{job.id} {job.command}"
    return File(one.path, one.result.name, alt)


def _after(job: Job, pictures: int) -> tuple[Button, ...]:
    """What one can do with a result; the first pictures have buttons of their own."""
    chance = _asks(job, "seed")  # without it the same is made again
    buttons = [_button(job, "reroll")] if chance else []
    own: tuple[Action, ...] = ("vary", "use") if chance else ("use",)
    buttons += [_button(job, action, i, pictures) for action in own for i in range(min(pictures, EACH))]
    buttons.append(_button(job, "recipe"))
    if _asks(job, "mask"):
        buttons += [_button(job, "overlay"), _button(job, "invert")]
    return (*buttons, _button(job, "delete"))


def _button(job: Job, action: Action, index: int = 0, of: int = 1) -> Button:
    label = LABELS[action].of(job.language) + (f" {index + 1}" if of > 1 else "")
    return Button(action, job.id, label, index, danger=action in ("cancel", "delete"))


def _asks(job: Job, field: str) -> bool:
    """Whether the job's command has such a field."""
    return any(form.name == job.command and field in form.params() for form in MENU)


def _made_with(job: Job) -> dict[str, Any]:
    """The seed and model a program wants to know, where the request has them."""
    return {key: job.request[key] for key in ("seed", "model") if job.request.get(key) not in (None, "")}


def _prompt(job: Job) -> str:
    return str(job.request.get("prompt") or "")


def _notes(job: Job) -> list[str]:
    """What the person should know, each once, in the job's language."""
    told = (harmless(ko if job.language == "ko" else en) for en, ko in job.notes)
    return list(dict.fromkeys(told))


def _lines(*lines: str) -> str:
    return "\n".join(line for line in lines if line)


LABELS: dict[Action, Words] = {
    "cancel": Words("Cancel", "취소"),
    "reroll": Words("Re-roll", "다시 만들기"),
    "vary": Words("Vary", "변형"),
    "use": Words("Use as input", "입력으로 쓰기"),
    "recipe": Words("Recipe", "레시피"),
    "delete": Words("Delete", "삭제"),
    "overlay": Words("Show mask", "마스크 보기"),
    "invert": Words("Invert mask", "마스크 반전"),
    **interrogated.USES,
    **training_replies.LABELS,
}
_DONE_IN = Words("done in {time}", "완료까지 {time}")
_QUEUED = Words("#{id} {command} · {where}", "#{id} {command} · {where}")
_RUNNING = Words("#{id} {command} · {how}", "#{id} {command} · {how}")
_WORDS = {
    "queued": Words("#{id} {command} · waiting", "#{id} {command} · 대기 중"),
    "running": Words("#{id} {command} · starting", "#{id} {command} · 시작하는 중"),
    "paused": Words("#{id} {command} · paused", "#{id} {command} · 일시정지"),
    "done": Words("#{id} {command} · done", "#{id} {command} · 완료"),
    "failed": Words("#{id} {command} · failed", "#{id} {command} · 실패"),
    "cancelled": Words("#{id} {command} · cancelled", "#{id} {command} · 취소됨"),
}
_GOES_ON = Words("#{id} {command} · goes on below", "#{id} {command} · 아래에서 계속됩니다")
_DELETED = Words("#{id} {command} · deleted", "#{id} {command} · 삭제됨")
_DONE = Words("#{id} done in {time}", "#{id} 완료 ({time})")
_SEED = Words("seed {seed}", "시드 {seed}")
_FAILED = Words("**#{id} {command} failed.** {reason}", "**#{id} {command} 작업이 실패했습니다.** {reason}")
_NO_REASON = Words(
    "An error we did not expect; the log has it under #{id}.",
    "예상하지 못한 오류입니다. 기록에서 #{id} 번으로 찾을 수 있습니다.",
)
