"""From a checked request to a promise on disk: limits, model, seed, row. What words and buttons both end in."""

from __future__ import annotations

import asyncio
import dataclasses
from dataclasses import dataclass

from bot import replies
from bot.admission import admit
from bot.commands.command import Tools
from bot.talk import Message, Person, Place
from engines import catalogue
from engines.requests import SEEDS, Request
from engines.words import Language, Refusal, Words
from storage import Missing
from storage.jobs import Job


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

    async def check(self, person: Person) -> None:
        """Raise `Refusal` where `person` may not queue one more now."""
        settings, jobs = self.tools.settings, self.tools.store.jobs
        mine = await jobs.of(person.id, states=("queued", "running"), limit=settings.queue_per_person)
        admit(person, settings, mine=len(mine), all=await jobs.queued())

    async def settled(self, request: Request) -> Request:
        """The request with its model's full name and a seed. Raises `Refusal` for a model it cannot have."""
        changed = {}
        if "model" in request.params():
            settings, said = self.tools.settings, getattr(request, "model", "")
            wanted = said or settings.models.get(request.name, "")
            model = await asyncio.to_thread(
                catalogue.find, wanted, request.name, settings.models_folder, settings.model_paths
            )
            changed["model"] = model.name
        return dataclasses.replace(request, **changed).settled(self.tools.rng(SEEDS))

    async def place(self, order: Order) -> Message:
        """Promise it. The same key again gives the same job. Raises `Refusal`."""
        if before := await self.known(order.key):
            return before
        request = await self.settled(order.request)
        async with self._turn:
            await self.check(order.person)
            job = await self._add(order, request)
        self.tools.dispatcher.wake()
        self.tools.outbox.wake()
        return await self._accepted(job)

    async def _add(self, order: Order, request: Request) -> Job:
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
                cost=request.cost,
                inputs=request.blobs,
                notes=[(note.en, note.ko) for note in order.notes],
                now=self.tools.clock(),
            )
        except Missing:
            raise Refusal(_INPUT_GONE) from None
        return job

    async def _accepted(self, job: Job) -> Message:
        return replies.accepted(job, await self.tools.store.jobs.ahead(job.id))


_INPUT_GONE = Words(
    "The photo this needs is no longer stored. Please send it again.",
    "이 작업에 필요한 사진이 더 이상 저장되어 있지 않습니다. 다시 보내 주십시오.",
)
