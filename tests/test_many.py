"""Many at once: from archives and attachments to parts, one answer, and what a death in the middle costs."""

from __future__ import annotations

import asyncio
import io
import json
import zipfile
from collections.abc import AsyncGenerator
from pathlib import Path

import pytest
from chat import NOW
from desk_world import KIM, Sent, World, mask, png
from dispatcher_world import Ear, Script, ended, running, until
from PIL import Image

from bot.answers import replies
from bot.archives.pairing import paired
from bot.many.bundles import pack
from bot.pictures.sheets import Cell, contact_sheet
from bot.talk import Limits
from engines.engine import Work
from engines.events import Artifact, Event, Failed, Finished, Progress, Started
from engines.request import Item
from engines.requests import Img2Img, Inpaint
from engines.words import Words
from storage.jobs import Job
from storage.store import Store


def archive(files: dict[str, bytes]) -> Sent:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as zip:
        for name, data in files.items():
            zip.writestr(name, data)
    return Sent("photos.zip", out.getvalue())


# What belongs together.


@pytest.mark.parametrize(
    ("names", "masks"),
    [
        (["a.png", "b.jpg", "b_mask.png", "a_mask.png"], {"a.png": "a_mask.png", "b.jpg": "b_mask.png"}),
        (["images/1.png", "images/2.png", "masks/2.png", "masks/1.png"],
         {"images/1.png": "masks/1.png", "images/2.png": "masks/2.png"}),
        (["x/test/hole/0.png", "x/test/cut/0.png", "x/ground_truth/cut/0_mask.png", "x/ground_truth/hole/0_mask.png"],
         {"x/test/hole/0.png": "x/ground_truth/hole/0_mask.png", "x/test/cut/0.png": "x/ground_truth/cut/0_mask.png"}),
        (["A.PNG", "b.png", "a-Mask.png", "mask b.png"], {"A.PNG": "a-Mask.png", "b.png": "mask b.png"}),
        (["a.png", "b.png", "b_mask.png", "c_mask.png"], {"a.png": None, "b.png": "b_mask.png"}),
        (["a.png", "b.png", "where.mask.png"], {"a.png": "where.mask.png", "b.png": "where.mask.png"}),
        (["face_mask.png", "gas mask.png"], {"face_mask.png": None, "gas mask.png": None}),
        (["a.png", "b.png"], {"a.png": None, "b.png": None}),
    ],
    ids=["stems", "folders", "MVTec", "spellings", "some", "one for all", "photos of masks", "none"],
)  # fmt: skip
def test_masks_are_paired_by_name_never_by_place(names: list[str], masks: dict[str, str | None]) -> None:
    for order in (names, names[::-1]):
        pairs = paired(order)
        found = {
            order[p]: None if m is None else order[m] for p, m in zip(pairs.photos, pairs.masks, strict=True)
        }
        assert found == masks


# From a chat to a request of many pictures.


async def test_an_archive_becomes_one_job_of_many_pictures(world: World) -> None:
    quarter, half = mask(), mask((64, 48))
    sent = archive(
        {"images/a.png": png(colour="red"), "images/b.png": png(colour="blue"), "masks/b.png": quarter,
         "masks/a.png": half, "__MACOSX/x.png": b"junk"}
    )  # fmt: skip
    answer = await world.say('/inpaint image:@photos.zip prompt:"a hole" seed:5 steps:4', sent)
    assert answer.kind == "accepted", answer.text
    assert "2 pictures, all with the same seed" in answer.text
    job = await world.job(answer.job)
    request = Inpaint.from_json(job.request)
    assert [item.name for item in request.items] == ["a.png", "b.png"]
    assert [(part.name, part.request.to_json()["seed"]) for part in request.parts] == [
        ("a.png", 5),
        ("b.png", 5),
    ]
    assert job.cost == request.total_cost == 2 * request.cost
    for item, colour in zip(request.items, [(255, 0, 0), (0, 0, 255)], strict=True):
        with Image.open(world.store.blobs.path(item.image)) as image:
            assert image.getpixel((0, 0)) == colour
        assert world.store.blobs.path(item.mask).exists()
    assert not list((world.store.folder / "uploads").iterdir())


