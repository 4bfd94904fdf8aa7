"""From a Discord message to a picture and back: the real client, desk, store, dispatcher, outbox and pool.

Only Discord itself is simulated, and the engine paints its pictures without a model.
"""

from __future__ import annotations

import asyncio
import dataclasses
import io
import threading
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from discord_world import Outside, World, at, buttons, host, inside, picture_file, pictures, png, text
from PIL import Image

from bot.app import studio
from bot.platforms.discord import Discord, errors
from bot.settings.config import Config
from engines.devices import Device
from engines.engine import Run, Work
from engines.events import Artifact
from engines.requests import Diffusion, Img2Img, Inpaint, Txt2Img
from engines.serving.lane import Pace
from engines.serving.pool import Pool


@dataclass
class Painter:
    """One grey picture for each asked, a tone lighter each; waits at step 3 while `gate` is closed."""

    gate: threading.Event = field(default_factory=threading.Event)

    def begin(self, work: Work) -> Run:
        return Run(work=work, total=6)

    def advance(self, runs: Sequence[Run]) -> None:
        for run in runs:
            if run.done == 3:
                self.gate.wait(10)
            run.done += 1

    def preview(self, run: Run) -> bytes | None:
        return png("grey", 16)

    def finish(self, run: Run) -> tuple[Artifact, ...]:
        request = run.work.request
        assert isinstance(request, Diffusion)
        made = []
        for index, seed in enumerate(request.seeds):
            path = run.work.folder / f"{index}.png"
            Image.new("RGB", (64, 64), (seed % 256,) * 3).save(path)
            made.append(Artifact(path, f"nut-{index}.png", recipe={"seed": seed}, width=64, height=64))
        return tuple(made)

    def suspend(self, run: Run) -> None:
        pass


class Quiet(Discord):
    """Connected by the simulation, not by itself."""

    async def serve(self, desk: object) -> None:
        await asyncio.Event().wait()


@dataclass
class Story(World):
    painter: Painter = field(default_factory=Painter)

    async def until(self, told: Callable[[], Any], seconds: float = 20.0) -> Any:
        """What `told` gives, as soon as it gives something."""
        end = asyncio.get_running_loop().time() + seconds
        while not (found := told()):
            assert asyncio.get_running_loop().time() < end, [text(message) for message in self.ours()]
            await asyncio.sleep(0.02)
        await self.env.settle()
        return found

    async def says(self, part: str) -> Any:
        """The first message of ours that shows these words."""
        return await self.until(lambda: next((m for m in self.ours() if part in text(m)), None))


@asynccontextmanager
async def story(folder: Path, *, edit_every: float = 0.05, **settings: Any) -> AsyncIterator[Story]:
    painter = Painter()
    painter.gate.set()
    devices = [Device("cpu", "brush")]
    pool = Pool(
        {Txt2Img: lambda _: painter, Img2Img: lambda _: painter, Inpaint: lambda _: painter},
        devices,
        slots=2,
        pace=Pace(preview_every=1),
    )
    async with host() as served:
        platform = Quiet("token", **(at(served) | settings))
        whole = platform.limits
        platform.limits = lambda place: _faster(whole(place), edit_every)  # type: ignore[method-assign]
        async with (
            studio(Config(data=folder), [platform], pool) as house,
            inside(platform, Outside(house.desk), served, settle=20.0) as w,
        ):
            try:
                yield Story(**w.__dict__, painter=painter)
            finally:
                painter.gate.set()
                await platform.close()


def _faster(limits: Any, edit_every: float) -> Any:
    return dataclasses.replace(limits, edit_every=edit_every)


def tone(world: World, url: str) -> int:
    data = world.env.backend.cdn.get(url)
    assert data is not None
    with Image.open(io.BytesIO(data)) as picture:
        return int(picture.convert("L").getpixel((5, 5)))  # type: ignore[arg-type]


