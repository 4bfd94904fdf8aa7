"""From a zip to a training: read, reviewed, changed, started; paused and resumed; a long one's messages."""

from __future__ import annotations

import asyncio
import dataclasses
import time
from collections.abc import AsyncIterator
from contextlib import aclosing
from pathlib import Path
from typing import Any

import pytest
from chat import Chat
from data_sets import mvtec, photo, png, written, zipped
from desk_world import BOSS, KIM, LEE, Sent, World, opened
from toy_engine import CPU, Count, Counting, Toy

from bot.admission import TrainingSettings
from bot.answers import replies
from bot.answers.outbox import Outbox
from bot.answers.replies import Shown
from bot.dispatcher import Dispatcher
from bot.pictures.reading import PictureReader
from bot.talk import Limits, Message
from engines import requests
from engines.engine import Work
from engines.requests import Review
from engines.serving.lane import Pace
from engines.serving.pool import Pool
from engines.training.request import Train
from storage.jobs import Job
from storage.results import NewResult
from storage.store import Store

ROOMY = Limits(file_bytes=10**8, files=10, message_bytes=10**8, edit_every=0.0, text=4000)
ZIP = zipped(mvtec(defects=("scratch", "dent"), photos=5, good=2, around="metal_nut/"))
SAID = "/train dataset:@nut.zip mode:defect steps:150 name:nut-scratch"


@pytest.fixture
async def world(tmp_path: Path, reader: PictureReader) -> AsyncIterator[World]:
    training = TrainingSettings(folders=(tmp_path / "allowed",))
    async with opened(tmp_path, reader, training=training) as world:
        yield world


def nut() -> Sent:
    return Sent("nut.zip", ZIP)


async def reviewed(world: World, **told: Any) -> Message:
    """The next job, a review, ends as the audit would end it; what is then said."""
    job = await world.store.jobs.claim(world.now[0])
    assert job is not None
    assert job.command == "review"
    blob = await world.store.blobs.put(b"sheet")
    facts = {"step_seconds": 2.0, "memory": 600_000_000, **told}
    made = [NewResult(blob, "sheet.png", "image/png", {"review": facts}, 8, 8)]
    notes = [["The VAE keeps 90 %.", "VAE가 90 % 보존합니다."]]
    done = await world.store.jobs.finish(job.id, results=made, notes=notes, seconds=3.0, now=world.now[0])
    assert done is not None
    return said_of(
        done, [Shown(r, world.store.blobs.path(r.blob)) for r in await world.store.results.of(job.id)]
    )


def said_of(job: Job, shown: list[Shown]) -> Message:
    return replies.answer(job, shown, limits=ROOMY)


async def test_a_zip_is_understood_reviewed_and_started_once(world: World) -> None:
    first = await world.say(SAID, nut())
    assert (first.kind, first.command, first.facts["draft"]) == ("accepted", "review", 1)
    assert [c["instance_prompt"] for c in first.facts["concepts"]] == [
        "a photo of a metal nut with a dent",
        "a photo of a metal nut with a scratch",
    ]
    assert "2. **scratch**: 5 photos, 5 masks, 2 good ones" in first.text
    shown = await reviewed(world)
    for part in ("Draft 1", "nut-scratch", "150 steps", "The VAE keeps 90 %", "5 min", "600 MB", "start:yes"):
        assert part in shown.text
    assert [b.action for b in shown.buttons] == ["start", "change", "discard"]
    assert shown.mention == KIM.id
    assert [f.name for f in shown.files] == ["sheet.png"]
    started = await world.press("start", first.job)
    again = await world.press("start", first.job)
    assert (started.kind, started.command) == ("accepted", "train")
    assert again.kind == "refused"
    assert "started already" in again.text
    train = Train.from_json((await world.job(started.job)).request)
    assert (train.save_as, train.mode, train.total_steps) == ("nut-scratch", "defect", 150)
    assert [len(c["images"]) for c in train.concepts] == [5, 5]
    assert (train.dataset, train.draft, train.start) == ("", 0, False)
    world.store.blobs.check(train.blobs)
    assert not list((world.store.folder / "uploads").iterdir()), "what was unpacked is gone"


async def test_a_draft_outlives_a_restart_and_keeps_its_pictures(
    tmp_path: Path, reader: PictureReader
) -> None:
    async with opened(tmp_path, reader) as world:
        first = await world.say(SAID, nut())
        await reviewed(world)
    (tmp_path / "again").mkdir()
    (tmp_path / "data").rename(tmp_path / "again" / "data")
    async with opened(tmp_path / "again", reader) as world:
        await world.store.blobs.sweep(2e12, older_than=0)
        started = await world.press("start", first.job)
        train = Train.from_json((await world.job(started.job)).request)
        world.store.blobs.check(train.blobs)