async def test_several_attachments_however_they_are_named(world: World) -> None:
    sent = [Sent(f"{c}.png", png(colour=c)) for c in ("red", "green", "blue")]
    for text in (
        '/img2img image:@red.png image:@green.png image:@blue.png prompt:"x"',
        '/img2img "x" @red.png @green.png @blue.png',
        "/img2img x",
    ):
        answer = await world.say(text, *sent)
        request = Img2Img.from_json((await world.job(answer.job)).request)
        assert [item.name for item in request.items] == ["red.png", "green.png", "blue.png"]


async def test_one_mask_serves_all_and_a_pair_stays_a_plain_job(world: World) -> None:
    photos = [Sent("a.png", png(colour="red")), Sent("b.png", png(colour="blue"))]
    answer = await world.say(
        "/inpaint x image:@a.png image:@b.png mask:@m.png", *photos, Sent("m.png", mask())
    )
    request = Inpaint.from_json((await world.job(answer.job)).request)
    assert len(request.items) == 2
    assert request.items[0].mask == request.items[1].mask
    assert "“m.png” is the mask of all photos" in answer.text
    alone = await world.say("/inpaint x", Sent("a_mask.png", mask()), photos[0])
    request = Inpaint.from_json((await world.job(alone.job)).request)
    assert request.items == ()
    assert request.image == Inpaint.from_json((await world.job(answer.job)).request).items[0].image


async def test_what_cannot_be_read_is_named_and_the_rest_goes_on(world: World) -> None:
    sent = archive({"a.png": png(), "readme.txt": b"hello", "b.png": png()[:60], "c.png": png(colour="blue")})
    answer = await world.say("/img2img x image:@photos.zip", sent)
    assert answer.kind == "accepted"
    assert "2 could not be read" in answer.text
    assert "readme.txt" in answer.text
    assert "b.png" in answer.text
    request = Img2Img.from_json((await world.job(answer.job)).request)
    assert [item.name for item in request.items] == ["a.png", "c.png"]
    none = await world.say("/img2img x", archive({"a.txt": b"a", "b.txt": b"b"}))
    assert none.kind == "refused"
    assert "None of the 2" in none.text


async def test_a_hostile_or_a_too_large_archive_is_refused_and_leaves_nothing(world: World) -> None:
    bad = Sent("photos.zip", b"PK\3\4 and no more")
    answer = await world.say("/img2img x", bad)
    assert (answer.kind, "breaks off" in answer.text) == ("refused", True)
    assert not list((world.store.folder / "uploads").iterdir())
    assert await world.store.jobs.queued() == 0


def test_requests_of_before_are_still_read() -> None:
    old = {"prompt": "x", "image": "a" * 64, "seed": 3}
    assert Img2Img.from_json(old).parts == ()
    assert "items" not in Img2Img.from_json(old).to_json()
    many = Img2Img(prompt="x", image="a" * 64, items=(Item("a", "a" * 64), Item("b", "b" * 64)))
    assert Img2Img.from_json(json.loads(json.dumps(many.to_json()))) == many
    assert set(many.blobs) == {"a" * 64, "b" * 64}


# From a request to an answer.


async def many(store: Store, count: int, **more: object) -> Job:
    items = [
        {"name": f"{i:02d}.jpg", "image": await store.blobs.put(png((16, 16), (i, 0, 0))), "mask": ""}
        for i in range(count)
    ]
    inputs = [item["image"] for item in items]
    job, _ = await store.jobs.add(
        key=f"many{count}{more}", person=KIM.id, name=KIM.name, platform="console",
        place={"platform": "console", "channel": "general"}, language="en", command="img2img",
        request={"prompt": "x", "image": inputs[0], "seed": 1, "items": items}, cost=9.0, inputs=inputs, now=NOW,
    )  # fmt: skip
    return job


def made(work: Work) -> Artifact:
    """The photo itself, so that one can see which part it is of."""
    path = work.folder / "out.png"
    path.write_bytes(work.files[work.request.image].read_bytes())  # type: ignore[attr-defined]
    return Artifact(path, "out.png", recipe={"seed": 1, "model": "toy"}, width=16, height=16)


async def simple(work: Work) -> AsyncGenerator[Event, None]:
    yield Started("test")
    for step in (1, 2):
        await asyncio.sleep(0.002)
        yield Progress(step, 2)
    yield Finished((made(work),), 0.5)


