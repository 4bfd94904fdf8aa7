"""What the buttons of /history do with one entry, beside those that a result has too."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass

from bot.commands.command import Tools
from bot.locale.markup import cut, harmless
from bot.orders import Order, Orders
from bot.talk import File, Message, Press
from engines.requests import request_named
from engines.words import Refusal, Words
from storage.jobs import OPEN, Job

FILES = 10  # shown at once


@dataclass(frozen=True, slots=True)
class Keeping:
    """The job is there, and the person may see it."""

    tools: Tools
    orders: Orders

    async def show(self, press: Press, job: Job) -> Message:
        """The results again, for the asker's eyes."""
        blobs = self.tools.store.blobs
        results = [r for r in await self.tools.store.results.of(job.id) if blobs.path(r.blob).exists()]
        if not results:
            raise Refusal(_NOT_ENDED(id=job.id) if job.state in OPEN else _GONE(id=job.id))
        alt = cut(harmless(" ".join(str(job.request.get("prompt") or "").split())), 200)
        files = [File(blobs.path(r.blob), r.name, alt or f"#{job.id} {job.command}") for r in results]
        words = _SHOWN(id=job.id, command=job.command)
        words = words + _SOME(n=FILES, all=len(files)) if len(files) > FILES else words
        return Message(
            "said",
            words.of(press.language),
            job=job.id,
            command=job.command,
            files=tuple(files[:FILES]),
            facts={"files": [r.name for r in results]},
        )

    async def rerun(self, press: Press, job: Job) -> Message:
        """Exactly the same again, seed included: where nothing else changed, the same picture."""
        await self.orders.check(press.person)
        try:
            request = request_named(job.command).from_json(job.request)
        except (KeyError, TypeError, ValueError):
            raise Refusal(_UNREADABLE(id=job.id)) from None
        settled, told = await self.orders.settled(request, press)
        order = Order(press.key, press.person, press.place, press.language, settled, told)
        return await self.orders.place(order)

    async def bookmark(self, press: Press, job: Job) -> Message:
        """On, or off where it was on."""
        history = self.tools.store.history
        on = await history.bookmark(press.person.id, job.id)
        if not on:
            await history.bookmark(press.person.id, job.id, on=False)
        words = _KEPT if on else _FORGOTTEN
        message = Message("said", words(id=job.id).of(press.language), facts={"bookmarked": on})
        return dataclasses.replace(message, job=job.id, command=job.command)


_SHOWN = Words("#{id} {command}", "#{id} {command}")
_SOME = Words("(the first {n} of {all})", "({all}개 중 처음 {n}개)")
_NOT_ENDED = Words("#{id} has not ended yet.", "#{id} 작업은 아직 끝나지 않았습니다.")
_GONE = Words(
    "The results of #{id} are no longer stored. “Re-run” makes them again.",
    "#{id} 작업의 결과가 더 이상 저장되어 있지 않습니다. “다시 실행”으로 새로 만들 수 있습니다.",
)
_UNREADABLE = Words(
    "This version of the bot cannot read #{id} any more. Please ask for it anew.",
    "이 버전의 봇은 #{id} 작업을 더 이상 읽을 수 없습니다. 다시 요청해 주십시오.",
)
_KEPT = Words(
    "#{id} is bookmarked: `/history bookmarked` lists it, and its results are kept.",
    "#{id} 작업을 북마크했습니다. `/history 북마크` 로 볼 수 있고, 결과는 지워지지 않습니다.",
)
_FORGOTTEN = Words("#{id} is no longer bookmarked.", "#{id} 작업의 북마크를 해제했습니다.")
