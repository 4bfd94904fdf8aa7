"""From `/train` to a promise: the data read, a draft kept and reviewed, and started when its owner says so."""

from __future__ import annotations

import asyncio
import dataclasses
from dataclasses import dataclass
from typing import Any

from bot.commands.command import Tools
from bot.datasets.given import given
from bot.datasets.layouts import reworded_concepts, understood
from bot.datasets.reading import Reading, Understood
from bot.intake import Heard, Incomplete, Intake
from bot.locale.markup import block
from bot.models.shelf import Asker, Shelf
from bot.orders import Order, Orders
from bot.talk import Invocation, Message, Person, Press
from bot.training.words import UNCHANGED, described, facts, line, made_first, step_seconds
from bot.training.words import given as given_fields
from engines.models.known import TXT2IMG
from engines.training.bases import HOLES, PICTURES, misfit
from engines.training.request import Train, check_name
from engines.training.review import Review
from engines.words import Refusal, Words
from storage.drafts import Draft
from storage.jobs import Job


@dataclass(frozen=True, slots=True)
class Trainings:
    tools: Tools
    intake: Intake
    orders: Orders

    async def hear(self, said: Invocation, heard: Heard) -> Message:
        """What the data was understood as, on its way to a review; or the training itself, where it is to start
        at once. Raises `Refusal`."""
        draft = await self._draft(heard.values.get("draft"), said.person)
        values = _changed(draft, heard.values) if draft else heard.values
        given_files = [*heard.files.values(), *heard.spare]
        plain = dataclasses.replace(heard, values=values, spare=())
        form, notes = await self.intake.filled(plain, said.person)
        assert isinstance(form, Train)
        await self.orders.check(said.person)
        settled, told = await self.orders.settled(form, said)
        await self._based(settled, said)
        await self._free(settled.save_as)
        if given_files or form.dataset.startswith("folder:"):
            data = await self._read(said.person, form, given_files)
        elif draft:
            data = _again(draft, form)
        else:
            raise Incomplete(_NO_DATA, Train.name)
        train = dataclasses.replace(settled, concepts=data.concepts, **_blank())
        notes = tuple(dict.fromkeys((*notes, *told, *data.notes, *made_first(train))))
        if form.start or (not said.attended and "start" not in heard.values):
            return await self._started(said, train, notes, draft)
        return await self._reviewed(said, train, notes, data.sheet, draft)

    async def start(self, press: Press, job: Job) -> Message:
        """The button under a review."""
        draft = await self._of_review(press, job)
        train = Train.from_json(draft.request)
        await self._free(train.save_as)
        # pressed twice, or the bot died in between: one training a draft
        order = Order(
            f"draft:{draft.id}", press.person, press.place, press.language, train, tuple(_words(draft.notes))
        )
        answer = await self.orders.place(order)
        await self.tools.store.drafts.started(draft.id, self.tools.clock())
        return answer

    async def change(self, press: Press, job: Job) -> Message:
        """What can be changed, in a form where the platform has one."""
        draft = await self._of_review(press, job)
        train = Train.from_json(draft.request)
        fields = given_fields(train, draft.id)
        text = f"{_CHANGE(id=draft.id).of(press.language)}\n{block(line(train, draft.id))}"
        return Message("said", text, command=Train.name, form=Train.name, given=fields)

    async def discard(self, press: Press, job: Job) -> Message:
        draft = await self._of_review(press, job)
        await self.tools.store.drafts.dropped(draft.id, self.tools.clock())
        await self.tools.outbox.take_back(job.id)
        return Message("said", _DROPPED(id=draft.id).of(press.language))

    async def _started(
        self, said: Invocation, train: Train, notes: tuple[Words, ...], draft: Draft | None
    ) -> Message:
        """Straight into the queue: nobody is there to press a button, or it was asked for."""
        told = (*described(train), *notes, _AT_ONCE)
        order = Order(said.key, said.person, said.place, said.language, train, told)
        answer = await self.orders.place(order)
        if draft:
            await self.tools.store.drafts.started(draft.id, self.tools.clock())
        return dataclasses.replace(answer, facts={**answer.facts, **facts(train)})

    async def _reviewed(
        self, said: Invocation, train: Train, notes: tuple[Words, ...], sheet: str, draft: Draft | None
    ) -> Message:
        """A draft, and the job that shows it."""
        drafts, now = self.tools.store.drafts, self.tools.clock()
        pairs = [[note.en, note.ko] for note in notes]
        values: dict[str, Any] = {"request": train.to_json(), "notes": pairs, "sheet": sheet, "now": now}
        values["blobs"] = train.blobs
        kept = await drafts.change(draft.id, **values) if draft else None
        if kept is None:
            kept = await drafts.add(person=said.person.id, place=said.place.to_json(), **values)
        lately = step_seconds(train, await self.tools.store.jobs.lately(Train.name, 20)) or 0.0
        review = Review(draft=kept.id, sheet=sheet, step_seconds=lately, train=train.to_json())
        told = (*described(train), *notes)
        order = Order(said.key, said.person, said.place, said.language, review, told)
        answer = await self.orders.place(order)
        await drafts.reviewed(kept.id, answer.job)
        return dataclasses.replace(answer, facts={**answer.facts, **facts(train), "draft": kept.id})

    async def _read(self, person: Person, form: Train, attachments: list[Any]) -> Understood:
        async with given(self.tools, person, form.dataset, attachments) as files:
            if files.loose and not form.prompts:
                raise Incomplete(_NO_PROMPT, Train.name)
            title = files.title or form.save_as
            layout = await asyncio.to_thread(
                understood, files.sources, title, only=form.only, prompts=form.prompts
            )
            read = await Reading(self.tools.reader, self.tools.store.blobs).read(layout.concepts)
            return dataclasses.replace(read, notes=(*layout.notes, *read.notes))

    async def _draft(self, number: Any, person: Person) -> Draft | None:
        """The draft that is to be changed. Raises `Refusal`."""
        said = str(number or "").strip("# ")
        if said in ("", "0"):
            return None
        draft = await self.tools.store.drafts.get(int(said)) if said.isdecimal() and len(said) < 16 else None
        if draft is None or (draft.person != person.id and not person.admin):
            raise Refusal(_NO_DRAFT(id=said[:20]))
        if draft.state != "open":
            raise Refusal(_OVER[draft.state](id=draft.id))
        return draft

    async def _of_review(self, press: Press, job: Job) -> Draft:
        """The draft that a review shows, where it is the person's own and still as shown. Raises `Refusal`."""
        number = int(job.request.get("draft") or 0)
        draft = await self.tools.store.drafts.get(number)
        if draft is None:
            raise Refusal(_NO_DRAFT(id=number))
        if draft.person != press.person.id and not press.person.admin:
            raise Refusal(_NOT_YOURS)
        if draft.state != "open":
            raise Refusal(_OVER[draft.state](id=draft.id))
        if job.request.get("train") != draft.request:
            raise Refusal(_CHANGED_SINCE(id=draft.id, review=draft.review))
        return draft

    async def _based(self, train: Train, by: Asker) -> None:
        """Raise `Refusal` where its mode cannot start from its base: told now rather than by the device."""
        model = await Shelf(self.tools, by).find(train.model, train.model_kind)
        channels = PICTURES if TXT2IMG in model.kinds else HOLES
        if wrong := misfit(train.mode, model.name, channels, lora=model.lora):
            raise Refusal(wrong)

    async def _free(self, name: str) -> None:
        """Raise `Refusal` where a model cannot be called so, or one is already."""
        check_name(name)
        models = await asyncio.to_thread(self.tools.models)
        short = {model.name.rpartition("/")[2].casefold() for model in models}
        if name.casefold() in short | {model.name.casefold() for model in models}:
            raise Refusal(_TAKEN(name=name))


