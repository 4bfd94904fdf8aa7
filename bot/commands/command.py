"""A talk-only command: a form whose answer needs no device."""

from __future__ import annotations

import difflib
import unicodedata
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

from bot.talk import Invocation, Limits, Message, Place, Press
from engines.forms import Form
from engines.words import Refusal, Words, joined

if TYPE_CHECKING:
    from bot.admission import DeskSettings
    from bot.pictures.reading import PictureReader
    from bot.waiting import Forecast
    from engines.models.catalogue import Model
    from engines.serving.pool import DeviceStatus
    from storage.store import Store


class Wakeable(Protocol):
    """Something that looks at its table again when told that there is something new."""

    def wake(self) -> None: ...


class Mouth(Wakeable, Protocol):
    def limits(self, place: Place) -> Limits:
        """What a message there can carry."""
        ...

    async def take_back(self, job_id: int) -> None:
        """Take away the message that shows a job's results, wherever it was said."""
        ...


class Canceller(Wakeable, Protocol):
    def cancel(self, job_id: int) -> None:
        """Stop it within a tick if it is running."""
        ...

    def pause(self, job_id: int) -> None:
        """Halt it within a tick if it is running, with a checkpoint."""
        ...

    def news(self, job_id: int) -> None:
        """Its state changed: its message is to say so."""
        ...


@dataclass(frozen=True, slots=True)
class Tools:
    """What a command or a button may use to find its answer."""

    store: Store
    reader: PictureReader
    dispatcher: Canceller
    outbox: Mouth
    settings: DeskSettings
    models: Callable[[], Sequence[Model]]
    forms: Sequence[type[Form]]
    clock: Callable[[], float]
    rng: Callable[[int], int]  # a number from 0 up to, not including, its argument
    devices: Callable[[], Sequence[DeviceStatus]] = tuple
    outline: Callable[[bytes], bytes | None] | None = None  # a small photo → its object; blocks, for a thread
    press: Callable[[Press], Awaitable[Message]] | None = (
        None  # what a button does, for those who say it in words
    )
    forecast: Forecast | None = None

    async def wait(self, job: int) -> Words | None:
        """Until the job is done, in words; None where nobody can tell."""
        return await self.forecast.told(job) if self.forecast else None


@dataclass(frozen=True, kw_only=True)
class Command(Form):
    """Talk-only work. `said.language` and `said.person.admin` are settled before `answer` is called."""

    async def answer(self, tools: Tools, said: Invocation) -> Message:
        """What we say. Raises `Refusal` for a polite no."""
        raise NotImplementedError


def say(said: Invocation, words: Words) -> Message:
    """A plain sentence for the asker's eyes, in the asker's language."""
    return Message("said", words.of(said.language))


def listed(lines: Sequence[Words]) -> Words:
    """One under the other."""
    return joined(lines, "\n")


def form_called(said: str, forms: Sequence[type[Form]]) -> type[Form]:
    """The form a person means by `said`, with or without a slash; `Refusal` with the nearest otherwise."""
    by_name = {name: form for form in forms for name in form.names()}
    name = unicodedata.normalize("NFC", said).strip().lstrip("/").lower()
    if name in by_name:
        return by_name[name]
    near = difflib.get_close_matches(name, by_name, n=1, cutoff=0.6)
    raise Refusal(_UNKNOWN(said=name[:40] or "/") + (_NEAREST(near=near[0]) if near else _ALL))


_UNKNOWN = Words("There is no command “{said}”.", "“{said}” 명령은 없습니다.")
_NEAREST = Words("Did you mean `/{near}`?", "혹시 `/{near}` 명령을 찾으셨습니까?")
_ALL = Words("`/help` lists them all.", "`/help` 로 모든 명령을 볼 수 있습니다.")
