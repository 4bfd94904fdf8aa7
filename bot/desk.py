"""The desk: hear → read → admit → first answer. Whatever goes wrong, the person gets a sentence."""

from __future__ import annotations

import dataclasses
import logging
import secrets
import time
from collections.abc import Awaitable, Callable, Sequence

from bot import admission
from bot.admission import DeskSettings as DeskSettings
from bot.commands.command import Canceller, Command, Mouth, Tools
from bot.grammar import command_of
from bot.intake import Incomplete, Intake, gather
from bot.locale.markup import harmless
from bot.masks.shown import mask_shown
from bot.menu import FORMS
from bot.models.shelf import Shelf, Someone
from bot.orders import Order, Orders
from bot.pictures.reading import PictureReader
from bot.presses import Presses
from bot.recipes import recipe_message
from bot.talk import Attachment, Invocation, Message, Person, Place, Press
from bot.training.trainings import Trainings
from bot.waiting import Forecast
from engines.models.catalogue import Model
from engines.requests import Masked, Request
from engines.serving.pool import DeviceStatus
from engines.training.request import Train
from engines.words import LANGUAGES, Language, Refusal, Words
from storage import Full
from storage.store import Store

log = logging.getLogger(__name__)

GROUPS = "groups"  # the fact that remembers a person's groups


