"""What Slack tells us, turned into `Desk` calls: slash command, forms, shortcuts, mentions, messages, buttons.

Every handler acknowledges first and works afterwards, in a task of its own: a slow desk never costs the
three seconds. What was acknowledged and not yet accepted by the desk was not promised.
"""

from __future__ import annotations

import asyncio
import logging
import re
from collections import OrderedDict
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, cast

from bot import grammar
from bot.menu import FORMS
from bot.platforms.slack import modals
from bot.platforms.slack.api import Denied
from bot.platforms.slack.blocks import SLASH, open_form_button, plain, unescape
from bot.platforms.slack.files import SlackFile
from bot.talk import Gone, Invocation, Message, Place, Press, Unreachable
from engines.forms import Form
from engines.words import Language, Refusal, Words

if TYPE_CHECKING:
    from slack_bolt.app.async_app import AsyncApp

    from bot.desk import Desk
    from bot.platforms.slack.edge import Slack
    from bot.talk import Person

log = logging.getLogger(__name__)

Body = Mapping[str, Any]
PATIENCE = 0.6  # seconds a submitted form waits for the desk's no before it closes
SEEN = 2000  # keys of sayings that are remembered, to drop repeats before the desk sees them
BUTTON = re.compile(r"^ds:(\w+):(\d+):(\d+)$")
PICTURES = re.compile(r"\.(png|jpe?g|webp|bmp|tiff?|gif)$", re.IGNORECASE)
ANYTHING = re.compile(".*")


@dataclass(frozen=True, slots=True)
class Asker:
    """Who said something, where to answer, and what Slack lends us for a short while to do so."""

    person: Person
    place: Place
    language: Language
    trigger: str = ""  # opens a modal, for three seconds
    response_url: str = ""  # five answers within half an hour
    note: Words | None = None  # told with the first answer


