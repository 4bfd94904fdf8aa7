"""What Slack tells us, turned into `Desk` calls: slash command, forms, shortcuts, mentions, messages, buttons.

Every handler acknowledges first and works afterwards, in a task of its own: a slow desk never costs the
three seconds. What was acknowledged and not yet accepted by the desk was not promised.
"""

from __future__ import annotations

import asyncio
import logging
import re
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from bot.platforms.slack import blocks, modals, payloads
from bot.platforms.slack.api import Denied
from bot.platforms.slack.errands import Errands
from bot.platforms.slack.files import SlackFile
from bot.platforms.slack.mouth import Asker
from bot.platforms.slack.payloads import Body
from bot.talk import Gone, Invocation, Message, Place, Press, Unreachable
from engines.forms import Form
from engines.words import Words

if TYPE_CHECKING:
    from slack_bolt.app.async_app import AsyncApp

    from bot.desk import Desk
    from bot.platforms.slack.edge import Slack

log = logging.getLogger(__name__)

PATIENCE = 0.7  # seconds a submitted form waits for the desk's no before it closes
ANYTHING = re.compile(".*")

Chosen = tuple[tuple[str, str], ...]  # (file id, name) of pictures


@dataclass(frozen=True, slots=True)
class Filled:
    """A submitted form and what the desk said to it."""

    asker: Asker
    form: type[Form]
    draft: str  # opens the form again as it was
    answers: tuple[Message, ...]


