"""What is done with the phrases of an interrogation: pick some, and use them in a prompt.

Which phrases were picked is in the ids of the buttons that answer a pick, so it outlives a restart.
"""

from __future__ import annotations

from dataclasses import dataclass

from bot.answers import interrogated
from bot.commands.command import Tools
from bot.grammar import unparse
from bot.locale.markup import block, harmless
from bot.orders import Order, Orders
from bot.talk import Message, Press
from engines.interrogation.form import NEGATIVE, Interrogate
from engines.requests import Img2Img, Request, Txt2Img
from engines.words import Refusal, Words
from storage import Missing
from storage.jobs import Job

COMMANDS = {"totext": "txt2img", "toimage": "img2img", "toinpaint": "inpaint"}


@dataclass(frozen=True, slots=True)
class Picks:
    tools: Tools
    orders: Orders

    async def answer(self, press: Press, job: Job) -> Message:
        """Raises `Refusal` where there is nothing to pick from."""
        recipe = await self._recipe(job)
        if press.action == "pick":
            return self._picked(press, job, recipe)
        phrases = interrogated.picked(recipe, press.values, press.index)
        text = ", ".join(phrases) or str(recipe["text"])
        command, against = COMMANDS[press.action], recipe.get("mode") == NEGATIVE
        if command != "txt2img":
            await self._keep_photo(press, recipe)
        given = {"negative": text} if against else {"prompt": text}
        if press.forms:
            return Message("said", _READY(text=harmless(text)).of(press.language), form=command, given=given)
        if against or command == "inpaint":
            return self._line(press, command, given)
        return await self._start(press, command, text, recipe)

    async def _recipe(self, job: Job) -> interrogated.Recipe:
        for result in await self.tools.store.results.of(job.id):
            if interrogated.is_words(result):
                return result.recipe
        raise Refusal(_NO_PHRASES(id=job.id))

    def _picked(self, press: Press, job: Job, recipe: interrogated.Recipe) -> Message:
        mask = interrogated.mask_of(recipe, press.values)
        if not mask:
            raise Refusal(_NOTHING)
        text = ", ".join(interrogated.picked(recipe, (), mask))
        return Message(
            "said",
            f"{_PICKED.of(press.language)}\n{block(text)}",
            job=job.id,
            buttons=interrogated.uses(job.id, press.language, mask),
            facts={"prompt": text},
        )

    async def _start(self, press: Press, command: str, text: str, recipe: interrogated.Recipe) -> Message:
        image = _photo(recipe)
        request: Request = Txt2Img(prompt=text) if command == "txt2img" else Img2Img(prompt=text, image=image)
        await self.orders.check(press.person)
        request, notes = await self.orders.settled(request, press)
        order = Order(press.key, press.person, press.place, press.language, request, notes)
        return await self.orders.place(order)

    async def _keep_photo(self, press: Press, recipe: interrogated.Recipe) -> None:
        """The same photo stands in for one that is not attached."""
        try:
            await self.tools.store.people.set_last_input(press.person.id, _photo(recipe))
        except Missing:
            raise Refusal(_GONE) from None

    def _line(self, press: Press, command: str, given: dict[str, str]) -> Message:
        """A line to copy: something is still missing that only the person can give."""
        words = unparse(Txt2Img.fill({"prompt": "…", **given})[0]).removeprefix("/txt2img ")
        line = f"/{command} mask:@mask.png {words}" if command == "inpaint" else f"/{command} {words}"
        told = (_NEEDS_MASK if command == "inpaint" else _NEEDS_PROMPT).of(press.language)
        return Message("said", f"{told}\n{block(line)}", facts={"line": line})


def _photo(recipe: interrogated.Recipe) -> str:
    return Interrogate.from_json(dict(recipe["request"])).image


def pressed_by_words(text: str) -> tuple[int, tuple[str, ...], str] | None:
    """`/pick 42 1 3 img2img` → job, places (counted from 1 by people), action; None for other texts.

    Raises `Refusal` for a pick that cannot be understood.
    """
    first, *rest = text.replace(",", " ").split() or [""]
    if first.lstrip("/").lower() != "pick" or not first.startswith("/"):
        return None
    by_command = {command: action for action, command in COMMANDS.items()}
    action = "pick"
    if rest and rest[-1].lstrip("/").lower() in by_command:
        action = by_command[rest.pop().lstrip("/").lower()]
    numbers = [word.strip("#") for word in rest]
    if not numbers or not all(n.isascii() and n.isdigit() and 0 < len(n) < 16 for n in numbers):
        raise Refusal(_HOW)
    job, *places = (int(n) for n in numbers)
    return job, tuple(str(place - 1) for place in places if place > 0), action


_NO_PHRASES = Words(
    "#{id} has no phrases to pick. `/interrogate` with a picture finds some.",
    "#{id} 작업에는 고를 문구가 없습니다. 그림과 함께 `/interrogate` 를 쓰면 문구를 찾아 드립니다.",
)
_NOTHING = Words("Please pick at least one of the phrases.", "문구를 하나 이상 골라 주십시오.")
_PICKED = Words("You picked:", "고르신 문구:")
_READY = Words("Your words for the prompt: {text}", "프롬프트에 쓸 문구: {text}")
_GONE = Words(
    "The photo of this answer is no longer stored. Please send it again.",
    "이 답변의 사진이 더 이상 저장되어 있지 않습니다. 다시 보내 주십시오.",
)
_NEEDS_MASK = Words(
    "The photo is kept as your input. Say this with a mask attached (white = change), or with `mask:auto` or "
    "`mask:box=x,y,w,h`:",
    "사진을 다음 입력으로 두었습니다. 마스크(흰색 = 바꿀 곳)를 첨부하거나 `mask:auto`, `mask:box=x,y,w,h` 중 하나로 "
    "바꾸어 다음 줄을 보내 주십시오:",
)
_NEEDS_PROMPT = Words(
    "These words say what the picture must not show. Say this with what it should show:",
    "나오지 않아야 할 내용입니다. 그리고 싶은 내용을 넣어 다음 줄을 보내 주십시오:",
)
_HOW = Words(
    "Say the job and the numbers of the phrases, and where to use them: `/pick 42 1 3 txt2img`, `img2img` or "
    "`inpaint`.",
    "작업 번호, 문구 번호, 쓸 곳을 차례로 적어 주십시오. 예: `/pick 42 1 3 txt2img` (`img2img`, `inpaint` 도 가능).",
)
