"""The nouns of the chat: what someone said, where to answer, what we say, and what a platform must do."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, Protocol, Self

from engines.words import Language

if TYPE_CHECKING:
    from bot.desk import Desk


@dataclass(frozen=True, slots=True)
class Person:
    """Who speaks. `id` is unique over platforms: `discord:81384788765712384`, `slack:T1:U2`, `console:kim`."""

    id: str
    name: str
    admin: bool = False
    groups: tuple[str, ...] | None = ()  # Discord role ids, Slack user group ids; None: not told here
    roles: tuple[str, ...] = ()  # the studio's, by name; set by the desk, like the department
    department: str = ""


@dataclass(frozen=True, slots=True)
class Place:
    """Where to answer; survives a restart, so it never holds a token that expires."""

    platform: str
    channel: str
    thread: str = ""
    guild: str = ""  # Discord server or Slack workspace
    private: bool = False  # a direct message

    def to_json(self) -> dict[str, Any]:
        return dataclasses.asdict(self)

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Self:
        return cls(**data)


class Attachment(Protocol):
    """A file someone sent. Nothing about it is to be believed; `name` and `size` are claims."""

    @property
    def name(self) -> str: ...

    @property
    def size(self) -> int: ...

    async def read(self, limit: int) -> bytes:
        """The bytes; `engines.words.Refusal` when there are more than `limit`, or the file cannot be had."""
        ...

    async def save(self, path: Path, limit: int) -> None:
        """The bytes in a new file at `path`, streamed; raises as `read` does, and `storage.Full`."""
        ...


@dataclass(frozen=True, slots=True)
class Invocation:
    """What someone said, from any platform.

    Either `text` (grammar: `/inpaint image:@a.png …`) or `command` with `options` (slash options, a modal).
    An option whose value is an `Attachment` is a picture; in text, `@name` means the attachment of that name.
    """

    key: str  # unique for this saying; the same key again is the same saying, delivered twice
    person: Person
    place: Place
    language: Language
    text: str = ""
    command: str = ""
    options: Mapping[str, Any] = field(default_factory=dict)
    complete: bool = False  # from a form that showed all fields: one at its default may be nobody's choice
    attachments: tuple[Attachment, ...] = ()
    attended: bool = True  # False where nobody can press a button under the answer


Action = Literal[
    "cancel",
    "reroll",
    "vary",
    "use",
    "recipe",
    "delete",
    "show",
    "rerun",
    "bookmark",
    "page",
    "overlay",
    "invert",
    "pick",
    "totext",
    "toimage",
    "toinpaint",
    "start",
    "change",
    "discard",
    "pause",
    "resume",
    "try",
    "compare",
    "download",
    "scrap",
    "scrapped",
]


@dataclass(frozen=True, slots=True)
class Button:
    """A button under a message. It works after a restart: all it means is in its id."""

    action: Action
    job: int
    label: str
    index: int = 0  # which picture, where it matters
    danger: bool = False

    @property
    def id(self) -> str:
        """≤ 100 characters, the same on every platform: `ds:cancel:42:0`."""
        return f"ds:{self.action}:{self.job}:{self.index}"


@dataclass(frozen=True, slots=True)
class Option:
    """One thing to choose. ≤ 75 characters are shown everywhere."""

    label: str
    value: str
    chosen: bool = False


@dataclass(frozen=True, slots=True)
class Choices:
    """Things of which a person may choose some: a menu or boxes to tick under a message, the best first.

    A platform shows as many as it can (Discord 25, Slack 10). `id` is of the form of a button's; where a choice
    reaches us by itself it is a `Press` of that action with the values.
    """

    id: str
    placeholder: str
    options: tuple[Option, ...]
    most: int = 25


@dataclass(frozen=True, slots=True)
class Press:
    """Someone pressed a button, or chose something."""

    key: str
    person: Person
    place: Place
    language: Language
    action: str
    job: int
    index: int = 0
    values: tuple[str, ...] = ()  # of `Choices`: what is chosen now
    forms: bool = False  # whether the platform can answer by opening a form that is filled in already


@dataclass(frozen=True, slots=True)
class File:
    """A file to show or send; on disk and complete."""

    path: Path
    name: str
    alt: str = ""  # what it shows, in words
    spoiler: bool = False

    @property
    def is_picture(self) -> bool:
        return self.name.lower().endswith((".png", ".jpg", ".jpeg", ".gif", ".webp"))


@dataclass(frozen=True, slots=True)
class Bar:
    step: int
    total: int
    eta: float | None = None  # seconds


Kind = Literal["accepted", "progress", "finished", "failed", "refused", "said"]


@dataclass(frozen=True, slots=True)
class Message:
    """What we say. `text` is plain words with light Markdown (`**bold**`, `` `code` ``); platforms escape the rest.

    `kind`, `job`, `command`, `bar` and `facts` say the same to programs (`exec --json`) and to platforms that
    draw their own progress bar.
    """

    kind: Kind
    text: str
    job: int = 0
    command: str = ""
    files: tuple[File, ...] = ()
    buttons: tuple[Button, ...] = ()
    bar: Bar | None = None
    preview: bytes | None = None  # a small picture of a run so far
    mention: str = ""  # the `Person.id` to notify, and nobody else
    private: bool = True  # for the asker's eyes where the platform can do that
    form: str = ""  # a command whose form should be opened for the person (Slack modal), if the platform can
    given: Mapping[str, str] = field(default_factory=dict)  # what stands in that form already
    choices: Choices | None = None
    facts: Mapping[str, Any] = field(default_factory=dict)  # JSON values for `exec --json`


@dataclass(frozen=True, slots=True)
class Limits:
    """What a platform can carry."""

    file_bytes: int  # largest single file
    files: int  # most files in one message
    message_bytes: int  # all files of one message together
    edit_every: float  # seconds between two edits of one message, at least
    text: int  # characters
    edit_age: float = float("inf")  # seconds after which a message is answered anew instead of edited


class Gone(Exception):
    """The message, channel or workspace is no more, or closed to us: there is no use in trying again."""


class Unreachable(Exception):
    """The platform could not be reached or answered with an error; try again later.

    `uncertain` is True when what was asked may have been done all the same.
    """

    def __init__(self, why: str, *, retry_after: float = 0.0, uncertain: bool = False) -> None:
        super().__init__(why)
        self.retry_after = retry_after
        self.uncertain = uncertain


class TooLarge(Exception):
    """The platform refuses so many bytes, whatever `limits` said: say it again with smaller or fewer files."""


class Platform(Protocol):
    """A thin edge to one chat system. It turns what it hears into `Desk` calls and shows `Message`s."""

    name: str

    def limits(self, place: Place) -> Limits: ...

    async def serve(self, desk: Desk) -> None:
        """Connect and listen until cancelled."""
        ...

    async def post(self, place: Place, message: Message, key: str) -> str:
        """Say it, and return the new message's id. The same `key` again must not say it twice where the
        platform can prevent that (Discord: nonce, ≤ 25 characters). Raises `Gone`, `Unreachable` or
        `TooLarge`."""
        ...

    async def edit(self, place: Place, message_id: str, message: Message) -> None:
        """Replace what a message says, files and buttons included. Raises `Gone`, `Unreachable` or
        `TooLarge`."""
        ...

    async def find(self, place: Place, key: str, since: float) -> str | None:
        """The id of a message of ours that was posted with `key` at or after Unix time `since`: the look before
        repeating. None where it is surely not there; raises `Unreachable` when one cannot know."""
        ...

    async def delete(self, place: Place, message_id: str) -> None:
        """Take a message away; nothing happens where it is gone already."""
        ...
