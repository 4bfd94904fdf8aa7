"""/models: which models there are, and what one may do with one's own."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from bot.commands.command import Command, Tools
from bot.models import listing as model_list
from bot.models.acts import Act
from bot.models.shelf import Shelf
from bot.talk import Invocation, Message
from engines.forms import param
from engines.words import Refusal, Words

ACTIONS = ("list", "details", "rename", "share", "unshare", "delete", "download", "base")


@dataclass(frozen=True, kw_only=True)
class Models(Command):
    name: ClassVar[str] = "models"
    title: ClassVar[Words] = Words("Models", "모델")
    about: ClassVar[Words] = Words(
        "Which models there are; rename, share, download or delete your own",
        "모델 목록을 보고, 내 모델의 이름 변경·공유·다운로드·삭제를 합니다",
    )

    words: str = param(
        "text",
        Words(
            "Words to look for: name, kind, licence, trainer, concept",
            "찾을 단어: 이름, 용도, 라이선스, 만든 사람, 개념",
        ),
        Words("words", "검색어"),
        "",
        high=200,
    )
    action: str = param(
        "choice",
        Words(
            "What to do; without it: list, or details of the named one",
            "할 일. 비우면 목록, 이름이 있으면 자세히 보기",
        ),
        Words("action", "동작"),
        "",
        choices=ACTIONS,
        aliases=("do",),
    )
    model: str = param(
        "model",
        Words("Which model", "어느 모델"),
        Words("model", "모델"),
        "",
        aliases=("name", "이름"),
    )
    to: str = param(
        "text",
        Words(
            "rename: the new name. share, unshare: here or all",
            "rename: 새 이름, share·unshare: here 또는 all",
        ),
        Words("to", "대상"),
        "",
        high=100,
        aliases=("with",),
    )
    sure: bool = param(
        "flag",
        Words("delete: yes means really", "delete: yes 라고 해야 삭제합니다"),
        Words("sure", "확인"),
        False,
        advanced=True,
    )
    page: int = param(
        "int",
        Words("Which page of the list, or part of a download", "목록의 쪽 또는 다운로드의 부분 번호"),
        Words("page", "쪽"),
        1,
        low=1,
        high=1000,
        aliases=("part",),
    )

    async def answer(self, tools: Tools, said: Invocation) -> Message:
        action = self.action or ("details" if self.model else "list")
        shelf = Shelf(tools, said)
        if action == "list":
            return await model_list.listing(shelf, said.language, self.words, self.page)
        name = self.model or self.words
        if not name:
            raise Refusal(_WHICH(action=action))
        act = Act(shelf, said.person, said.place, said.language, await shelf.find(name))
        match action:
            case "details":
                return await act.details()
            case "rename":
                return await act.rename(self.to)
            case "share" | "unshare":
                return await act.share(self.to, on=action == "share")
            case "delete":
                return await act.delete() if self.sure else await act.ask()
            case "base":
                return await act.base(self.to)
        return await act.download(self.page)


_WHICH = Words(
    "Say which model: `/models action:{action} model:…`. `/models` lists them.",
    "어느 모델인지 알려 주십시오: `/models action:{action} model:…`. `/models` 로 목록을 볼 수 있습니다.",
)