async def test_words_change_a_draft_and_the_old_buttons_say_so(world: World) -> None:
    first = await world.say(SAID, nut())
    await reviewed(world)
    change = await world.press("change", first.job)
    assert change.form == "train"
    assert change.given["draft"] == "1"
    assert (
        "scratch = a photo of a metal nut with a scratch | a photo of a metal nut" in change.given["prompts"]
    )
    assert '/train draft:1 steps:150 prompts:"dent = a photo of' in change.text
    second = await world.say(
        '/train draft:1 steps:300 prompts:"scratch = a scored nut | a nut" only:scratch', lang="ko"
    )
    assert second.kind == "accepted"
    assert second.facts["draft"] == 1
    await reviewed(world)
    old = await world.press("start", first.job)
    assert old.kind == "refused"
    assert f"#{second.job}" in old.text
    started = await world.press("start", second.job)
    train = Train.from_json((await world.job(started.job)).request)
    assert (train.total_steps, train.save_as) == (300, "nut-scratch")
    (concept,) = train.concepts
    assert (concept["instance_prompt"], concept["class_prompt"]) == ("a scored nut", "a nut")
    assert len(concept["images"]) == 5


async def test_where_nobody_can_press_it_starts_at_once(world: World) -> None:
    said = dataclasses.replace(world.said(SAID, nut()), attended=False)
    answer = await world.desk.hear(said)
    assert (answer.kind, answer.command) == ("accepted", "train")
    assert "It starts at once" in answer.text
    assert "**scratch**: 5 photos" in answer.text
    asked = dataclasses.replace(world.said(SAID + "2 start:no", nut()), attended=False)
    assert (await world.desk.hear(asked)).command == "review"


async def test_the_time_is_that_of_trainings_like_it(world: World) -> None:
    said = dataclasses.replace(world.said(SAID, nut()), attended=False)
    first = await world.desk.hear(said)
    job = await world.store.jobs.claim(world.now[0])
    assert job is not None
    await world.store.jobs.finish(first.job, results=(), notes=(), seconds=300.0, now=world.now[0])
    alike = await world.say(SAID.replace("150", "600") + "-2", nut())
    assert (await world.job(alike.job)).request["step_seconds"] == pytest.approx(2.0)
    other = await world.say(SAID + "-3 method:full", nut())
    assert (await world.job(other.job)).request["step_seconds"] == 0.0


async def test_a_draft_is_its_owners(world: World) -> None:
    first = await world.say(SAID, nut())
    for action in ("start", "change", "discard"):
        answer = await world.press(action, first.job, who=LEE)
        assert answer.kind == "refused"
        assert "belongs to someone else" in answer.text
    assert (await world.say("/train draft:1 steps:9", who=LEE)).kind == "refused"
    dropped = await world.press("discard", first.job)
    assert "cancelled" in dropped.text
    assert ("take back", first.job) in world.outbox.told
    assert (await world.press("start", first.job)).kind == "refused"


async def test_photos_and_masks_attached(world: World) -> None:
    pictures = []
    for i in range(3):
        picture, mask = photo(i, defect=True)
        pictures += [Sent(f"{i}.png", png(picture)), Sent(f"{i}_mask.png", png(mask))]
    missing = await world.say("/train name:nut", *pictures)
    assert missing.kind == "refused"
    assert missing.form == "train"
    assert "`prompts`" in missing.text
    answer = await world.say('/train name:nut prompts:"a nut with a scratch | a nut"', *pictures)
    assert answer.kind == "accepted"
    (concept,) = answer.facts["concepts"]
    assert (concept["photos"], concept["masks"]) == (3, 3)
    assert concept["instance_prompt"] == "a nut with a scratch"
    assert "only 3 photo(s)" in answer.text
    assert "not used" not in answer.text
    typed = (
        '/train name:nut2 prompts:"a nut with a scratch | a nut" dataset:@0.png dataset:@0_mask.png @1.png'
    )
    said = await world.say(typed, *pictures[:3])
    assert said.facts["concepts"][0] | {"photos": 2, "masks": 1} == said.facts["concepts"][0]


