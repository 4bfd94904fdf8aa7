"""Which models a person may see: everybody's, one's own, and those shared with the place one speaks in.

A folder that a training put in place gets its row here, at the first look: the folder is the truth, so a process that
dies between the two loses nothing, and nobody else sees the model meanwhile.
"""

from __future__ import annotations

import asyncio
import contextlib
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from bot.talk import Person, Place
from engines.models import catalogue, trained
from engines.models.catalogue import Model
from engines.words import Refusal, Words
from storage.models import EVERYBODY, Owned

if TYPE_CHECKING:
    from bot.commands.command import Tools


class Asker(Protocol):
    """Someone somewhere: a saying or a press."""

    @property
    def person(self) -> Person: ...

    @property
    def place(self) -> Place: ...


@dataclass(frozen=True, slots=True)
class Someone:
    """Who has said nothing yet."""

    person: Person
    place: Place


@dataclass(frozen=True, slots=True)
class Shelf:
    """The studio's models as one asker sees them. `by` None is nobody: what everybody may see."""

    tools: Tools
    by: Asker | None

    async def models(self) -> list[Model]:
        """Every model the asker may use."""
        found, hidden = await self._looked()
        return [model for model in found if model.name not in hidden]

    async def find(self, name: str, kind: str | None = None) -> Model:
        """The model the asker means. Somebody else's private one is unknown. Raises `Refusal`."""
        return catalogue.chosen(await self.models(), name, kind)

    async def hidden(self) -> set[str]:
        """Names of the models that the asker may not use."""
        _, hidden = await self._looked()
        return hidden

    async def owned(self) -> dict[str, Owned]:
        """The rows of trained models by name."""
        return {row.name: row for row in await self.tools.store.models.all()}

    async def _looked(self) -> tuple[list[Model], set[str]]:
        settings = self.tools.settings
        found = await asyncio.to_thread(catalogue.known, settings.models_folder, settings.model_paths)
        rows = await self._adopted(found, await self.owned())
        return found, {row.name for row in rows.values() if not may_use(row, self.by)}

    async def _adopted(self, models: list[Model], rows: dict[str, Owned]) -> dict[str, Owned]:
        """`rows`, with new ones for folders that a training has put in place."""
        store, added = self.tools.store, False
        for model in models:
            path = model.path
            if path is None or model.name in rows or path.parent != self.tools.settings.models_folder:
                continue
            told, written = await asyncio.to_thread(_card, path)
            made = (
                await store.models.training(trained.said(told, "name") or model.name, written)
                if told
                else None
            )
            if made is not None:
                job, owner, place = made
                await store.models.add(
                    model.name, owner=owner, place=place, shared=[room(place)], now=written, job=job
                )
                added = True
        return await self.owned() if added else rows


def room(place: dict[str, Any] | Place) -> str:
    """A place as its people see it: threads of a channel are one room. Private places are nobody else's."""
    known = Place.from_json(place) if isinstance(place, dict) else place
    return f"{known.platform} {known.guild} {known.channel}"


def may_use(row: Owned, by: Asker | None) -> bool:
    if EVERYBODY in row.shared:
        return True
    return by is not None and (by.person.admin or by.person.id == row.owner or room(by.place) in row.shared)


def may_change(row: Owned | None, person: Person) -> bool:
    """Rename, share, delete: the trainer's own; what nobody trained here is the admins'."""
    return person.admin or (row is not None and row.owner == person.id)


def _card(path: Path) -> tuple[dict[str, Any], float]:
    with contextlib.suppress(OSError, ValueError):
        return trained.card(path), trained.card_file(path).stat().st_mtime
    return {}, 0.0


async def rename(tools: Tools, model: Model, new: str) -> None:
    """The folder's name and the row's, so that at no moment anybody sees what they may not. Raises `Refusal`.

    The folder keeps its old name among its former ones: jobs in the queue find it by that.
    """
    path = model.path
    folder = tools.settings.models_folder
    if path is None or folder is None or path.parent != folder:
        raise Refusal(_NOT_OURS(name=model.name))
    target = path.with_name(new if path.is_dir() else new + path.suffix)
    known = await asyncio.to_thread(catalogue.known, folder, tools.settings.model_paths)
    taken = {alias for other in known if other.name != model.name for alias in catalogue.spellings(other)}
    if new.casefold() in taken or (target.exists() and not _same(target, path)):
        raise Refusal(_TAKEN(name=new))
    former = [name for name in dict.fromkeys((*model.formerly, model.name)) if name != new]
    await asyncio.to_thread(trained.change_card, path, {"formerly": former})
    await tools.store.models.copy(model.name, new)
    await asyncio.to_thread(_move, path, target)
    await tools.store.models.delete(model.name)


def _same(one: Path, other: Path) -> bool:
    """Another spelling of one name, where the disk does not tell A from a."""
    return one.samefile(other)


def _move(path: Path, target: Path) -> None:
    card = trained.card_file(path)
    path.rename(target)
    if target.is_file() and card.is_file():
        card.rename(trained.card_file(target))


async def delete(tools: Tools, model: Model) -> None:
    """The folder first: it is the truth. Gone from the list at once, however long its files take."""
    path = model.path
    folder = tools.settings.models_folder
    if path is None or folder is None or path.parent != folder:
        raise Refusal(_NOT_OURS(name=model.name))
    await asyncio.to_thread(_remove, path)
    await tools.store.models.delete(model.name)


def _remove(path: Path) -> None:
    if path.is_file():
        trained.card_file(path).unlink(missing_ok=True)
        path.unlink()
        return
    aside = path.with_name(f".deleted-{path.name}")
    shutil.rmtree(aside, ignore_errors=True)
    path.rename(aside)
    shutil.rmtree(aside, ignore_errors=True)


_NOT_OURS = Words(
    "`{name}` does not lie in the studio's models folder, so it cannot be changed from here.",
    "`{name}`은(는) 작업실의 모델 폴더에 있지 않아 여기서 바꿀 수 없습니다.",
)
_TAKEN = Words(
    "There is a model called `{name}` already. Choose another name.",
    "`{name}`(이)라는 모델이 이미 있습니다. 다른 이름을 정해 주십시오.",
)