class Ears:
    """The handlers. `listen` hangs them on a bolt app; what they still do is in `errands`."""

    def __init__(self, slack: Slack, desk: Desk) -> None:
        self._slack, self._desk = slack, desk
        self.errands = Errands()

    def listen(self, app: AsyncApp) -> None:
        app.command(blocks.SLASH)(self.on_slash)
        app.view(modals.FORM)(self.on_form)
        app.action(payloads.BUTTON)(self.on_button)
        app.action(re.compile("^form:"))(self.on_form_button)
        app.shortcut(re.compile("^ds:"))(self.on_shortcut)
        app.event("app_mention")(self.on_message)
        app.event("message")(self.on_message)
        app.action(ANYTHING)(_nothing)  # a button of an earlier release
        app.view(ANYTHING)(_nothing)

    # What Slack calls.

    async def on_slash(self, ack: Any, body: Body) -> None:
        await ack()
        self.errands.once(f"slack:{body['trigger_id']}", self._slash, body)

    async def on_button(self, ack: Any, body: Body) -> None:
        await ack()
        if body["actions"][0].get("type", "button") != "button":
            return  # a box was ticked: which ones are comes with the button
        self.errands.once(f"slack:{body['trigger_id']}", self._button, body)

    async def on_form_button(self, ack: Any, body: Body) -> None:
        await ack()
        self.errands.once(f"slack:{body['trigger_id']}", self._form_button, body)

    async def on_shortcut(self, ack: Any, body: Body) -> None:
        await ack()
        self.errands.once(f"slack:{body['trigger_id']}", self._shortcut, body)

    async def on_message(self, ack: Any, body: Body) -> None:
        await ack()
        event = body["event"]
        if event["type"] == "message" and not payloads.is_direct(event):
            return
        if event.get("bot_id") or not event.get("user"):
            return
        # Not the event's id: a mention in some places arrives as two events, and both are the same saying.
        self.errands.once(f"slack:{body['team_id']}:{event['channel']}:{event['ts']}", self._message, body)

    async def on_form(self, ack: Any, body: Body) -> None:
        """A no that comes soon is shown in the form, which stays open; a later one is told outside."""
        view = body["view"]
        form = payloads.form_of(modals.Asked.from_text(view["private_metadata"]).command)
        said, wrong = modals.read_view(form, view, self._file) if form else ({}, {})
        if wrong:
            await ack(response_action="errors", errors=wrong)
            return
        hearing = self.errands.once(
            f"slack:{body.get('trigger_id') or view['id']}", self._form, body, form, said
        )
        if hearing is not None:
            await asyncio.wait({hearing}, timeout=PATIENCE)
        filled = hearing.result() if hearing is not None and hearing.done() else None
        if filled and len(filled.answers) == 1 and filled.answers[0].kind == "refused":
            await ack(response_action="errors", errors=payloads.errors(filled.answers[0], view))
            return
        await ack()
        if hearing is not None:
            self.errands.later(self._tell_filled(hearing))

    # What is done about it, afterwards.

    async def _slash(self, key: str, body: Body) -> None:
        text = blocks.unescape(body.get("text", "")).strip()
        bare = payloads.form_of(text.lstrip("/"))
        if bare is not None and payloads.needs_something(bare):
            await self._open(body, bare.name, lambda: self._asker(body, body["channel_id"]))
            return
        asker = await self._asker(body, body["channel_id"])
        answer = await self._hear(key, asker, text=f"/{text.lstrip('/') or 'help'}")
        if answer.form:
            await self._open(body, answer.form, _known(asker), payloads.said_in(text), answer=answer)
        else:
            await self._slack.mouth.tell(asker, answer)

    async def _form(
        self, key: str, body: Body, form: type[Form] | None, said: Mapping[str, Any]
    ) -> Filled | None:
        """One job, however many photos there are."""
        if form is None:
            return None
        asked = modals.Asked.from_text(body["view"]["private_metadata"])
        asker = await self._asker(body, asked.place.channel, place=asked.place)
        picture = next((name for name, p in form.params().items() if p.kind == "picture"), "")
        chosen = [SlackFile(self._slack.api, id, name) for id, name in asked.files]
        photos: Sequence[SlackFile] = said.get(picture) or chosen
        options = {k: v for k, v in said.items() if k != picture} | ({picture: photos} if photos else {})
        # One form is one saying, however often it is sent: the view's id, not the trigger's.
        key = f"slack:{body['view']['id']}"
        answer = await self._hear(key, asker, command=form.name, options=options, complete=True)
        return Filled(asker, form, payloads.draft(said, tuple((p.id, p.name) for p in photos)), (answer,))

    async def _tell_filled(self, hearing: asyncio.Task[Filled | None]) -> None:
        if (filled := await hearing) is None:
            return
        for answer in filled.answers:
            again = self._offer(filled.asker, filled.form.name, filled.draft)
            await self._slack.mouth.tell(filled.asker, answer, again if answer.kind == "refused" else ())

    async def _button(self, key: str, body: Body) -> None:
        asker = await self._asker(body, body["channel"]["id"], thread=payloads.thread_of(body))
        found = payloads.BUTTON.match(body["actions"][0]["action_id"])
        if found is not None:
            await self._press(key, asker, body, found.group(1), int(found.group(2)), int(found.group(3)))

    async def _press(self, key: str, asker: Asker, body: Body, action: str, job: int, index: int) -> None:
        values = payloads.ticked(body, job)
        press = Press(
            key, asker.person, asker.place, asker.language, action, job, index, values=values, forms=True
        )
        answer = await self._desk.press(press)
        if answer.form:
            await self._open(body, answer.form, _known(asker), answer.given, answer=answer)
        else:
            await self._slack.mouth.tell(asker, answer)

    async def _form_button(self, key: str, body: Body) -> None:
        action = body["actions"][0]
        given, files = payloads.read_draft(action.get("value") or "")
        channel, thread = (
            (body.get("channel") or {}).get("id", ""),
            (body.get("message") or {}).get("thread_ts"),
        )
        asker = lambda: self._asker(body, channel, thread=thread or "")
        await self._open(body, action["action_id"].partition(":")[2], asker, given, files)

    async def _shortcut(self, key: str, body: Body) -> None:
        """`ds:inpaint` and the like open the form for the message's pictures; `ds:use` and `ds:recipe` do what
        our own buttons do, and work on anybody's picture."""
        word = body["callback_id"].partition(":")[2]
        files = payloads.pictures_in(body["message"])
        channel, thread = body["channel"]["id"], payloads.thread_of(body)
        if payloads.takes_picture(word):
            chosen = tuple((str(one["id"]), str(one.get("name") or "picture")) for one in files)
            await self._open(body, word, lambda: self._asker(body, channel, thread=thread), files=chosen)
            return
        asker = await self._asker(body, channel, thread=thread)
        ours = payloads.our_job(body["message"])
        if ours is not None:
            await self._press(key, asker, body, word, ours, 0)
        else:
            await self._slack.mouth.tell(asker, await self._hear(key, asker, command=word, attachments=files))

    async def _message(self, key: str, body: Body) -> None:
        event = body["event"]
        text = payloads.spoken(event.get("text") or "", self._slack.bot_user)
        thread = event.get("thread_ts") or ("" if payloads.is_direct(event) else event["ts"])
        self._slack.reachable(event["channel"])
        who = {"user": {"id": event["user"]}, "team": {"id": body["team_id"]}}
        asker = await self._asker(who, event["channel"], thread=thread)
        files = event.get("files") or ()
        answer = await self._hear(key, asker, text=f"/{text.lstrip('/') or 'help'}", attachments=files)
        chosen = tuple((str(f["id"]), str(f.get("name"))) for f in payloads.pictures_in(event))
        draft = payloads.draft(payloads.said_in(text), chosen)
        await self._slack.mouth.tell(
            asker, answer, self._offer(asker, answer.form, draft) if answer.form else ()
        )

    # The parts they share.

    async def _asker(
        self, body: Body, channel: str, *, thread: str = "", place: Place | None = None
    ) -> Asker:
        user = body.get("user") or {"id": body.get("user_id", ""), "name": body.get("user_name", "")}
        team = str((body.get("team") or {}).get("id") or body.get("team_id") or self._slack.team)
        person, hint = await self._slack.people.person(team, user["id"], user.get("name", ""))
        language = await self._desk.language_of(person, hint)
        note = None
        if place is None:
            asked = Place("slack", channel, thread, team, payloads.is_dm(channel))
            place, note = await self._slack.place_for(user["id"], asked)
        return Asker(person, place, language, body.get("response_url", ""), note)

    async def _hear(
        self, key: str, asker: Asker, *, attachments: Sequence[Body] = (), **said: Any
    ) -> Message:
        files = tuple(self._file(one) for one in attachments)
        invocation = Invocation(key, asker.person, asker.place, asker.language, attachments=files, **said)
        return await self._desk.hear(invocation)

    async def _open(
        self,
        body: Body,
        command: str,
        asker: Callable[[], Awaitable[Asker]],
        given: Mapping[str, str] | None = None,
        files: Chosen = (),
        answer: Message | None = None,
    ) -> None:
        """A light modal at once, and the form in it as soon as one knows for whom and where. When the trigger
        is dead already: a button, whose press brings a new one."""
        api, form = self._slack.api, payloads.form_of(command)
        if form is None:
            return
        try:
            view = await api.call(api.client.views_open, trigger_id=body["trigger_id"], view=modals.waiting())
            who = await asker()
            asked = modals.Asked(command, who.place, who.language, files)
            hidden = await self._desk.hidden(who.person, who.place)
            models = [name for name in self._slack.models(command) if name not in hidden]
            full = modals.form_view(form, asked, given=given, models=models)
            await api.call(api.client.views_update, view_id=view["view"]["id"], view=full)
        except (Denied, Gone, Unreachable) as error:
            log.info("form of %s not opened: %s", command, error)
            if isinstance(error, Denied) and error.error == "not_found":
                return  # the person closed it
            who = await asker()
            said = answer or Message("said", _LATE.of(who.language))
            offer = self._offer(who, command, payloads.draft(given or {}, files))
            await self._slack.mouth.tell(who, said, offer)

    def _offer(self, asker: Asker, command: str, draft: str) -> list[blocks.Block]:
        return [blocks.form_button(command, _OPEN(command=command).of(asker.language), draft)]

    def _file(self, data: Mapping[str, Any]) -> SlackFile:
        return SlackFile.of(self._slack.api, data)


async def _nothing(ack: Any) -> None:
    await ack()


def _known(asker: Asker) -> Callable[[], Awaitable[Asker]]:
    async def known() -> Asker:
        return asker

    return known


_LATE = Words("Please open the form here.", "여기에서 양식을 열어 주십시오.")
_OPEN = Words("Open the {command} form", "{command} 양식 열기")