async def test_a_folder_of_the_server_is_for_admins_and_within_bounds(world: World, tmp_path: Path) -> None:
    allowed = written(tmp_path / "allowed" / "nut", mvtec(photos=5, around=""))
    (allowed / "test" / "scratch" / "passwd.png").symlink_to("/etc/passwd")
    text = f"/train name:nut dataset:folder:{allowed}"
    assert "Only admins" in (await world.say(text)).text
    answer = await world.say(text, who=BOSS)
    assert answer.kind == "accepted"
    assert answer.facts["concepts"][0]["photos"] == 5, "a link out of the folder is not followed"
    for outside in (tmp_path, tmp_path / "allowed" / ".." / "data", Path("/etc")):
        refused = await world.say(f"/train name:nut dataset:folder:{outside}", who=BOSS)
        assert "not below a folder" in refused.text


@pytest.mark.parametrize(
    ("said", "sent", "told"),
    [
        ("/train name:nut", (), "needs a `dataset`"),
        ("/train dataset:@nut.zip", (Sent("nut.zip", ZIP),), "`save_as`"),
        ("/train name:../nut dataset:@nut.zip", (Sent("nut.zip", ZIP),), "cannot be called"),
        ("/train name:toy dataset:@nut.zip", (Sent("nut.zip", ZIP),), "a model called `toy` already"),
        ("/train name:nut dataset:@nut.zip", (Sent("nut.zip", b"no zip"),), "nut.zip"),
        ("/train name:nut dataset:@nut.zip", (Sent("nut.zip", zipped({"a.txt": "x"})),), "No pictures"),
        ("/train name:nut only:crack dataset:@nut.zip", (Sent("nut.zip", ZIP),), "no concept “crack”"),
        ("/train draft:7 steps:1", (), "no draft 7"),
    ],
)
async def test_what_cannot_be_is_told_and_nothing_is_promised(
    world: World, said: str, sent: tuple[Sent, ...], told: str
) -> None:
    answer = await world.say(said, *sent)
    assert answer.kind == "refused"
    assert told in answer.text
    assert await world.store.jobs.queued() == 0


async def test_a_failed_review_leaves_the_draft_to_be_changed(world: World) -> None:
    await world.say(SAID, nut())
    job = await world.store.jobs.claim(1.0)
    assert job is not None
    failed = await world.store.jobs.fail(job.id, error={"en": "no", "ko": "no"}, seconds=0.0, now=1.0)
    assert failed is not None
    assert [b.action for b in said_of(failed, []).buttons] == ["change", "discard"]


def test_a_review_is_no_command_of_its_own() -> None:
    assert requests.request_named("review") is Review
    assert Review not in requests.MENU


# Pausing: the true dispatcher and pool, an engine that writes a checkpoint when it is suspended


class Keeping(Toy):
    """Goes on from its checkpoint, as a training does."""

    def begin(self, work: Work) -> Counting:
        run = super().begin(work)
        kept = work.folder / "checkpoint-1"
        run.done = int(kept.read_text()) if kept.exists() else 0
        self.log.append(("from", run.done))
        return run

    def suspend(self, run: Counting) -> None:
        if not run.finished and not run.cancelled:
            (run.work.folder / "checkpoint-1").write_text(str(run.done))
        super().suspend(run)


class Trained(Count):
    """A count that is called a training."""

    name = "train"


