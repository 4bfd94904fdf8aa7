"""What the buttons of a trained model do: under the training's answer, and under the model's details."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from PIL import Image

from bot.commands.command import Tools
from bot.grammar import unparse
from bot.locale.markup import block
from bot.models import listing as model_list
from bot.models.acts import Act
from bot.models.shelf import Shelf
from bot.orders import Order, Orders
from bot.talk import Message, Press
from engines.models.catalogue import INPAINT, Model
from engines.requests import Compare, Train, Txt2Img
from engines.words import Refusal, Words

ACTIONS = ("try", "compare", "download", "scrap", "scrapped")


@dataclass(frozen=True, slots=True)
class ModelPresses:
    tools: Tools
    orders: Orders

    async def answer(self, press: Press) -> Message:
        """Raises `Refusal`, also where the presser may not see the model."""
        shelf = Shelf(self.tools, press)
        visible = {model.name: model for model in await shelf.models()}
        row = await self.tools.store.models.of_job(press.job)
        if row is None or row.name not in visible:
            raise Refusal(_GONE(id=press.job))
        act = Act(shelf, press.person, press.place, press.language, visible[row.name])
        match press.action:
            case "try":
                return await self._try(press, act.model)
            case "compare":
                return await self._compare(press, act.model)
            case "download":
                return await act.download(max(1, press.index))
            case "scrap":
                return await act.ask()
        return await act.delete()

    async def _try(self, press: Press, model: Model) -> Message:
        """A form with model and prompt filled in; where there is no such thing, a line to copy."""
        card = await asyncio.to_thread(model_list.card_of, model)
        taught = [str(c.get("instance_prompt") or "") for c in model_list.concepts(card)]
        prompt = next((text for text in taught if text), "…")
        command = INPAINT if INPAINT in model.kinds and _defects(model, card) else "txt2img"
        given = {"model": model.name, "prompt": prompt}
        words = unparse(Txt2Img.fill(given)[0]).removeprefix("/txt2img ")
        line = (
            f"/inpaint image:@photo.png mask:@mask.png {words}" if command == INPAINT else f"/txt2img {words}"
        )
        told = (_TRY_INPAINT if command == INPAINT else _TRY).of(press.language)
        message = Message("said", f"{told}\n{block(line)}", facts={"line": line})
        return replace(message, form=command, given=given) if press.forms else message

    async def _compare(self, press: Press, model: Model) -> Message:
        """The base against the model, on a good photo of the training where the model inpaints."""
        if not model.base:
            raise Refusal(_NO_BASE(name=model.name))
        request = Compare(models=f"{model.base}, {model.name}")
        if "txt2img" not in model.kinds:
            found = await self._photo(press.job)
            if found is None:
                raise Refusal(_PHOTO(base=model.base, name=model.name))
            request = replace(request, image=found[0], mask=found[1])
        await self.orders.check(press.person)
        settled, notes = await self.orders.settled(request, press)
        order = Order(press.key, press.person, press.place, press.language, settled, notes)
        return await self.orders.place(order)

    async def _photo(self, number: int) -> tuple[str, str] | None:
        """A good photo of the training and a defect's mask of the same size, if they are still stored."""
        job = await self.tools.store.jobs.get(number)
        concepts: tuple[dict[str, Any], ...] = ()
        if job is not None and job.command == Train.name:
            concepts = Train.from_json(job.request).concepts
        return await asyncio.to_thread(_fitting, concepts, self.tools.store.blobs.path)


def _fitting(concepts: tuple[dict[str, Any], ...], path: Any) -> tuple[str, str] | None:
    for concept in concepts:
        masks = [image["mask"] for image in concept.get("images", ()) if image.get("mask")]
        photos = [*concept.get("normals", ()), *(image["image"] for image in concept.get("images", ()))]
        sizes = {blob: _size(path(blob)) for blob in (*masks[:20], *photos[:20])}
        for photo in photos[:20]:
            for mask in masks[:20]:
                if sizes[photo] is not None and sizes[photo] == sizes[mask]:
                    return photo, mask
    return None


def _size(path: Path) -> tuple[int, int] | None:
    """From the header of a PNG that we wrote ourselves."""
    try:
        with Image.open(path, formats=("PNG",)) as picture:
            return picture.size
    except OSError:
        return None


def _defects(model: Model, card: dict[str, Any]) -> bool:
    """Whether it is best tried on a photo: made for holes only, or taught with masks."""
    return "txt2img" not in model.kinds or card.get("mode") not in (None, "normal")


_GONE = Words(
    "The model of #{id} is no longer here. `/models` lists what there is.",
    "#{id} 작업의 모델이 더 이상 없습니다. `/models` 로 목록을 볼 수 있습니다.",
)
_TRY = Words("Say this to try it:", "이렇게 입력하면 써 볼 수 있습니다:")
_TRY_INPAINT = Words(
    "Say this with a photo and a mask attached (white = change) to try it:",
    "사진과 마스크(흰색 = 바꿀 곳)를 첨부하여 이렇게 입력하면 써 볼 수 있습니다:",
)
_NO_BASE = Words(
    "`{name}` does not say what it was made from. Name two models: `/compare models:…,{name}`.",
    "`{name}`에는 원본 모델이 적혀 있지 않습니다. 두 모델을 적어 주십시오: `/compare models:…,{name}`.",
)
_PHOTO = Words(
    "The training's photos are no longer stored. Say `/compare models:{base},{name}` with a photo and a mask attached.",
    "학습에 쓴 사진이 더 이상 저장되어 있지 않습니다. 사진과 마스크를 첨부하여 `/compare models:{base},{name}` 라고 "
    "입력해 주십시오.",
)
