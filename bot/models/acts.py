"""What one may do with a model, by words or by a button."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass

from bot.locale.numbers import size
from bot.models import files as model_files
from bot.models import listing as model_list
from bot.models import shelf as shelves
from bot.models.buttons import after_training, confirmation, next_part
from bot.models.shelf import Shelf
from bot.talk import Message, Person, Place
from engines.models import trained
from engines.models.catalogue import Model
from engines.training.request import check_name
from engines.words import Language, Refusal, Words
from storage.models import EVERYBODY, Owned

HERE, ALL = ("here", "여기"), ("all", "everybody", "모두")


@dataclass(frozen=True, slots=True)
class Act:
    """Someone and a model that they may see."""

    shelf: Shelf
    person: Person
    place: Place
    language: Language
    model: Model

    async def details(self) -> Message:
        """All there is to say, the loss and samples as files, and buttons."""
        row = await self._row()
        base = await self._base()
        told = await asyncio.to_thread(model_list.details, self.model, row, base, self.language)
        text = told.of(self.language)
        if self.person.admin and self.model.path is not None:
            text += "\n" + _PATH(path=self.model.path).of(self.language)
        limits = self.shelf.tools.outbox.limits(self.place)
        files = await asyncio.to_thread(model_files.pictures, self.model, limits)
        buttons = after_training(row.job, self.language, own=self._may_change(row)) if row else ()
        facts = {"model": self.model.name, "files": [file.name for file in files]}
        return Message("said", text, buttons=buttons, files=files, facts=facts)

    async def rename(self, to: str) -> Message:
        row = await self._changeable()
        if not to:
            raise Refusal(_TO_WHAT(name=self.model.name))
        check_name(to)
        if to == self.model.name:
            raise Refusal(_SAME(name=to))
        await self._idle(row, running_only=True)
        await shelves.rename(self.shelf.tools, self.model, to)
        return self._say(_RENAMED(old=self.model.name, new=to), model=to)

    async def share(self, to: str, *, on: bool) -> Message:
        """With the place this is said in, or with everybody; or no longer so."""
        row = await self._changeable()
        if row is None:
            raise Refusal(_EVERYBODYS(name=self.model.name))
        said = to.strip().casefold() or HERE[0]
        if said not in (*HERE, *ALL):
            raise Refusal(_HERE_OR_ALL(said=to[:40]))
        scope = EVERYBODY if said in ALL else shelves.room(self.place)
        kept = [one for one in row.shared if one != scope]
        await self.shelf.tools.store.models.share(row.name, [*kept, scope] if on else kept)
        everybody = scope == EVERYBODY
        if on:
            return self._say((_SHARED_ALL if everybody else _SHARED_HERE)(name=row.name), model=row.name)
        still = EVERYBODY in kept and not everybody
        words = _STILL_ALL if still else _UNSHARED_ALL if everybody else _UNSHARED_HERE
        return self._say(words(name=row.name), model=row.name)

    async def ask(self) -> Message:
        """Deleting wants a second word."""
        row = await self._changeable()
        await self._idle(row)
        whole = size(self.model.size) if self.model.size else "?"
        message = _REALLY(name=self.model.name, size=whole)
        buttons = (confirmation(row.job, self.language),) if row else ()
        return Message("said", message.of(self.language), buttons=buttons, facts={"model": self.model.name})

    async def delete(self) -> Message:
        row = await self._changeable()
        await self._idle(row)
        loras = [m.name for m in await self.shelf.models() if m.lora and m.base == self.model.name]
        if loras:
            raise Refusal(_NEEDED(name=self.model.name, loras=", ".join(f"`{n}`" for n in loras[:5])))
        await shelves.delete(self.shelf.tools, self.model)
        return self._say(_DELETED(name=self.model.name), model=self.model.name)

    async def download(self, part: int = 1) -> Message:
        """The folder as a ZIP, in parts where one file is too much; admins are told the path as well."""
        model, tools = self.model, self.shelf.tools
        row = await self._row()
        if model.path is None or (row is None and not self.person.admin):
            raise Refusal(_NOT_TRAINED(name=model.name))
        where = _PATH(path=model.path).of(self.language) if self.person.admin else ""
        parcel = model_files.Parcel.of(model, tools.outbox.limits(self.place))
        if parcel is None:
            if not where:
                raise Refusal(_TOO_LARGE(name=model.name, size=size(model.size)))
            return Message("said", where, facts={"model": model.name, "path": str(model.path)})
        if part > parcel.messages:
            raise Refusal(_NO_PART(part=part, all=parcel.messages))
        files = await parcel.files(tools.store, part)
        text = [_HERE_IT_IS(name=model.name, size=size(parcel.size)).of(self.language)]
        if parcel.parts > 1:
            text.append(_IN_PARTS(part=part, all=parcel.messages, zip=f"{model.name}.zip").of(self.language))
        text += [where] if where else []
        buttons = (next_part(row.job, self.language, part + 1),) if row and part < parcel.messages else ()
        return Message("said", "\n".join(text), files=files, buttons=buttons, facts={"model": model.name})

    async def base(self, to: str) -> Message:
        """Name the base of a LoRA that came without one."""
        if not self.person.admin:
            raise Refusal(_ADMINS)
        if not self.model.lora or self.model.path is None:
            raise Refusal(_NO_LORA(name=self.model.name))
        found = await self.shelf.find(to) if to else None
        if found is None or found.lora:
            raise Refusal(_BASE_WHAT(name=self.model.name))
        await asyncio.to_thread(trained.change_card, self.model.path, {"base": found.name})
        return self._say(_BASE_SET(name=self.model.name, base=found.name), model=self.model.name)

    async def _row(self) -> Owned | None:
        return await self.shelf.tools.store.models.get(self.model.name)

    async def _base(self) -> Model | None:
        try:
            return await self.shelf.find(self.model.base) if self.model.base else None
        except Refusal:
            return None  # an architecture's name, or a model that has gone

    def _may_change(self, row: Owned | None) -> bool:
        return shelves.may_change(row, self.person)

    async def _changeable(self) -> Owned | None:
        row = await self._row()
        if not self._may_change(row):
            raise Refusal(_NOT_YOURS(name=self.model.name))
        return row

    async def _idle(self, row: Owned | None, *, running_only: bool = False) -> None:
        """Raise `Refusal` while an open job needs it; a renaming does not hurt those that only wait."""
        users = await self.shelf.tools.store.models.users((self.model.name, *self.model.formerly))
        if busy := [user for user in users if user.running or not running_only]:
            raise Refusal(_IN_USE(name=self.model.name, id=busy[0].job))

    def _say(self, words: Words, **facts: str) -> Message:
        return Message("said", words.of(self.language), facts=facts)


_PATH = Words("On the server: {path}", "서버의 위치: {path}")
_TO_WHAT = Words(
    "Say the new name: `/models action:rename model:{name} to:…`.",
    "새 이름을 적어 주십시오: `/models action:rename model:{name} to:…`.",
)
_SAME = Words("It is called `{name}` already.", "이미 `{name}`(이)라는 이름입니다.")
_RENAMED = Words(
    "`{old}` is called `{new}` now. Jobs that wait for it find it all the same.",
    "`{old}`의 이름을 `{new}`(으)로 바꾸었습니다. 이미 대기 중인 작업도 그대로 이 모델을 씁니다.",
)
_EVERYBODYS = Words(
    "`{name}` was not trained here, and everybody may use it already.",
    "`{name}`은(는) 여기서 학습한 모델이 아니며, 이미 모두가 쓸 수 있습니다.",
)
_HERE_OR_ALL = Words(
    "“{said}” is nobody a model can be shared with. Say `to:here` (this channel) or `to:all`.",
    "“{said}”와(과)는 공유할 수 없습니다. `to:here`(이 채널) 또는 `to:all`(모두)을 써 주십시오.",
)
_SHARED_ALL = Words("Everybody may use `{name}` now.", "이제 모두가 `{name}` 모델을 쓸 수 있습니다.")
_SHARED_HERE = Words(
    "The people of this channel may use `{name}` now.",
    "이제 이 채널의 사람들이 `{name}` 모델을 쓸 수 있습니다.",
)
_UNSHARED_ALL = Words(
    "`{name}` is no longer for everybody.", "`{name}` 모델을 더 이상 모두에게 공유하지 않습니다."
)
_UNSHARED_HERE = Words(
    "`{name}` is no longer shared with this channel.", "`{name}` 모델을 더 이상 이 채널에 공유하지 않습니다."
)
_STILL_ALL = Words(
    "`{name}` is no longer shared with this channel, but everybody may still use it: "
    "`/models action:unshare model:{name} to:all` ends that.",
    "이 채널 공유는 해제했지만 `{name}` 모델은 아직 모두가 쓸 수 있습니다. "
    "`/models action:unshare model:{name} to:all` 로 해제할 수 있습니다.",
)
_REALLY = Words(
    "Really delete `{name}` ({size})? It cannot be brought back. `/models action:delete model:{name} sure:yes` "
    "does it.",
    "`{name}`({size})을(를) 정말 삭제할까요? 되돌릴 수 없습니다. 삭제하려면 "
    "`/models action:delete model:{name} sure:yes` 라고 입력해 주십시오.",
)
_NEEDED = Words(
    "`{name}` is the base of {loras}; delete those first.",
    "`{name}`은(는) {loras}의 기반 모델입니다. 그 모델을 먼저 삭제해 주십시오.",
)
_DELETED = Words("`{name}` is deleted.", "`{name}` 모델을 삭제했습니다.")
_NOT_TRAINED = Words(
    "`{name}` was not trained here. Only trained models can be downloaded from a chat.",
    "`{name}`은(는) 여기서 학습한 모델이 아닙니다. 학습한 모델만 대화에서 내려받을 수 있습니다.",
)
_TOO_LARGE = Words(
    "`{name}` is too large for this chat ({size}). An administrator can say where it lies on the server.",
    "`{name}`은(는) 너무 커서({size}) 이 대화로 보낼 수 없습니다. 관리자가 서버에서의 위치를 알려 드릴 수 있습니다.",
)
_NO_PART = Words(
    "There is no part {part}; there are {all}.", "{part}번째 부분은 없습니다. 모두 {all}개입니다."
)
_HERE_IT_IS = Words("`{name}`, {size}.", "`{name}`, {size}.")
_IN_PARTS = Words(
    "Message {part} of {all}. Put the parts together in order: `cat {zip}.* > {zip}` "
    "(Windows: `copy /b {zip}.001+{zip}.002 {zip}`).",
    "{all}개 메시지 중 {part}번째입니다. 조각을 차례로 이어 붙여 주십시오: `cat {zip}.* > {zip}` "
    "(Windows: `copy /b {zip}.001+{zip}.002 {zip}`).",
)
_ADMINS = Words("Only an admin can do that.", "관리자만 할 수 있습니다.")
_NO_LORA = Words("`{name}` is no LoRA.", "`{name}`은(는) LoRA가 아닙니다.")
_BASE_WHAT = Words(
    "Say the base: `/models action:base model:{name} to:stable-diffusion-v1-5`. A LoRA cannot be a base.",
    "기반 모델을 적어 주십시오: `/models action:base model:{name} to:stable-diffusion-v1-5`. LoRA는 기반이 될 수 없습니다.",
)
_BASE_SET = Words("`{name}` is used on `{base}` now.", "이제 `{name}`을(를) `{base}` 위에서 씁니다.")
_NOT_YOURS = Words(
    "`{name}` is not yours; only its trainer or an admin can change it.",
    "`{name}`은(는) 다른 사람의 모델이므로 만든 사람이나 관리자만 바꿀 수 있습니다.",
)
_IN_USE = Words(
    "`{name}` is needed by job #{id}. Wait until it has ended, or `/cancel {id}`.",
    "#{id} 작업이 `{name}` 모델을 쓰고 있습니다. 작업이 끝나기를 기다리거나 `/cancel {id}` 로 취소해 주십시오.",
)