class Ears:
    """The handlers. `listen` hangs them on a bolt app; `stop` ends what they still do."""

    def __init__(self, slack: Slack, desk: Desk) -> None:
        self._slack, self._desk = slack, desk
        self._seen: OrderedDict[str, None] = OrderedDict()
        self._tasks: set[asyncio.Task[Any]] = set()

    def listen(self, app: AsyncApp) -> None:
        app.command(SLASH)(self.on_slash)
        app.view(modals.FORM)(self.on_form)
        app.action(BUTTON)(self.on_button)
        app.action(re.compile("^form:"))(self.on_form_button)
        app.shortcut(re.compile("^ds:"))(self.on_shortcut)
        app.event("app_mention")(self.on_message)
        app.event("message")(self.on_message)
        app.action(ANYTHING)(_nothing)  # a button of an earlier release
        app.view(ANYTHING)(_nothing)

    async def stop(self) -> None:
        tasks = list(self._tasks)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    # What Slack calls.

    async def on_slash(self, ack: Any, body: Body) -> None:
        await ack()
        self._once(f"slack:{body['trigger_id']}", self._slash, body)

    async def on_form(self, ack: Any, body: Body) -> None:
        view = body["view"]
        form = _form(modals.Asked.from_text(view["private_metadata"]).command)
        if form is None:
            await ack()
            return
        said, wrong = modals.read_view(form, view, self._file)
        if wrong:
            await ack(response_action="errors", errors=wrong)
            return
        hearing = self._once(f"slack:{body.get('trigger_id') or view['id']}", self._form, body, form, said)
        if hearing is None:
            await ack()
            return
        await asyncio.wait({hearing}, timeout=PATIENCE)
        heard = hearing.result() if hearing.done() and not hearing.cancelled() else None
        if heard and len(heard[1]) == 1 and heard[1][0].kind == "refused":
            await ack(response_action="errors", errors=_errors(heard[1][0], form, view))
            return
        await ack()
        self._later(self._tell_all(hearing))

    async def on_button(self, ack: Any, body: Body) -> None:
        await ack()
        self._once(f"slack:{body['trigger_id']}", self._button, body)

    async def on_form_button(self, ack: Any, body: Body) -> None:
        await ack()
        self._once(f"slack:{body['trigger_id']}", self._form_button, body)

    async def on_shortcut(self, ack: Any, body: Body) -> None:
        await ack()
        self._once(f"slack:{body['trigger_id']}", self._shortcut, body)

    async def on_message(self, ack: Any, body: Body) -> None:
        await ack()
        event = body["event"]
        if event["type"] == "message" and not _is_direct(event):
            return
        if event.get("bot_id") or not event.get("user"):
            return
        # Not the event's id: a mention in some places arrives as two events, and both are the same saying.
        self._once(f"slack:{body['team_id']}:{event['channel']}:{event['ts']}", self._message, body)

    # What is done about it, afterwards.

    async def _slash(self, key: str, body: Body) -> None:
        text = unescape(body.get("text", "")).strip()
        bare = _form(text.lstrip("/"))
        if bare is not None and any(p.required for p in bare.params().values()):
            await self._open(body, bare.name, {}, lambda: self._asker(body, body["channel_id"]))
            return
        asker = await self._asker(body, body["channel_id"])
        answer = await self._hear(key, asker, text=f"/{text.lstrip('/') or 'help'}")
        if answer.form:
            await self._open(body, answer.form, _said(text), _same(asker), answer)
        else:
            await self._tell(asker, answer)

    async def _form(
        self, key: str, body: Body, form: type[Form], said: Mapping[str, Any]
    ) -> tuple[Asker, list[Message]]:
        """One job for each photo; all with the other options."""
        asked = modals.Asked.from_text(body["view"]["private_metadata"])
        asker = await self._asker(body, asked.place.channel, place=asked.place)
        picture = next((name for name, p in form.params().items() if p.kind == "picture"), "")
        chosen = [SlackFile(self._slack.api, id, name) for id, name in asked.files]
        photos = said.get(picture) or chosen or [None]
        answers = []
        for i, photo in enumerate(photos):
            options = {k: v for k, v in said.items() if k != picture} | ({picture: photo} if photo else {})
            # One form is one saying, however often it is sent: the view's id, not the trigger's.
            one = f"slack:{body['view']['id']}" + (f":{i}" if len(photos) > 1 else "")
            answers.append(await self._hear(one, asker, command=form.name, options=options))
        return asker, answers

    async def _button(self, key: str, body: Body) -> None:
        asker = await self._asker(body, body["channel"]["id"], thread=_thread(body))
        found = BUTTON.match(body["actions"][0]["action_id"])
        assert found is not None
        await self._press(key, asker, body, found.group(1), int(found.group(2)), int(found.group(3)))

    async def _press(self, key: str, asker: Asker, body: Body, action: str, job: int, index: int) -> None:
        press = Press(key, asker.person, asker.place, asker.language, action, job, index)
        answer = await self._desk.press(press)
        if answer.form:
            await self._open(body, answer.form, {}, _same(asker), answer)
        else:
            await self._tell(asker, answer)

    async def _form_button(self, key: str, body: Body) -> None:
        channel = (body.get("channel") or {}).get("id", "")
        thread = (body.get("message") or {}).get("thread_ts") or ""
        command = body["actions"][0]["action_id"].partition(":")[2]
        await self._open(body, command, {}, lambda: self._asker(body, channel, thread=thread))

    async def _shortcut(self, key: str, body: Body) -> None:
        """`ds:inpaint` and the like open the form for the message's pictures; `ds:use` and `ds:recipe` do what
        our own buttons do, and work on anybody's picture."""
        word = body["callback_id"].partition(":")[2]
        message = body["message"]
        files = _pictures(message)
        if _form(word) is not None and any(p.kind == "picture" for p in _form_fields(word)):
            chosen = tuple((str(one["id"]), str(one.get("name") or "picture")) for one in files)
            place = lambda: self._asker(body, body["channel"]["id"], thread=_thread(body))
            await self._open(body, word, {}, place, files=chosen)
            return
        asker = await self._asker(body, body["channel"]["id"], thread=_thread(body))
        ours = _our_job(message)
        if ours is not None:
            await self._press(key, asker, body, word, ours, 0)
        elif files:
            act = self._desk.recipe_of if word == "recipe" else self._desk.use_picture
            answer = await act(asker.person, self._file(files[0]), asker.language)
            await self._tell(asker, answer)
        else:
            await self._tell(asker, Message("refused", _NO_PICTURE.of(asker.language)))

    async def _message(self, key: str, body: Body) -> None:
        event = body["event"]
        text = _spoken(event.get("text") or "", self._slack.bot_user)
        thread = event.get("thread_ts") or ("" if _is_direct(event) else event["ts"])
        self._slack.reachable(event["channel"])  # it spoke to us from there
        asker = await self._asker(
            {"user": {"id": event["user"]}, "team": {"id": body["team_id"]}}, event["channel"], thread=thread
        )
        files = event.get("files") or ()
        answer = await self._hear(key, asker, text=f"/{text.lstrip('/') or 'help'}", attachments=files)
        if answer.form:
            answer_in = _FORM_BUTTON(command=answer.form).of(asker.language)
            await self._tell(asker, answer, [open_form_button(answer.form, answer_in)])
        else:
            await self._tell(asker, answer)

    # The parts they share.

    async def _asker(
        self, body: Body, channel: str, *, thread: str = "", place: Place | None = None
    ) -> Asker:
        user = body.get("user") or {}
        id, name = (
            (user["id"], user.get("name", "")) if user else (body["user_id"], body.get("user_name", ""))
        )
        team = str((body.get("team") or {}).get("id") or body.get("team_id") or self._slack.team)
        person, hint = await self._slack.people.person(team, id, name)
        language = await self._desk.language_of(person, hint)
        note = None
        if place is None:
            place, note = await self._slack.place_for(
                id, Place("slack", channel, thread, team, _is_dm(channel))
            )
        return Asker(person, place, language, body.get("trigger_id", ""), body.get("response_url", ""), note)

    async def _hear(self, key: str, asker: Asker, *, attachments: Any = (), **said: Any) -> Message:
        files = tuple(self._file(one) for one in attachments)
        return await self._desk.hear(
            Invocation(key, asker.person, asker.place, asker.language, attachments=files, **said)
        )

    async def _open(
        self,
        body: Body,
        command: str,
        given: Mapping[str, Any],
        asker: Callable[[], Awaitable[Asker]],
        answer: Message | None = None,
        files: tuple[tuple[str, str], ...] = (),
    ) -> None:
        """A light modal at once, and the form in it as soon as one knows whose and where."""
        api = self._slack.api
        try:
            opened = await api.call(
                api.client.views_open, trigger_id=body["trigger_id"], view=modals.waiting()
            )
        except (Denied, Gone, Unreachable) as error:
            log.info("no form opened: %s", error)
            await self._offer(await asker(), command, answer)
            return
        who = await asker()
        form = _form(command)
        asked = modals.Asked(command, who.place, who.language, files)
        view = (
            modals.form_view(form, asked, given=given, models=self._slack.models(form.name)) if form else None
        )
        view = view or modals.sorry(_NO_FORM, who.language)
        try:
            await api.call(api.client.views_update, view_id=opened["view"]["id"], view=view)
        except (Denied, Gone) as error:
            log.info("the form was closed before it was filled in: %s", error)
        except Unreachable:
            await self._offer(who, command, answer)

    async def _offer(self, asker: Asker, command: str, answer: Message | None) -> None:
        """The trigger is dead: a button to open the form, whose press brings a new one."""
        said = answer or Message("said", _LATE.of(asker.language))
        await self._tell(
            asker, said, [open_form_button(command, _FORM_BUTTON(command=command).of(asker.language))]
        )

    async def _tell(self, asker: Asker, answer: Message, extra: Any = ()) -> None:
        await self._slack.tell(asker, answer, extra)

    async def _tell_all(self, hearing: asyncio.Task[Any]) -> None:
        heard = await hearing
        for answer in heard[1] if heard else ():
            extra = (
                [open_form_button(answer.form, _FORM_BUTTON(command=answer.form).of(heard[0].language))]
                if answer.form
                else ()
            )
            await self._tell(heard[0], answer, extra)

    def _file(self, data: Mapping[str, Any]) -> SlackFile:
        return SlackFile.of(self._slack.api, data)

    def _once(
        self, key: str, work: Callable[..., Awaitable[Any]], *arguments: Any
    ) -> asyncio.Task[Any] | None:
        """Do it in a task of its own, unless the same thing was said before. The desk drops repeats too, by the
        same key, for good; this only spares it the trouble."""
        if key in self._seen:
            log.info("said twice, heard once: %s", key)
            return None
        self._seen[key] = None
        while len(self._seen) > SEEN:
            self._seen.popitem(last=False)
        return self._later(work(key, *arguments))

    def _later(self, work: Awaitable[Any]) -> asyncio.Task[Any]:
        async def guarded() -> Any:
            try:
                return await work
            except (Gone, Unreachable, Denied) as error:
                log.warning("could not answer: %s", error)
            except Exception:
                log.exception("a handler failed")
            return None

        task = asyncio.create_task(guarded())
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return task