class Desk:
    """Where every platform brings what it hears. Several may speak at once; no method raises."""

    def __init__(
        self,
        store: Store,
        reader: PictureReader,
        dispatcher: Canceller,
        outbox: Mouth,
        settings: DeskSettings,
        models: Callable[[], Sequence[Model]],
        *,
        clock: Callable[[], float] = time.time,
        rng: Callable[[int], int] = secrets.randbelow,
        heard: Callable[[Message, float], None] | None = None,
        devices: Callable[[], Sequence[DeviceStatus]] = tuple,
        forecast: Forecast | None = None,
        outline: Callable[[bytes], bytes | None] | None = None,
    ) -> None:
        """`heard` is told of every first answer to words, and how many seconds it took; `devices` for `/gpu`;
        `outline` finds the object of a photo for `mask:auto`."""
        self._heard = heard
        self.settings = settings
        self.tools = Tools(
            store,
            reader,
            dispatcher,
            outbox,
            settings,
            models,
            FORMS,
            clock,
            rng,
            devices,
            outline,
            self._pressed,
            forecast,
        )
        self.intake = Intake(self.tools)
        self.orders = Orders(self.tools)
        self.trainings = Trainings(self.tools, self.intake, self.orders)
        self.presses = Presses(self.tools, self.orders)

    async def hear(self, said: Invocation) -> Message:
        """The first answer: accepted (it is on disk now), refused with the reason, or what was asked for.

        Beside the menu, the commands `use` and `recipe` do with an attachment what the buttons do with a result.
        """

        async def answer(language: Language) -> Message:
            return await self._hear(
                dataclasses.replace(said, person=await self._known(said.person), language=language)
            )

        began = time.perf_counter()
        message = await self._safely(said.person, said.language, answer, said.command or said.text[:60])
        command = message.command or said.command or command_of(said.text)
        message = dataclasses.replace(message, command=command)
        if self._heard:
            self._heard(message, time.perf_counter() - began)
        return message

    async def press(self, press: Press) -> Message:
        """What a button does. The same press delivered twice adds one job."""

        async def answer(language: Language) -> Message:
            known = dataclasses.replace(press, person=await self._known(press.person), language=language)
            return await self.presses.answer(known)

        return await self._safely(press.person, press.language, answer, f"{press.action} #{press.job}")

    async def hidden(self, person: Person, place: Place) -> set[str]:
        """Names of models that must not be offered to them there: somebody else's own."""
        return await Shelf(self.tools, Someone(await self._known(person), place)).hidden()

    async def _pressed(self, press: Press) -> Message:
        return await self.presses.answer(press)

    async def language_of(self, person: Person, hint: str) -> Language:
        """The person's own choice, else what their chat program says, else the studio's."""
        spoken: dict[str, Language] = {language: language for language in LANGUAGES}
        chosen = await self.tools.store.people.language(person.id) or ""
        return spoken.get(chosen) or spoken.get(hint) or self.settings.language

    async def _known(self, person: Person) -> Person:
        """With roles and department. Where a platform does not tell groups (Discord, in direct messages) those
        last seen count, but never make an admin."""
        known = admission.known(person, self.settings)
        if not self.settings.roles:
            return known
        people = self.tools.store.people
        before = await people.get(person.id, GROUPS) or ""
        if person.groups is None:
            seen = dataclasses.replace(person, groups=tuple(before.split()))
            return dataclasses.replace(admission.known(seen, self.settings), admin=known.admin)
        if (groups := " ".join(person.groups)) != before:
            await people.put(person.id, GROUPS, groups or None)
        return known

    async def _hear(self, said: Invocation) -> Message:
        if before := await self.orders.known(said.key):
            return before
        if said.command in ("use", "recipe"):
            return await self._aside(said)
        heard = gather(said)
        if heard.form is Train:
            return await self.trainings.hear(said, heard)
        form, notes = await self.intake.filled(heard, said.person)
        if isinstance(form, Command):
            return await form.answer(self.tools, said)
        if not isinstance(form, Request):
            raise TypeError(f"nobody answers {form.name}")
        if heard.files:  # else it is looked at once, on placing it
            await self.orders.check(said.person)
        # an unknown model is refused before anything is downloaded
        settled, told = await self.orders.settled(form, said)
        request, seen = await self.intake.stored(settled, heard)
        order = Order(said.key, said.person, said.place, said.language, request, (*notes, *told, *seen))
        return await self._with_mask(request, await self.orders.place(order), said.language)

    async def _with_mask(self, request: Request, accepted: Message, language: Language) -> Message:
        """The first answer also shows what will change. The promise stands even where that cannot be drawn."""
        if accepted.kind != "accepted" or not isinstance(request, Masked) or not request.mask:
            return accepted
        try:
            file = await mask_shown(self.tools, request, accepted.job, language)
        except Exception:
            log.exception("no overlay of job %d", accepted.job)
            return accepted
        return dataclasses.replace(accepted, files=(file,)) if file else accepted

    async def _aside(self, said: Invocation) -> Message:
        """What a message menu does with a picture that no job of ours made."""
        named = [option for option in said.options.values() if hasattr(option, "read")]
        pictures = [*said.attachments, *named]
        if not pictures:
            raise Refusal(_NO_PICTURE)
        act = self._use if said.command == "use" else self._recipe
        return await act(said.person, pictures[0], said.language)

    async def _use(self, person: Person, attachment: Attachment, language: Language) -> Message:
        data = await attachment.read(self.settings.upload_bytes)
        picture = await self.tools.reader.read(data, attachment.name)
        blob = await self.tools.store.blobs.put(picture.png)
        await self.tools.store.people.set_last_input(person.id, blob)
        return Message("said", " ".join(words.of(language) for words in (_CHOSEN, *picture.notes)))

    async def _recipe(self, person: Person, attachment: Attachment, language: Language) -> Message:
        return recipe_message(await attachment.read(self.settings.upload_bytes), language)

    async def _safely(
        self, person: Person, hint: str, answer: Callable[[Language], Awaitable[Message]], what: str
    ) -> Message:
        """`answer` in the person's language, or a sentence about why not."""
        language: Language = self.settings.language
        try:
            language = await self.language_of(person, hint)
            message = await answer(language)
        except Refusal as refusal:
            form = refusal.command if isinstance(refusal, Incomplete) else ""
            message = Message("refused", refusal.words.of(language), command=form, form=form)
        except Full:
            log.error("the disk is full; %s asked for %s", person.id, what)
            message = Message("failed", _FULL.of(language), facts={"code": "disk"})
        except Exception:
            id = secrets.token_hex(4)
            log.exception("bug %s: %s asked for %s", id, person.id, what)
            message = Message("failed", _BUG(id=id).of(language), facts={"code": "error", "id": id})
        return dataclasses.replace(message, text=harmless(message.text))


_CHOSEN = Words(
    "This picture is your next input: say for instance `/img2img` without a photo.",
    "이 그림을 다음 입력으로 쓰겠습니다. 예를 들어 사진 없이 `/img2img` 를 입력해 주십시오.",
)
_NO_PICTURE = Words("There is no picture in this message.", "이 메시지에는 그림이 없습니다.")
_FULL = Words(
    "The studio's disk is full, so nothing can be accepted now. Please tell an administrator.",
    "작업실의 디스크가 가득 차서 지금은 요청을 받을 수 없습니다. 관리자에게 알려 주십시오.",
)
_BUG = Words(
    "Something went wrong that we did not expect. Please tell an administrator this id: `{id}`.",
    "예상하지 못한 문제가 생겼습니다. 관리자에게 이 번호를 알려 주십시오: `{id}`.",
)
