"""What someone said → a checked form: names understood, attachments read, pictures and masks stored.

Everything cheap is refused before anything is downloaded, and everything is refused before anything is promised.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bot import grammar
from bot.archives.pairing import looks_like_mask
from bot.commands.command import Tools
from bot.commands.preset import with_preset
from bot.locale.markup import cut
from bot.many.batches import Batches, Sent, is_archive
from bot.masks.outlined import outlined
from bot.menu import form_named
from bot.talk import Attachment, Invocation, Person
from engines.forms import Form
from engines.requests import Request
from engines.words import Refusal, Words

ATTACHED = "@"  # stands for a picture until it is read and stored


class Incomplete(Refusal):
    """Something needed was not said; a platform that can opens the form of `command`."""

    def __init__(self, words: Words, command: str) -> None:
        super().__init__(words)
        self.command = command


@dataclass(frozen=True, slots=True)
class Heard:
    """A saying with its attachments in their fields."""

    form: type[Form]
    values: dict[str, Any]  # field → what was said in words
    files: dict[str, Attachment]  # field → what was attached
    spare: tuple[Attachment, ...] = ()  # attachments that have no place in this form
    many: Sent | None = None  # many pictures for the picture field, and their masks
    complete: bool = False  # as in `Invocation`


def gather(said: Invocation) -> Heard:
    """Which command, which values, which file where. Raises `Refusal`."""
    if said.command:
        form = form_named(said.command)
        filled, files, several = _options(said)
        many = {name: more for name, more in several.items() if form.params()[name].kind in grammar.MANY}
        spare = (one for name, more in several.items() if name not in many for one in more)
        placed = _placed(form, filled, files, (*said.attachments, *spare), many)
        return dataclasses.replace(placed, complete=said.complete)
    spoken = grammar.read(said.text)
    values: dict[str, Any] = dict(spoken.values)
    named = dict(spoken.files)
    for name, text in spoken.values.items():  # `mask:mask.png`, the @ forgotten
        kind = spoken.form.params()[name].kind
        if kind in ("mask", "archive") and any(a.name == text for a in said.attachments):
            named[name] = values.pop(name)
    free = list(said.attachments)
    files = {field: _attached(name, free, said.attachments) for field, name in named.items()}
    more = {
        field: [_attached(n, free, said.attachments) for n in names] for field, names in spoken.more.items()
    }
    for name in spoken.loose:
        _attached(name, free, said.attachments)
    return _placed(spoken.form, values, files, said.attachments, more)


def _options(
    said: Invocation,
) -> tuple[dict[str, Any], dict[str, Attachment], dict[str, Sequence[Attachment]]]:
    """Values, files, and what came beside the first file of a field that was given several."""
    form = form_named(said.command)
    more: dict[str, Sequence[Attachment]] = {}
    values: dict[str, Any] = {}
    files: dict[str, Attachment] = {}
    free = list(said.attachments)
    for name, value in said.options.items():
        field = form.field_named(name)
        if value is None or isinstance(value, bool | int | float):
            values[field] = value
        elif isinstance(value, list | tuple):
            files[field] = value[0]
            more |= {field: value[1:]} if len(value) > 1 else {}
        elif not isinstance(value, str):
            files[field] = value
        elif value.startswith("@") and form.params()[field].kind in grammar.FILES:
            files[field] = _attached(value[1:], free, said.attachments)
        else:
            values[field] = value
    return values, files, more


def _attached(name: str, free: list[Attachment], all: Sequence[Attachment]) -> Attachment:
    """The attachment called `name`, taken from `free`: phones give several the same name. One that is taken
    already may be meant twice, as photo and as mask."""
    folded = name.casefold()
    for several in (free, all):
        for known in (name, folded, Path(folded).name):
            for found in several:
                if known in (found.name, found.name.casefold(), Path(found.name.casefold()).name):
                    if found in free:
                        free.remove(found)
                    return found
    attached = ", ".join(cut(a.name, 40) for a in all)
    raise Refusal(_NOT_ATTACHED(name=cut(name, 60)) + (_THESE(names=attached) if attached else _NONE))


def _placed(
    form: type[Form],
    values: dict[str, Any],
    files: dict[str, Attachment],
    attachments: Sequence[Attachment],
    more: Mapping[str, Sequence[Attachment]] | None = None,
) -> Heard:
    """Attachments without a name go to the picture fields that are free, in the order of the form.

    Where there are more than fields, or an archive, they are many pictures for one field.
    """
    more = more or {}
    taken = [*files.values(), *(one for several in more.values() for one in several)]
    spare: list[Attachment] = []
    for attachment in attachments:
        if not any(attachment is one for one in (*taken, *spare)):
            spare.append(attachment)
    fields: dict[str, str] = {
        p.kind: name for name, p in reversed(form.params().items()) if p.kind in grammar.FILES
    }
    if sent := _many(fields, values, files, spare, more):
        first = sent.photos[0]
        return Heard(form, values, {**files, fields["picture"]: first}, many=sent)
    for name, p in form.params().items():
        if spare and p.kind in grammar.FILES and name not in files:
            files[name] = spare.pop(0)
    beside = [one for several in more.values() for one in several]  # photos given where an archive may be
    return Heard(form, values, files, (*beside, *spare))


def _many(
    fields: Mapping[str, str],
    values: Mapping[str, Any],
    files: Mapping[str, Attachment],
    spare: Sequence[Attachment],
    more: Mapping[str, Sequence[Attachment]],
) -> Sent | None:
    """What was sent as many pictures; None where each file has a field of its own.

    A photo and a mask that say so by their names are told apart here too, whichever came first.
    """
    if "picture" not in fields:
        return None
    picture, mask = fields["picture"], fields.get("mask", "")
    photos = [*([files[picture]] if picture in files else []), *more.get(picture, ()), *spare]
    masks = [*([files[mask]] if mask in files else []), *more.get(mask, ())]
    free = [name for name in (picture, mask) if name and name not in files and not values.get(name)]
    pair = (
        len(spare) == 2 and len(free) == 2 and looks_like_mask(spare[0].name) > looks_like_mask(spare[1].name)
    )
    several = bool(more) or len(spare) > len(free) or any(is_archive(a) for a in (*photos, *masks)) or pair
    return Sent(tuple(photos), tuple(masks)) if several and photos else None


@dataclass(frozen=True, slots=True)
class Intake:
    """Reads and stores what came with a saying."""

    tools: Tools

    async def filled(self, heard: Heard, person: Person) -> tuple[Form, tuple[Words, ...]]:
        """The form with all its words checked; pictures still stand as `ATTACHED` or as a stored blob.

        Raises `Incomplete` where something needed is missing, else `Refusal`.
        """
        form, values = heard.form, dict(heard.values)
        of_preset: tuple[Words, ...] = ()
        if issubclass(form, Request):
            values, of_preset = await with_preset(self.tools, person.id, form, values, heard.complete)
        values |= dict.fromkeys(heard.files, ATTACHED)
        params = form.params()
        notes: list[Words] = [_UNUSED(name=cut(a.name, 60), command=form.name) for a in heard.spare]
        for name, p in params.items():
            if p.kind == "picture" and (p.required or name in heard.files):
                stored = None if name in heard.files else await self._chosen(person)
                values[name] = values[name] if name in heard.files else stored
                notes += [_CHOSEN] if stored else []
        missing = [n for n, p in params.items() if p.required and values.get(n) in (None, "")]
        try:
            filled, told = form.fill(values)
        except Refusal as refusal:
            if missing:
                raise Incomplete(refusal.words, form.name) from None
            raise
        return filled, (*notes, *of_preset, *told)

    async def stored(self, request: Request, heard: Heard) -> tuple[Request, tuple[Words, ...]]:
        """The request with its pictures read, checked and stored. Raises `Refusal`."""
        if heard.many is not None:
            spec = next(
                (str(heard.values.get(n) or "") for n, p in request.params().items() if p.kind == "mask"), ""
            )
            return await Batches(self.tools).stored(request, heard.many, spec)
        notes: list[Words] = []
        changed: dict[str, Any] = {}
        photo: bytes | Path | None = None
        for name, p in request.params().items():
            if p.kind == "picture" and name in heard.files:
                picture = await self._picture(heard.files[name])
                changed[name] = await self.tools.store.blobs.put(picture.png)
                photo = picture.png
                notes += picture.notes
            elif p.kind == "picture" and getattr(request, name):
                photo = self.tools.store.blobs.path(getattr(request, name))
            elif p.kind == "mask" and photo is not None:
                changed[name] = await self._mask(request, name, photo, heard, notes)
        return dataclasses.replace(request, **changed), tuple(notes)

    async def _picture(self, attachment: Attachment) -> Any:
        data = await attachment.read(self.tools.settings.upload_bytes)
        return await self.tools.reader.read(data, attachment.name)

    async def _mask(
        self, request: Request, name: str, photo: bytes | Path, heard: Heard, notes: list[Words]
    ) -> str:
        """The stored mask, whichever way it was given; sentences about it go to `notes`."""
        spec = str(heard.values.get(name) or "")
        given = heard.files.get(name)
        data = await given.read(self.tools.settings.upload_bytes) if given else None
        try:
            outline = await outlined(self.tools, photo, spec)
            mask = await self.tools.reader.mask(
                photo,
                spec,
                data,
                given.name if given else "mask",
                outline,
                grow=getattr(request, "grow", 0),
                invert=getattr(request, "invert", False),
            )
        except Refusal as refusal:
            if not spec and given is None:
                raise Incomplete(refusal.words, request.name) from None
            raise
        if mask.share == 1 and getattr(request, "invert", False):
            raise Refusal(_NOTHING_LEFT)
        notes += mask.notes
        return await self.tools.store.blobs.put(mask.png)

    async def _chosen(self, person: Person) -> str | None:
        """The picture that "Use as input" chose, if it is still there."""
        blob = await self.tools.store.people.last_input(person.id)
        return blob if blob and self.tools.store.blobs.path(blob).exists() else None


_NOTHING_LEFT = Words(
    "The mask is white everywhere, so with `invert:yes` nothing would change. Leave `invert` out.",
    "마스크가 전부 흰색이라서 `invert:yes` 를 쓰면 바뀌는 곳이 없습니다. `invert` 를 빼 주십시오.",
)
_NOT_ATTACHED = Words("There is no attachment called “{name}”.", "“{name}”(이)라는 첨부 파일이 없습니다.")
_THESE = Words("Attached: {names}.", "첨부된 파일: {names}.")
_NONE = Words("Nothing is attached.", "첨부된 파일이 없습니다.")
_UNUSED = Words(
    "The attachment “{name}” was not used: /{command} has no place for it.",
    "첨부 파일 “{name}”은(는) 사용하지 않았습니다. /{command}에는 넣을 곳이 없습니다.",
)
_CHOSEN = Words(
    "The photo is the one you chose with “Use as input”; attach another to use that instead.",
    "“입력으로 쓰기”로 고르신 사진을 사용했습니다. 다른 사진을 쓰시려면 첨부해 주십시오.",
)