async def _nothing(ack: Any) -> None:
    await ack()


def _same(asker: Asker) -> Callable[[], Awaitable[Asker]]:
    async def known() -> Asker:
        return asker

    return known


def _form(name: str) -> type[Form] | None:
    return next((form for form in FORMS if form.name == name.strip().lower()), None)


def _form_fields(name: str) -> list[Any]:
    form = _form(name)
    return list(form.params().values()) if form else []


def _said(text: str) -> dict[str, str]:
    """What a line of text already says, to fill in a form; nothing where it is not understood."""
    try:
        return dict(grammar.read(text).values)
    except Refusal:
        return {}


def _errors(no: Message, form: type[Form], view: Body) -> dict[str, str]:
    """The desk's no, under the first field it names (`in backticks`), else under the first of the form."""
    blocks = [str(b["block_id"]) for b in view["blocks"] if b.get("type") == "input"]
    named = [name for name in re.findall(r"`([^`]+)`", no.text) if name in blocks]
    return {[*named, *blocks][0]: plain(no.text)}


def _is_dm(channel: str) -> bool:
    return channel.startswith("D")


def _is_direct(event: Body) -> bool:
    """A person's message in our direct message, not a change to one."""
    return event.get("channel_type") == "im" and event.get("subtype") in (None, "file_share")