def _changed(draft: Draft, said: dict[str, Any]) -> dict[str, Any]:
    """The draft's own values, and over them what is said now."""
    known = Train.params()
    before = {k: v for k, v in draft.request.items() if k in known and k not in UNCHANGED and v is not None}
    if said.get("epochs"):
        before.pop("steps", None)
    if said.get("steps"):
        before.pop("epochs", None)
    return {**before, **{k: v for k, v in said.items() if v not in (None, "")}}


def _again(draft: Draft, form: Train) -> Understood:
    """The draft's own pictures, with other words where there are some."""
    concepts = reworded_concepts(Train.from_json(draft.request).concepts, form.only, form.prompts)
    return Understood(concepts, tuple(_words(draft.notes)), draft.sheet)


def _words(notes: list[list[str]]) -> list[Words]:
    return [Words(en, ko) for en, ko in notes]


def _blank() -> dict[str, Any]:
    """What is about the giving alone, as if it had not been said."""
    return {"dataset": "", "prompts": "", "only": "", "draft": 0, "start": False}


_NO_DATA = Words(
    "A training needs a `dataset`: a zip (MVTec AD layout, concepts_list.json, or photos and masks), or photos "
    "and their masks attached.",
    "학습에는 `dataset`이 필요합니다. zip 파일(MVTec AD 구조, concepts_list.json, 또는 사진과 마스크)이나 사진과 "
    "마스크를 첨부해 주십시오.",
)
_NO_PROMPT = Words(
    "What do these photos show? Say it in `prompts`: "
    '`prompts:"a photo of a metal nut with a scratch | a photo of a metal nut"`.',
    "이 사진들이 무엇을 보여 주는지 `prompts`에 적어 주십시오: "
    '`prompts:"a photo of a metal nut with a scratch | a photo of a metal nut"`.',
)
_NO_DRAFT = Words(
    "There is no draft {id} of yours any more. Please give the data again.",
    "초안 {id}이(가) 더 이상 없습니다. 데이터를 다시 주십시오.",
)
_NOT_YOURS = Words(
    "This draft belongs to someone else; only they or an admin can start or change it.",
    "다른 사람의 초안이므로 본인이나 관리자만 시작하거나 바꿀 수 있습니다.",
)
_OVER = {
    "started": Words("Draft {id} was started already.", "초안 {id}은(는) 이미 시작되었습니다."),
    "dropped": Words("Draft {id} was cancelled.", "초안 {id}은(는) 취소되었습니다."),
}
_CHANGED_SINCE = Words(
    "Draft {id} was changed since; use the buttons under #{review}.",
    "초안 {id}은(는) 그 뒤에 바뀌었습니다. #{review} 메시지의 버튼을 써 주십시오.",
)
_TAKEN = Words(
    "There is a model called `{name}` already. Choose another name with `save_as:`.",
    "`{name}` 모델이 이미 있습니다. `save_as:`로 다른 이름을 골라 주십시오.",
)
_AT_ONCE = Words(
    "It starts at once, without a review (`start:no` shows one first).",
    "검토 없이 바로 시작합니다 (`start:no`로 하면 먼저 검토를 보여 줍니다).",
)
_CHANGE = Words(
    "Say what is to be different, for instance `/train draft:{id} steps:300`. As it is now:",
    "바꿀 내용을 적어 주십시오. 예: `/train draft:{id} steps:300`. 지금은 다음과 같습니다:",
)
_DROPPED = Words("Draft {id} is cancelled.", "초안 {id}을(를) 취소했습니다.")