async def test_parts_run_a_few_at_a_time_and_one_answer_comes(store: Store) -> None:
    pool, ear = Script(simple, slots=8), Ear()
    job = await many(store, 20)
    async with running(store, pool, ear):
        done = await ended(store, job)
        await until(lambda: not (store.folder / "work" / str(job.id)).exists())
    assert (done.state, done.seconds, pool.most) == ("done", 10.0, 8)
    results = await store.results.of(job.id)
    assert [one.name for one in results] == ["contact-sheet.png", *(f"{i:02d}.png" for i in range(20))]
    for i, one in enumerate(results[1:]):
        with Image.open(store.blobs.path(one.blob)) as image:
            assert image.getpixel((0, 0)) == (i, 0, 0), "the result carries the name of its own input"
    shown = [progress for _, progress, _ in ear.shown if progress]
    assert [p.step for p in shown] == sorted(p.step for p in shown)
    assert (shown[-1].step, shown[-1].total) == (40, 40)
    assert shown[-1].note is not None
    assert shown[-1].note.en == "20 of 20 done"


async def test_a_failure_is_named_and_fails_nobody_else(store: Store) -> None:
    async def play(work: Work) -> AsyncGenerator[Event, None]:
        number = int(work.folder.name)
        if number == 2:
            yield Failed(Words("too dark", "너무 어둡습니다"), "input")
        elif number == 3:
            raise ZeroDivisionError("a bug")
        else:
            yield Finished(
                (made(work),), 0.1, (Words("all say so", "모두"), *([Words("odd", "홀수")] * (number % 2)))
            )

    job = await many(store, 6)
    async with running(store, Script(play)):
        done = await ended(store, job)
    told = "\n".join(en for en, _ in done.notes)
    assert done.state == "done"
    assert "2 of 6 could not be done" in told
    assert "02.jpg: too dark" in told
    assert "03.jpg" in told
    assert told.count("all say so") == 1
    assert "01.jpg, 05.jpg: odd" in told
    assert len(await store.results.of(job.id)) == 5


async def test_where_all_fail_the_job_fails_and_says_why(store: Store) -> None:
    async def play(work: Work) -> AsyncGenerator[Event, None]:
        yield Failed(Words("too dark", "너무 어둡습니다"), "input")

    job = await many(store, 30)
    async with running(store, Script(play)):
        failed = await ended(store, job)
    assert failed.state == "failed"
    assert failed.error is not None
    assert failed.error["en"].startswith("None of the 30 could be done:\n00.jpg: too dark")
    assert "… and 20 more" in failed.error["en"]


async def test_a_death_in_the_middle_costs_only_what_was_in_hand(store: Store) -> None:
    """Killed (no goodbye to anybody), and stopped: what was finished is not done again, and one answer comes."""
    gate, ran = asyncio.Event(), list[str]()

    async def play(work: Work) -> AsyncGenerator[Event, None]:
        number = int(work.folder.name)
        yield Started("test")
        if number >= 5 and not gate.is_set():
            await asyncio.sleep(60)
        ran.append(work.folder.name)
        yield Finished((made(work),), 0.5)

    job = await many(store, 9)
    async with running(store, Script(play, slots=8)):
        await until(lambda: len(list(store.folder.glob(f"work/{job.id}/parts/*/made.json"))) == 5)
    (waiting,) = await store.jobs.line()
    assert (waiting.id, waiting.attempts) == (job.id, 0)
    half = store.folder / "work" / str(job.id) / "parts" / "0001" / "out.png"
    half.write_bytes(half.read_bytes()[:10])  # a power cut took its end
    gate.set()
    before, ran[:] = list(ran), []
    async with running(store, Script(play, slots=8)):
        done = await ended(store, job)
    assert sorted(before) == [f"{i:04d}" for i in range(5)]
    assert sorted(ran) == ["0001", *(f"{i:04d}" for i in range(5, 9))]
    assert (done.state, done.seconds) == ("done", 5.0), "of both lives: nine, and one of them twice"
    assert len(await store.results.of(job.id)) == 10
    assert [d.kind for d in await store.deliveries.of(job.id)].count("result") == 1