def _thread(body: Body) -> str:
    """The thread under the message that was acted on; a direct message stays flat."""
    message = body.get("message") or {}
    if message.get("thread_ts"):
        return str(message["thread_ts"])
    ts = message.get("ts") or (body.get("container") or {}).get("message_ts") or ""
    ephemeral = (body.get("container") or {}).get("is_ephemeral")
    return "" if ephemeral or _is_dm(body["channel"]["id"]) else str(ts)


def _pictures(message: Body) -> list[Body]:
    """The message's pictures: files people sent, or the image blocks of our own answers."""
    files = [f for f in message.get("files") or () if PICTURES.search(str(f.get("name") or ""))]
    shown = [
        b["slack_file"] for b in message.get("blocks") or () if b.get("type") == "image" and "slack_file" in b
    ]
    return [cast(Body, f) for f in (*files, *shown) if f.get("id")]


def _our_job(message: Body) -> int | None:
    """The job whose message this is, as its buttons say."""
    for block in message.get("blocks") or ():
        for element in block.get("elements") or () if block.get("type") == "actions" else ():
            found = BUTTON.match(str(element.get("action_id", "")))
            if found:
                return int(found.group(2))
    return None


def _spoken(text: str, bot: str) -> str:
    """A message's text without our own mention and without Slack's markup."""
    text = text.replace(f"<@{bot}>", " ") if bot else text
    text = re.sub(r"<(?:https?|mailto|tel):[^|>]*\|([^>]*)>", r"\1", text)
    text = re.sub(r"<((?:https?|mailto|tel):[^>]*)>", r"\1", text)
    return unescape(text).strip()


_NO_FORM = Words("There is no such form any more.", "이 양식은 더 이상 없습니다.")
_LATE = Words("Please open the form here.", "여기에서 양식을 열어 주십시오.")
_FORM_BUTTON = Words("Open the {command} form", "{command} 양식 열기")
_NO_PICTURE = Words("There is no picture in this message.", "이 메시지에는 그림이 없습니다.")
