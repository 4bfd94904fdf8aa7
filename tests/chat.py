"""A chat kept in memory, for tests of what is said: it can fail in all the ways a platform fails."""

from __future__ import annotations

import asyncio
import itertools
import random
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from bot.talk import Gone, Limits, Message, Place, TooLarge, Unreachable
from storage.deliveries import Deliveries, Delivery
from storage.jobs import Job
from storage.store import Store

NOW = 1_000_000.0
PERSON = "chat:kim"


async def add_job(store: Store, key: str = "k1", *, person: str = PERSON, **more: Any) -> Job:
    """A promise in the store, of three steps of a picture of a nut."""
    values: dict[str, Any] = {
        "key": key, "person": person, "name": "Kim", "platform": "chat",
        "place": Place("chat", "general").to_json(), "language": "en", "command": "txt2img",
        "request": {"prompt": "a scratched metal nut", "seed": 7}, "cost": 50.0, "inputs": [], "now": NOW,
    }  # fmt: skip
    job, _ = await store.jobs.add(**(values | more))
    return job


@dataclass(slots=True)
class Said:
    """A message on the chat's own books."""

    key: str
    message: Message
    files: list[tuple[str, int]]
    at: float
    edits: int = 0
    gone: bool = False


@dataclass
class Chat:
    """`bot.talk.Platform`, with books. `fault(act)` may raise before or after the act is done."""

    name: str = "chat"
    carries: Limits = field(
        default_factory=lambda: Limits(
            file_bytes=10**7, files=10, message_bytes=2 * 10**7, edit_every=0.05, text=2000
        )
    )
    fault: Callable[[str, str], Exception | None] = lambda act, when: None
    delay: float = 0.0
    books: dict[str, Said] = field(default_factory=dict)
    acts: list[tuple[str, str]] = field(default_factory=list)
    closed: bool = False
    most: int | None = None  # bytes refused beyond this, whatever `carries` says
    ids: itertools.count[int] = field(default_factory=itertools.count)

    def limits(self, place: Place) -> Limits:
        return self.carries

    async def serve(self, desk: object) -> None:
        await asyncio.Event().wait()

    async def post(self, place: Place, message: Message, key: str) -> str:
        async with self._doing("post", key, message):
            id = f"m{next(self.ids)}"
            self.books[id] = Said(key, message, _files(message), asyncio.get_running_loop().time())
        return id

    async def edit(self, place: Place, message_id: str, message: Message) -> None:
        async with self._doing("edit", message_id, message):
            said = self.books[message_id]
            if said.gone:
                raise Gone("message deleted")
            said.message, said.files, said.edits = message, _files(message), said.edits + 1

    async def find(self, place: Place, key: str, since: float) -> str | None:
        async with self._doing("find", key):
            return next((id for id, said in self.books.items() if said.key == key and not said.gone), None)

    async def delete(self, place: Place, message_id: str) -> None:
        async with self._doing("delete", message_id):
            self.books[message_id].gone = True

    def standing(self, job: int) -> list[Said]:
        """A job's messages that people see now."""
        return [said for said in self.books.values() if said.message.job == job and not said.gone]

    def _doing(self, act: str, what: str, message: Message | None = None) -> _Doing:
        return _Doing(self, act, what, message)


class _Doing:
    def __init__(self, chat: Chat, act: str, what: str, message: Message | None) -> None:
        self.chat, self.act, self.what, self.message = chat, act, what, message

    async def __aenter__(self) -> None:
        chat = self.chat
        await asyncio.sleep(chat.delay)
        chat.acts.append((self.act, self.what))
        if chat.closed:
            raise Gone("channel deleted")
        if error := chat.fault(self.act, "before"):
            raise error
        if self.message and chat.most is not None and sum(s for _, s in _files(self.message)) > chat.most:
            raise TooLarge("413")

    async def __aexit__(self, kind: object, error: object, trace: object) -> None:
        if error is None and (late := self.chat.fault(self.act, "after")):
            raise late


def flaky(rng: random.Random) -> Callable[[str, str], Exception | None]:
    """3 % refused, 3 % told to wait, 5 % done but the answer dropped, of every act."""

    def fault(act: str, when: str) -> Exception | None:
        luck = rng.random()
        if when == "before":
            if luck < 0.03:
                return Unreachable("500", uncertain=rng.random() < 0.5)
            return Unreachable("429", retry_after=0.02) if luck < 0.06 else None
        return Unreachable("dropped", uncertain=True) if luck < 0.05 else None

    return fault


def _files(message: Message) -> list[tuple[str, int]]:
    return [(file.name, file.path.stat().st_size) for file in message.files]


async def due(rows: Deliveries, now: float, platform: str = "chat", limit: int = 50) -> list[Delivery]:
    """What should be said there now."""
    return (await rows.look(now, limit, platform))[0]
