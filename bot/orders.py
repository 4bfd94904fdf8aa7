"""From a checked request to a promise on disk: limits, model, seed, row. What words and buttons both end in."""

from __future__ import annotations

import asyncio
import dataclasses
from dataclasses import dataclass
from typing import Any, TypeVar, cast

from bot import quotas
from bot.admission import admit
from bot.answers import replies
from bot.commands.command import Tools
from bot.locale.numbers import size
from bot.models.comparing import settled as compared
from bot.models.shelf import Asker, Shelf
from bot.quotas import Used
from bot.talk import Message, Person, Place
from engines.requests import SEEDS, Compare, Request
from engines.words import Language, Refusal, Words
from storage import Missing
from storage.jobs import Job
from storage.usage import Today

R = TypeVar("R", bound=Request)


@dataclass(frozen=True, slots=True)
class Order:
    """A request by someone, ready to be queued. `key` is unique for the saying or press it came from."""

    key: str
    person: Person
    place: Place
    language: Language
    request: Request
    notes: tuple[Words, ...] = ()


class Orders:
    """The one way into the queue."""

    def __init__(self, tools: Tools) -> None:
        self.tools = tools
        self._turn = asyncio.Lock()  # so that two sayings at once cannot both take the last free place

    async def known(self, key: str) -> Message | None:
        """The answer to a saying that was heard before; None where it is new."""
        job = await self.tools.store.jobs.by_key(key)
        return await self._accepted(job) if job else None

    async def check(self, person: Person) -> tuple[Words, ...]:
        """Raise `Refusal` where `person` may not queue one more now; sentences where that is near."""
        settings, usage, now = self.tools.settings, self.tools.store.usage, self.tools.clock()
        midnight, day = quotas.midnight(now), quotas.day(now)
        mine, ours = await usage.today("person", person.id, midnight, day), Today()
        if person.department:
            ours = await usage.today("department", person.department, midnight, day)
        used, all_used = (Used(today.jobs, today.seconds, today.open) for today in (mine, ours))
        return admit(person, settings, mine=mine.open, all=mine.queued, used=used, ours=all_used, now=now)

    async def settled(self, request: R, by: Asker | None = None) -> tuple[R, tuple[Words, ...]]:
        """The request with its model's full name and a seed, and sentences about them.

        Raises `Refusal` for a model it cannot have; what `by` may not use is unknown to them, and without `by` what
        not everybody may use.
        """
        request = request.settled(self.tools.rng(SEEDS))
        if isinstance(request, Compare):
            table, told = await compared(self.tools, request, by)
            return cast("R", table), told
        if "model" not in request.params():
            return request, ()
        settings, said = self.tools.settings, getattr(request, "model", "")
        wanted = said or settings.models.get(request.model_kind, "")
        model = await Shelf(self.tools, by).find(wanted, request.model_kind)
        notes = () if model.here else (_FETCHED(name=model.name, size=size(model.size)),)
        changed: dict[str, Any] = {"model": model.name}
        return dataclasses.replace(request, **changed), notes

    async def place(self, order: Order) -> Message:
        """Promise a settled request. The same key again gives the same job. Raises `Refusal`."""
        async with self._turn:
            try:
                told = await self.check(order.person)
            except Refusal:
                if before := await self.known(order.key):
                    return before
                raise
            job = await self._add(dataclasses.replace(order, notes=(*order.notes, *told)))
        if self.tools.forecast:
            self.tools.forecast.changed()
        self.tools.dispatcher.wake()
        self.tools.outbox.wake()
        return await self._accepted(job)

    async def _add(self, order: Order) -> Job:
        request = order.request
        weight = self.tools.settings.department(order.person.department).weight
        try:
            job, _ = await self.tools.store.jobs.add(
                key=order.key,
                person=order.person.id,
                name=order.person.name,
                platform=order.place.platform,
                place=order.place.to_json(),
                language=order.language,
                command=request.name,
                request=request.to_json(),
                cost=request.total_cost / weight,
                department=order.person.department,
                inputs=request.blobs,
                notes=[(note.en, note.ko) for note in order.notes],
                now=self.tools.clock(),
            )
        except Missing:
            raise Refusal(_INPUT_GONE) from None
        return job

    async def _accepted(self, job: Job) -> Message:
        ahead = await self.tools.store.jobs.ahead(job.id)
        wait = await self.tools.wait(job.id) if job.state == "queued" else None
        return replies.accepted(job, ahead, wait)


_FETCHED = Words(
    "`{name}` is downloaded first ({size}), so this may take a while.",
    "`{name}` 모델을 먼저 내려받으므로({size}) 시간이 걸릴 수 있습니다.",
)
_INPUT_GONE = Words(
    "The photo this needs is no longer stored. Please send it again.",
    "이 작업에 필요한 사진이 더 이상 저장되어 있지 않습니다. 다시 보내 주십시오.",
)