async def test_a_cancelled_batch_ends_at_once_with_all_its_parts(store: Store) -> None:
    async def play(work: Work) -> AsyncGenerator[Event, None]:
        yield Started("test")
        await asyncio.sleep(60)

    pool = Script(play, slots=8)
    job = await many(store, 20)
    async with running(store, pool) as dispatcher:
        await until(lambda: pool.inside == 8)
        assert await store.jobs.cancel(job.id, now=NOW)
        dispatcher.cancel(job.id)
        await until(lambda: pool.inside == 0)
        await until(lambda: not (store.folder / "work" / str(job.id)).exists())
    assert (await ended(store, job)).state == "cancelled"


async def test_a_batch_takes_nobodys_place(store: Store) -> None:
    from chat import add_job

    async def play(work: Work) -> AsyncGenerator[Event, None]:
        yield Started("test")
        if work.folder.parent.name == "parts":
            await asyncio.sleep(60)
        yield Finished((), 0.1)

    pool = Script(play, slots=8)
    await many(store, 50)
    async with running(store, pool) as dispatcher:
        await until(lambda: pool.inside == 8)
        other = await add_job(store, "other", person="console:lee")
        dispatcher.wake()
        assert (await ended(store, other, seconds=5.0)).state == "done"
    assert pool.most == 9


# The answer within what a platform carries.


async def shown_of(store: Store, job: Job) -> list[replies.Shown]:
    return [replies.Shown(one, store.blobs.path(one.blob)) for one in await store.results.of(job.id)]


def names_in(path: Path) -> list[str]:
    with zipfile.ZipFile(path) as zip:
        assert zip.testzip() is None
        assert all(info.compress_type == zipfile.ZIP_STORED for info in zip.infolist())
        return zip.namelist()


async def test_the_answer_is_a_sheet_and_one_archive_or_several(store: Store, tmp_path: Path) -> None:
    job = await many(store, 12)
    async with running(store, Script(simple)):
        job = await ended(store, job)
    shown = await shown_of(store, job)
    wide = Limits(10**9, 10, 10**9, 0.0, 4000)
    answer = await pack(replies.answer(job, shown, limits=wide), shown, wide, tmp_path, None, "en")
    assert [file.name for file in answer.files] == ["contact-sheet.png", f"{job.id}.zip"]
    assert names_in(answer.files[1].path) == [f"{i:02d}.png" for i in range(12)]
    assert not [button for button in answer.buttons if button.action in ("use", "vary")]

    (tmp_path / "tight").mkdir()
    tight = Limits(5000, 10, 10**6, 0.0, 4000)
    answer = await pack(
        replies.answer(job, shown, limits=tight), shown, tight, tmp_path / "tight", None, "en"
    )
    zips = [file for file in answer.files if file.name.endswith(".zip")]
    assert len(zips) > 1
    assert "archives" in answer.text
    assert [name for file in zips for name in names_in(file.path)] == [f"{i:02d}.png" for i in range(12)]
    assert all(file.path.stat().st_size <= tight.file_bytes for file in zips)


async def test_what_cannot_be_carried_is_said(store: Store, tmp_path: Path) -> None:
    job = await many(store, 12)
    async with running(store, Script(simple)):
        job = await ended(store, job)
    shown = await shown_of(store, job)
    tiny = Limits(1200, 2, 40_000, 0.0, 4000)
    answer = await pack(replies.answer(job, shown, limits=tiny), shown, tiny, tmp_path, None, "en")
    assert "too large to be sent here" in answer.text
    assert sum(file.path.stat().st_size for file in answer.files) <= tiny.message_bytes


def test_a_sheet_has_a_bounded_size_whatever_is_on_it(tmp_path: Path) -> None:
    path = tmp_path / "a.png"
    path.write_bytes(png((300, 40), "red"))
    (tmp_path / "broken.png").write_bytes(b"no picture")
    for count in (1, 7, 40, 500):
        cells = [Cell(f"{i}.png", path, failed=i == 3) for i in range(count)]
        sheet = contact_sheet([*cells[:-1], Cell("나사_" * 30, tmp_path / "broken.png", "words " * 50)])
        assert max(sheet.size) <= 4000
    one = contact_sheet([Cell("a.png", path)])
    assert one.getpixel((one.width // 2, one.width // 2)) == (255, 0, 0)
