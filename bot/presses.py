"""What the buttons under a message do. Everything they need is in the database, so they outlive a restart.

Vary keeps prompt, model and settings, takes the result itself as the photo, and changes it by 60 % with a new
seed: near the original, and different. For an inpainting only what the mask covers varies.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any

from bot.answers.interrogated import is_words
from bot.commands.cancel import cancel
from bot.commands.command import Tools
from bot.commands.history import turned
from bot.commands.pause import pause, resumed
from bot.intake import Intake
from bot.keeping import Keeping
from bot.many.assembly import SHEET
from bot.masks.shown import mask_shown
from bot.models import presses as model_presses
from bot.orders import Order, Orders
from bot.picks import COMMANDS, Picks
from bot.recipes import described, line
from bot.talk import File, Message, Place, Press
from bot.training.trainings import Trainings
from engines.requests import (
    SEEDS,
    Img2Img,
    Inpaint,
    Interrogate,
    Masked,
    RemoveBackground,
    Request,
    request_named,
)
from engines.words import Refusal, Words
from storage.jobs import OPEN, Job
from storage.results import Result

VARIED = 0.6  # strength of a variation


@dataclass(frozen=True, slots=True)
class Presses:
    tools: Tools
    orders: Orders

    async def answer(self, press: Press) -> Message:
        """Do what the button says. Raises `Refusal`."""
        trainings = Trainings(self.tools, Intake(self.tools), self.orders)
        if press.action == "page":
            return await turned(self.tools, press)
        keeping = Keeping(self.tools, self.orders)
        acts: dict[str, Callable[[Press, Job], Awaitable[Message]]] = {
            "cancel": self._cancel,
            "reroll": self._reroll,
            "vary": self._vary,
            "use": self._use,
            "removebg": self._remove_background,
            "interrogate": self._interrogate,
            "recipe": self._recipe,
            "delete": self._delete,
            "overlay": self._overlay,
            "invert": self._invert,
            "show": keeping.show,
            "rerun": keeping.rerun,
            "bookmark": keeping.bookmark,
            "start": trainings.start,
            "change": trainings.change,
            "discard": trainings.discard,
            "pause": self._pause,
            "resume": self._resume,
            **dict.fromkeys(("pick", *COMMANDS), Picks(self.tools, self.orders).answer),
        }
        if press.action not in (*acts, *model_presses.ACTIONS):
            raise Refusal(_UNKNOWN_BUTTON)
        if before := await self.orders.known(press.key):
            return before
        if press.action in model_presses.ACTIONS:  # which may be seen by more people than its training
            return await model_presses.ModelPresses(self.tools, self.orders).answer(press)
        job = await self.tools.store.jobs.get(press.job)
        if job is None or not _may_see(press, job):
            raise Refusal(_NO_JOB(id=press.job))
        return await acts[press.action](press, job)

    async def _cancel(self, press: Press, job: Job) -> Message:
        return _say(press, await cancel(self.tools, press.person, job.id))

    async def _pause(self, press: Press, job: Job) -> Message:
        return _say(press, await pause(self.tools, press.person, job.id))

    async def _resume(self, press: Press, job: Job) -> Message:
        return await resumed(self.tools, press, job.id)

    async def _reroll(self, press: Press, job: Job) -> Message:
        return await self._again(press, _request(job), seed=self.tools.rng(SEEDS))

    async def _invert(self, press: Press, job: Job) -> Message:
        request = _request(job)
        if not isinstance(request, Masked):
            raise Refusal(_NO_MASK(id=job.id))
        return await self._again(press, request, invert=not request.invert)

    async def _vary(self, press: Press, job: Job) -> Message:
        if "prompt" not in request_named(job.command).params():
            raise Refusal(_NO_PROMPT(id=job.id))
        made = await self._result(press, job)
        seed = (int(made.recipe.get("seed", 0)) + self.tools.rng(SEEDS - 1) + 1) % SEEDS
        request = _request(job)
        if not isinstance(request, Img2Img | Inpaint):
            shared = {k: v for k, v in request.to_json().items() if k in Img2Img.params()}
            request = Img2Img(**{**shared, "image": made.blob})
        return await self._again(press, request, seed=seed, image=made.blob, strength=VARIED)

    async def _again(self, press: Press, request: Request, **changed: Any) -> Message:
        known = request.params()
        changed = {name: value for name, value in changed.items() if name in known}
        await self.orders.check(press.person)
        request, notes = await self.orders.settled(dataclasses.replace(request, **changed), press)
        return await self.orders.place(
            Order(press.key, press.person, press.place, press.language, request, notes)
        )

    async def _use(self, press: Press, job: Job) -> Message:
        made = await self._result(press, job)
        await self.tools.store.people.set_last_input(press.person.id, made.blob)
        return _say(press, _CHOSEN(id=job.id, n=made.index + 1))

    async def _remove_background(self, press: Press, job: Job) -> Message:
        made = await self._result(press, job)
        return await self._again(press, RemoveBackground(image=made.blob))

    async def _interrogate(self, press: Press, job: Job) -> Message:
        made = await self._result(press, job)
        return await self._again(press, Interrogate(image=made.blob))

    async def _recipe(self, press: Press, job: Job) -> Message:
        request = _request(job)
        results = await self.tools.store.results.of(job.id)
        said, names = line(request)
        paths = {name: self.tools.store.blobs.path(blob) for blob, name in names.items()}
        message = _say(press, described(request, job.seconds, results[0].recipe if results else None))
        files = tuple(File(path, name) for name, path in paths.items() if path.exists())
        return dataclasses.replace(
            message, job=job.id, command=job.command, files=files, facts={"line": said}
        )

    async def _delete(self, press: Press, job: Job) -> Message:
        """The results go first: once they are gone nothing can show them again."""
        if job.person != press.person.id and not press.person.admin:
            raise Refusal(_NOT_YOURS(id=job.id))
        if job.state in OPEN:
            raise Refusal(_NOT_OVER(id=job.id))
        await self.tools.store.history.delete(job.id, self.tools.clock())
        await self.tools.outbox.take_back(job.id)
        return _say(press, _DELETED(id=job.id))

    async def _overlay(self, press: Press, job: Job) -> Message:
        request = _request(job)
        if not isinstance(request, Masked) or not request.mask:
            raise Refusal(_NO_MASK(id=job.id))
        file = await mask_shown(self.tools, request, job.id, press.language)
        if file is None:
            raise Refusal(_GONE(id=job.id))
        return dataclasses.replace(_say(press, _MASK_SHOWN(id=job.id)), job=job.id, files=(file,))

    async def _result(self, press: Press, job: Job) -> Result:
        if job.state != "done":
            raise Refusal(_NOTHING_MADE(id=job.id))
        results = await self.tools.store.results.of(job.id)
        if any(is_words(result) for result in results):
            raise Refusal(_NOTHING_MADE(id=job.id))
        if (
            0 <= press.index < len(results)
            and self.tools.store.blobs.path(results[press.index].blob).exists()
        ):
            if results[press.index].recipe.get(SHEET):
                raise Refusal(_SHEET(id=job.id))
            return results[press.index]
        raise Refusal(_GONE(id=job.id))


def _request(job: Job) -> Request:
    return request_named(job.command).from_json(job.request)


def _may_see(press: Press, job: Job) -> bool:
    """The button's number comes from outside: it opens only what was said where it is pressed, or one's own."""
    asked, pressed = Place.from_json(job.place), press.place
    here = (asked.platform, asked.guild, asked.channel) == (pressed.platform, pressed.guild, pressed.channel)
    return here or press.person.admin or press.person.id == job.person


def _say(press: Press, words: Words) -> Message:
    return Message("said", words.of(press.language))


_UNKNOWN_BUTTON = Words(
    "This button is from another release; please ask anew.",
    "다른 버전에서 만들어진 버튼입니다. 명령을 다시 입력해 주십시오.",
)
_NO_JOB = Words("There is no job #{id} here.", "여기에는 #{id} 작업이 없습니다.")
_NO_MASK = Words("#{id} has no mask.", "#{id} 작업에는 마스크가 없습니다.")
_NO_PROMPT = Words(
    "#{id} was made without a prompt, so there is nothing to vary. “Use as input” takes it on.",
    "#{id} 작업은 프롬프트 없이 만들어져 변형할 것이 없습니다. “입력으로 쓰기”로 이어서 쓸 수 있습니다.",
)
_NOTHING_MADE = Words("#{id} has made no picture.", "#{id} 작업에서 만들어진 그림이 없습니다.")
_SHEET = Words(
    "The picture of #{id} is an overview of many. Send the one you want from the archive.",
    "#{id} 작업의 그림은 여러 장을 모아 보여 주는 것입니다. 압축 파일에서 원하는 그림을 골라 보내 주십시오.",
)
_GONE = Words(
    "The picture of #{id} is no longer stored. “Re-roll” makes it again.",
    "#{id} 작업의 그림이 더 이상 저장되어 있지 않습니다. “다시 만들기”로 새로 만들 수 있습니다.",
)
_CHOSEN = Words(
    "Picture {n} of #{id} is your next input: say for instance `/img2img` without a photo.",
    "#{id} 작업의 {n}번째 그림을 다음 입력으로 쓰겠습니다. 예를 들어 사진 없이 `/img2img` 를 입력해 주십시오.",
)
_NOT_YOURS = Words(
    "Job #{id} belongs to someone else; only they or an admin can delete it.",
    "#{id} 작업은 다른 사람의 작업이므로 본인이나 관리자만 삭제할 수 있습니다.",
)
_NOT_OVER = Words(
    "#{id} has not ended yet; `/cancel {id}` stops it.",
    "#{id} 작업은 아직 끝나지 않았습니다. `/cancel {id}` 로 취소할 수 있습니다.",
)
_DELETED = Words(
    "The pictures of #{id} are deleted, and it is no longer in your history.",
    "#{id} 작업의 그림을 삭제했고, 기록에서도 지웠습니다.",
)
_MASK_SHOWN = Words("What #{id} changes is red.", "#{id} 작업에서 바뀌는 부분이 빨간색입니다.")