async def test_from_a_slash_command_to_a_gallery_in_one_message(tmp_path: Path) -> None:
    async with story(tmp_path) as w:
        w.painter.gate.clear()
        mask = Image.new("L", (64, 64))
        mask.paste(255, (8, 8, 24, 24))
        out = io.BytesIO()
        mask.save(out, "PNG")
        asked = await w.ann.slash(
            w.channel,
            "inpaint",
            prompt="a photo of a nut with a scratch",
            image=("nut.png", png("navy", 64)),
            mask=("mask.png", out.getvalue()),
            seed=100,
            count=3,
        )
        assert asked.ephemeral
        assert "#1" in text(asked.response)
        living = await w.says("3/6")
        assert len(pictures(living)) == 1, "a preview"
        assert "ds:cancel:1:0" in buttons(living)
        w.painter.gate.set()
        answer = await w.says("done in")
        assert answer is living, "one message, from the queue to the gallery"
        assert [tone(w, url) for url in pictures(answer)] == [100, 101, 102]
        assert len(w.ours()) == 1
        assert {"ds:reroll:1:0", "ds:vary:1:2", "ds:use:1:1", "ds:recipe:1:0", "ds:delete:1:0"} <= set(
            buttons(answer)
        )
        assert "seed 100" in text(answer)
        shown = await w.bob.click(w.shown(answer), label="Show mask")
        assert shown.ephemeral
        assert len(shown.response.attachments) == 1, "the photo with the mask over it, for who asked"
        assert "a photo of a nut with a scratch" in text(answer)


async def test_only_the_asker_may_cancel_and_delete(tmp_path: Path) -> None:
    async with story(tmp_path) as w:
        w.painter.gate.clear()
        await w.ann.slash(w.channel, "txt2img", prompt="a tile", seed=1)
        living = await w.says("3/6")
        no = await w.bob.click(w.shown(living), custom_id="ds:cancel:1:0")
        assert no.ephemeral
        assert "cancelled" not in text(living)
        await w.ann.click(w.shown(living), custom_id="ds:cancel:1:0")
        w.painter.gate.set()
        await w.says("cancelled")

        await w.ann.slash(w.channel, "txt2img", prompt="a tile", seed=2)
        done = await w.says("#2 done in")
        await w.bob.click(w.shown(done), label="Delete")
        assert done in w.ours()
        await w.ann.click(w.shown(done), label="Delete")
        await w.until(lambda: done not in w.ours())


async def test_the_buttons_of_an_answer_work_after_a_restart(tmp_path: Path) -> None:
    async with story(tmp_path) as w:
        await w.ann.slash(w.channel, "txt2img", prompt="a carpet", seed=7, count=2)
        first = await w.says("#1 done in")
        await w.restart()
        again = await w.bob.click(w.shown(first), label="Re-roll")
        assert "#2" in text(again.response)
        second = await w.says("#2 done in")
        assert [tone(w, url) for url in pictures(second)] != [tone(w, url) for url in pictures(first)]

        await w.bob.click(w.shown(first), label="Use as input 2")
        await w.bob.slash(w.channel, "img2img", prompt="the same in red", seed=9)
        third = await w.says("#3 done in")
        assert "Use as input" in text(third), "it says where the photo came from"
        recipe = await w.ann.context_menu(w.channel, "Show recipe", w.shown(first))
        assert "seed:7" in text(recipe.response) or "7" in text(recipe.response)


async def test_an_answer_whose_message_was_deleted_comes_anew_and_calls_the_asker(tmp_path: Path) -> None:
    async with story(tmp_path) as w:
        w.painter.gate.clear()
        await w.ann.slash(w.channel, "txt2img", prompt="a pill", seed=3)
        living = await w.says("3/6")
        assert not living.ping_user_ids
        await w.ann.delete(w.shown(living)) if False else w.env.backend.delete_message(
            w.channel.id, living.id
        )
        w.painter.gate.set()
        answer = await w.says("done in")
        assert answer.id != living.id
        assert len(w.ours()) == 1
        assert set(answer.ping_user_ids) == {w.ann.id}