@pytest.fixture
async def studio(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[tuple[Any, ...]]:
    monkeypatch.setattr("bot.job_work.request_named", lambda name: Count)
    chat, now = Chat("console"), [5000.0]
    chat.carries = dataclasses.replace(chat.carries, edit_age=3000.0)
    async with await Store.open(tmp_path / "data") as store:
        toy = Keeping(slow=0.01)
        pool = Pool({Count: lambda device: toy}, [CPU])
        outbox = Outbox(store, {"console": chat}, clock=lambda: now[0] + time.monotonic())
        dispatcher = Dispatcher(store, pool, outbox, clock=lambda: now[0] + time.monotonic())
        await pool.start()
        tasks = [asyncio.ensure_future(part) for part in (dispatcher.run(), outbox.run())]
        yield store, dispatcher, toy, chat, now
        await pool.stop(5.0)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


async def queued(store: Store, steps: int, command: str = "train") -> Job:
    job, _ = await store.jobs.add(
        key=command, person=KIM.id, name="Kim", platform="console", language="en", command=command, cost=1.0,
        place={"platform": "console", "channel": "x"}, request={"steps": steps, "save_as": "nut"}, inputs=(),
        now=5000.0,
    )  # fmt: skip
    return job


async def until(condition: Any) -> None:
    async with asyncio.timeout(60):
        while not await condition():  # noqa: ASYNC110 - what is waited for has no event
            await asyncio.sleep(0.02)


async def test_paused_keeps_its_steps_and_resumed_goes_on(studio: tuple[Any, ...]) -> None:
    store, dispatcher, toy, chat, _ = studio
    job = await queued(store, 400)
    dispatcher.wake()

    async def under_way() -> bool:
        return len(toy.log) > 20

    await until(under_way)
    assert (await store.jobs.pause(job.id)).state == "paused"
    dispatcher.pause(job.id)

    async def given_back() -> bool:
        return toy.held == 0 and not dispatcher._tasks

    await until(given_back)
    kept = int((store.folder / "work" / str(job.id) / "checkpoint-1").read_text())
    assert 0 < kept < 400
    assert (await store.jobs.get(job.id)).state == "paused"

    async def says_paused() -> bool:
        return any("paused" in said.message.text for said in chat.standing(job.id))

    await until(says_paused)
    assert [b.action for b in chat.standing(job.id)[0].message.buttons] == ["resume", "cancel"]
    await store.jobs.resume(job.id)
    dispatcher.wake()

    async def done() -> bool:
        return bool((await store.jobs.get(job.id)).state == "done")

    await until(done)
    assert [entry for entry in toy.log if entry[0] == "from"] == [("from", 0), ("from", kept)]


async def test_a_cancelled_one_keeps_nothing(studio: tuple[Any, ...]) -> None:
    store, dispatcher, toy, _, _ = studio
    job = await queued(store, 400)
    dispatcher.wake()

    async def under_way() -> bool:
        return len(toy.log) > 20

    await until(under_way)
    await store.jobs.cancel(job.id, now=5001.0)
    dispatcher.cancel(job.id)

    async def gone() -> bool:
        return not (store.folder / "work" / str(job.id)).exists() and not dispatcher._tasks

    await until(gone)


async def test_a_long_trainings_message_is_posted_anew_and_the_old_one_points_on(
    studio: tuple[Any, ...],
) -> None:
    store, dispatcher, _, chat, now = studio
    job = await queued(store, 10**6)
    dispatcher.wake()
    dispatcher._outbox.wake()

    async def shown() -> bool:
        return any(said.message.bar for said in chat.standing(job.id))

    await until(shown)
    now[0] += 3600.0

    async def anew() -> bool:
        said = chat.standing(job.id)
        return len(said) == 2 and said[0].message.bar is None and bool(said[1].message.bar)

    await until(anew)
    old, new = chat.standing(job.id)
    assert "goes on below" in old.message.text
    assert old.message.buttons == ()
    assert [b.action for b in new.message.buttons] == ["pause", "cancel"]
    now[0] += 1000.0
    await asyncio.sleep(0.3)
    assert len(chat.standing(job.id)) == 2, "not oftener than it has to be"
    await store.jobs.cancel(job.id, now=now[0])
    dispatcher.cancel(job.id)


async def test_people_do_not_wait_and_the_training_keeps_its_share(tmp_path: Path) -> None:
    """A training without end beside people who never stop asking: both get what the configuration says."""
    toy = Toy()
    pool = Pool({Count: lambda device: toy}, [CPU], pace=Pace(rows=4, share=0.25))
    await pool.start()

    def work(id: int, person: str, **asked: Any) -> Work:
        folder = tmp_path / str(id)
        folder.mkdir()
        return Work(id, person, Count(**asked), folder)

    training = asyncio.create_task(_through(pool, work(1, "kim", steps=10**9, background=True)))
    try:
        for id in range(2, 12):
            await asyncio.wait_for(_through(pool, work(id, "lee", steps=30)), 60)
    finally:
        training.cancel()
        await asyncio.gather(training, return_exceptions=True)
        await pool.stop(5.0)
    stepped = [entry[1][0] for entry in toy.log if entry[0] == "advance"]
    among: list[int] = []
    for id in range(2, 12):
        first, last = stepped.index(id), len(stepped) - stepped[::-1].index(id)
        among += stepped[first:last]
        share = stepped[first:last].count(1) / (last - first)
        assert 0.05 <= share <= 0.45, f"job {id}: the training had {share:.2f} of the device"
    assert 0.18 <= among.count(1) / len(among) <= 0.32


async def _through(pool: Pool, work: Work) -> None:
    async with aclosing(pool.run(work)) as events:
        async for _ in events:
            pass
