"""What is said about a review and a training at their end: pure functions of data to a `Message`."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from bot.locale.markup import cut, harmless
from bot.locale.numbers import duration, size
from bot.models import buttons as model_buttons
from bot.talk import Action, Button, File, Limits, Message
from bot.training.words import WITH_WORDS, facts, settings, time_needed
from engines.training.request import Train
from engines.words import Words, dotted

if TYPE_CHECKING:
    from bot.answers.replies import Shown
    from storage.jobs import Job

REVIEW, TRAINING = "review", "train"


def reviewed(job: Job, shown: Sequence[Shown], limits: Limits) -> Message:
    """What was understood, with Start, Change and Cancel; the same where the look at the model failed."""
    draft = int(job.request["draft"])
    train = Train.from_json(job.request["train"])
    told: dict[str, Any] = shown[0].result.recipe.get("review", {}) if shown else {}
    notes = [harmless(ko if job.language == "ko" else en) for en, ko in job.notes]
    lines = [_REVIEW(id=draft).of(job.language), *dict.fromkeys(notes)]
    if told.get("step_seconds"):
        lines.append(time_needed(train, told["step_seconds"], bool(told.get("measured"))).of(job.language))
    if told.get("memory"):
        lines.append(_MEMORY(size=size(int(told["memory"]))).of(job.language))
    lines.append(_ASK(id=draft).of(job.language))
    kept = lines if len("\n".join(lines)) <= limits.text else [*lines[: 1 + len(train.concepts)], lines[-1]]
    return Message(
        "finished",
        cut("\n".join(kept), limits.text),
        job=job.id,
        command=job.command,
        files=_files(job, shown, limits),
        buttons=_buttons(job, "start", "change", "discard"),
        mention=job.person,
        private=False,
        facts={"seconds": job.seconds, "draft": draft, **facts(train), **told},
    )


def unreviewed(job: Job, failed: Message) -> Message:
    """The look at the model failed: the draft is there all the same, to be changed."""
    return dataclasses.replace(failed, buttons=_buttons(job, "change", "discard"))


def broken(job: Job, failed: Message, shown: Sequence[Shown], limits: Limits) -> Message:
    """A training failed: what it was and how far it came. It can go on from its last checkpoint, but not where what it
    was given was at fault."""
    train = Train.from_json(job.request)
    what = [Words(*(cut(train.save_as, 60),) * 2), settings(train)]
    what += [_AFTER(time=duration(job.seconds))] if job.seconds else []
    again = () if (job.error or {}).get("code") == "input" else _buttons(job, "resume")
    return dataclasses.replace(
        failed,
        text=cut(f"{failed.text}\n{dotted(what).of(job.language)}", limits.text),
        files=_files(job, shown, limits),
        buttons=(*again, *failed.buttons),
    )


def trained(job: Job, shown: Sequence[Shown], limits: Limits) -> Message:
    """The report: what was learnt, how, and how it is used. What was said on accepting is not said again."""
    train, language = Train.from_json(job.request), job.language
    told: dict[str, Any] = shown[0].result.recipe.get("training", {}) if shown else {}
    notes = [harmless(ko if language == "ko" else en) for en, ko in told.get("notes", ())]
    lines = [
        *(said.of(language) for said in _done(job, train, told)),
        *dict.fromkeys(notes),
        _USE[train.model_kind](name=train.save_as, prompt=_prompt(train)).of(language),
    ]
    return Message(
        "finished",
        _fitting(lines, limits.text),
        job=job.id,
        command=job.command,
        files=_files(job, shown, limits),
        buttons=model_buttons.after_training(job.id, "ko" if language == "ko" else "en"),
        mention=job.person,
        private=False,
        facts={
            "files": [one.result.name for one in shown],
            "seconds": job.seconds,
            "seed": train.seed,
            "base": train.model,
            "model": train.save_as,
            **facts(train),
        },
    )


def _done(job: Job, train: Train, told: Mapping[str, Any]) -> list[Words]:
    """That it is done, how long it took and how far it came; then with what parameters."""
    took = [_TOOK(steps=train.total_steps, time=duration(job.seconds or 0.0))]
    if "loss" in told:
        took.append(_LOSS(loss=f"{told['loss']:.4f}{_each(told.get('concepts', {}))}"))
    how = [settings(train), *([WITH_WORDS] if told.get("text_encoder") else [])]
    if rate := told.get("rate") or train.learning_rate:
        how.append(_AT_RATE(rate=f"{rate:.2g}"))
    head = _DONE(id=job.id, name=train.save_as)
    return [dotted([head, *took]), dotted([*how, _SEED(seed=train.seed)])]


def _each(losses: Mapping[str, float]) -> str:
    """ " (scratch 0.0810, dent 0.1120)", where there is more than one concept."""
    told = ", ".join(f"{harmless(name)} {loss:.4f}" for name, loss in losses.items())
    return f" ({told})" if len(losses) > 1 else ""


def _fitting(lines: list[str], most: int) -> str:
    """Within `most` characters: the head and the last line are kept, what is between gives way."""
    if len("\n".join(lines)) <= most:
        return "\n".join(lines)
    room = most - len(lines[0]) - len(lines[-1]) - 2
    return "\n".join([lines[0], cut("\n".join(lines[1:-1]), max(room, 0)), lines[-1]])


def _prompt(train: Train) -> str:
    return cut(harmless(train.concepts[0]["instance_prompt"]), 200) if train.concepts else "…"


def _files(job: Job, shown: Sequence[Shown], limits: Limits) -> tuple[File, ...]:
    return tuple(File(s.path, s.result.name, f"#{job.id} {s.result.name}") for s in shown[: limits.files])


def _buttons(job: Job, *actions: Action) -> tuple[Button, ...]:
    return tuple(Button(a, job.id, LABELS[a].of(job.language), danger=a == "discard") for a in actions)


LABELS: dict[Action, Words] = {
    "start": Words("Start", "시작"),
    "change": Words("Change", "변경"),
    "discard": Words("Cancel", "취소"),
    "pause": Words("Pause", "일시정지"),
    "resume": Words("Resume", "계속"),
}
_REVIEW = Words("**Draft {id}.** This is what I understood:", "**초안 {id}.** 다음과 같이 이해했습니다:")
_MEMORY = Words("It needs about {size} of memory.", "메모리는 약 {size} 필요합니다.")
_ASK = Words(
    "Start it with the button or `/train draft:{id} start:yes`; change it with `/train draft:{id} steps:300`.",
    "버튼이나 `/train draft:{id} start:yes`로 시작하고, `/train draft:{id} steps:300`처럼 바꿀 수 있습니다.",
)
_DONE = Words("**#{id} · {name} is trained**", "**#{id} · {name} 학습이 끝났습니다**")
_TOOK = Words("{steps} steps in {time}", "{steps}스텝, {time}")
_LOSS = Words("loss {loss}", "손실 {loss}")
_AT_RATE = Words("learning rate {rate}", "학습률 {rate}")
_AFTER = Words("after {time}", "{time} 만에 중단")
_SEED = Words("seed {seed}", "시드 {seed}")
_USE = {
    "inpaint": Words(
        'Use it: `/inpaint model:{name} prompt:"{prompt}"` with a photo and a mask.',
        '사용법: 사진과 마스크를 첨부하여 `/inpaint model:{name} prompt:"{prompt}"`',
    ),
    "txt2img": Words(
        'Use it: `/txt2img model:{name} prompt:"{prompt}"`',
        '사용법: `/txt2img model:{name} prompt:"{prompt}"`',
    ),
}