@pytest.mark.parametrize(("status", "code"), [(500, 0), (503, 0), (429, 0)])
async def test_an_answer_that_could_not_be_given_is_given_later(
    tmp_path: Path, status: int, code: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(errors, "WAIT", 0.2)
    async with story(tmp_path) as w:
        w.painter.gate.clear()
        await w.ann.slash(w.channel, "txt2img", prompt="a grid", seed=3)
        await w.says("3/6")
        w.env.inject_error("*", "/channels/*", status=status, code=code, times=2)
        w.painter.gate.set()
        answer = await w.says("done in")
        assert [tone(w, url) for url in pictures(answer)] == [3]
        assert len(w.ours()) == 1


async def test_pictures_that_discord_refuses_are_made_smaller(tmp_path: Path) -> None:
    async with story(tmp_path) as w:
        w.painter.gate.clear()
        await w.ann.slash(w.channel, "txt2img", prompt="leather", seed=3)
        await w.says("3/6")
        w.env.inject_error("PATCH", "/channels/*", status=413, code=40005, times=1)
        w.painter.gate.set()
        await w.says("done in")
        assert len(w.ours()) == 1


async def test_a_person_who_chose_korean_gets_korean(tmp_path: Path) -> None:
    async with story(tmp_path) as w:
        await w.ann.slash(w.channel, "language", language="ko")
        await w.ann.slash(w.channel, "txt2img", prompt="금속 너트", seed=5)
        answer = await w.says("완료")
        assert "다시 만들기" in buttons(answer).values()
        refused = await w.ann.slash(w.channel, "img2img", prompt="사진 없음")
        assert any("가" <= c <= "힣" for c in text(refused.response))


async def test_a_mention_with_a_photo_is_a_job_too(tmp_path: Path) -> None:
    async with story(tmp_path) as w:
        me = f"<@{w.env.backend.bot_user.id}>"
        await w.ann.send(
            w.channel,
            f'{me} img2img image:@nut.png "a rusty nut" seed:8',
            attachments=[("nut.png", png("red", 64))],
        )
        answer = await w.says("done in")
        assert [tone(w, url) for url in pictures(answer)] == [8]
        await w.ann.send(w.channel, f"{me} img2img image:@missing.png x")
        refusal = await w.says("missing.png")
        assert not refusal.ping_user_ids


async def test_someone_elses_picture_becomes_the_input(tmp_path: Path) -> None:
    async with story(tmp_path) as w:
        note = await w.bob.send(w.channel, "look", attachments=[("b.png", png("blue", 64))])
        chosen = await w.ann.context_menu(w.channel, "Use as input", note)
        assert "next input" in text(chosen.response)
        await w.ann.slash(w.channel, "img2img", prompt="rust", seed=11)
        answer = await w.says("done in")
        assert [tone(w, url) for url in pictures(answer)] == [11]


async def test_more_pictures_than_discord_takes_come_with_an_archive(tmp_path: Path) -> None:
    async with story(tmp_path) as w:
        await w.ann.slash(w.channel, "txt2img", prompt="wood", seed=0, count=16)
        answer = await w.says("done in")
        assert len(answer.attachments) == 10
        assert answer.attachments[-1]["filename"].endswith(".zip")
        assert len(pictures(answer)) == 9


async def test_a_file_that_is_no_picture_is_refused_at_once(tmp_path: Path) -> None:
    async with story(tmp_path) as w:
        path = picture_file(tmp_path, "x.png")
        broken = path.read_bytes()[:40]
        refused = await w.ann.slash(w.channel, "img2img", prompt="x", image=("x.png", broken))
        assert refused.ephemeral
        assert not w.ours()
        assert text(refused.response)
