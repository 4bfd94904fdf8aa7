"""Choosing phrases on Discord: a menu that Discord's contract takes, presses with values, and the message menu."""

from __future__ import annotations

from discord_world import Desk, png, text, walk, world

from bot.talk import Button, Choices, Message, Option, Press

OPTIONS = tuple(Option(f"phrase {i} (문구)" + "!" * 90, str(i), chosen=i == 1) for i in range(30))
ANSWER = Message(
    "finished",
    "a photo of a metal nut",
    job=42,
    choices=Choices("ds:pick:42:0", "Pick phrases", OPTIONS),
    buttons=(Button("totext", 42, "Use in txt2img"), Button("recipe", 42, "Recipe")),
    private=False,
)


async def test_phrases_are_chosen_also_after_a_restart() -> None:
    mask = (1 << 24) + 1
    told = Message("said", "You picked:", job=42, buttons=(Button("totext", 42, "Use in txt2img", mask),))
    desk = Desk(lambda said: told)
    async with world(desk) as w:
        await w.platform.post(w.place, ANSWER, "ds42r")
        await w.restart()
        shown = w.ours()[0]
        (menu,) = [c for c in walk(shown.components) if c["type"] == 3]
        assert (len(menu["options"]), menu["max_values"], menu["custom_id"]) == (25, 25, "ds:pick:42:0")
        assert [o["value"] for o in menu["options"] if o.get("default")] == ["1"]
        result = await w.bob.select(w.shown(shown), ["0", "24"], custom_id="ds:pick:42:0")
        assert result.ephemeral
        assert text(result.response) == "You picked:"
        await w.bob.click(result.response, custom_id=f"ds:totext:42:{mask}")
    pick, use = desk.heard
    assert isinstance(pick, Press)
    assert (pick.action, pick.job, pick.values, pick.forms) == ("pick", 42, ("0", "24"), False)
    assert (use.action, use.job, use.index, use.values) == ("totext", 42, mask, ())


async def test_any_message_with_a_picture_can_be_interrogated() -> None:
    desk = Desk()
    async with world(desk) as w:
        note = await w.bob.send(w.channel, "look", attachments=[("b.PNG", png("blue"))])
        await w.ann.context_menu(w.channel, "Interrogate", note)
    (said,) = desk.heard
    assert (said.command, said.options["image"].name) == ("interrogate", "b.PNG")
