"""Answers with files: more than fit, larger than a platform carries, and at last none, with a word of it."""

from __future__ import annotations

import asyncio
import io
import zipfile
from pathlib import Path

import pytest
from chat import NOW, Chat, add_job
from outbox_world import Clock, finish, running, settled
from PIL import Image

from bot.pictures.reading import PictureReader
from bot.talk import Limits, Message, Place
from storage.results import NewResult
from storage.store import Store


async def test_more_pictures_than_fit_come_with_an_archive_of_all(store: Store, tmp_path: Path) -> None:
    chat, kept = Chat(), []
    job = await add_job(store)
    await finish(store, job, count=16)
    post = chat.post

    async def keep(place: Place, message: object, key: str) -> str:
        kept.extend(file.path.read_bytes() for file in message.files)  # type: ignore[attr-defined]
        return await post(place, message, key)  # type: ignore[arg-type]

    chat.post = keep  # type: ignore[method-assign]
    async with running(store, chat) as outbox:
        await settled(store, outbox, job)
    (said,) = chat.standing(job.id)
    assert [name for name, _ in said.files] == [*(f"nut-{n}.png" for n in range(9)), f"{job.id}.zip"]
    with zipfile.ZipFile(io.BytesIO(kept[-1])) as archive:
        assert archive.namelist() == [f"nut-{n}.png" for n in range(16)]
        assert archive.testzip() is None


async def _cut(path: Path, most: int) -> tuple[bytes, str]:
    return (await asyncio.to_thread(path.read_bytes))[:most], "picture.webp"


@pytest.mark.parametrize(
    "carries", [(600, 10**6), (10**6, 1500)], ids=["each file too large", "too large together"]
)
async def test_pictures_too_large_are_sent_smaller(store: Store, carries: tuple[int, int]) -> None:
    chat = Chat(carries=Limits(carries[0], 10, carries[1], 0.05, 2000))
    job = await add_job(store)
    await finish(store, job, count=3)
    async with running(store, chat, shrink=_cut) as outbox:
        await settled(store, outbox, job)
    (said,) = chat.standing(job.id)
    assert [name for name, _ in said.files] == ["nut-0.webp", "nut-1.webp", "nut-2.webp"]
    assert all(size <= carries[0] for _, size in said.files)
    assert sum(size for _, size in said.files) <= carries[1]


async def test_a_real_picture_is_made_smaller_by_the_reader(store: Store) -> None:
    chat = Chat(carries=Limits(20_000, 10, 10**6, 0.05, 2000))
    job = await add_job(store)
    noise = Image.effect_noise((200, 200), 80).convert("RGB")
    noise.save(file := io.BytesIO(), "PNG")
    assert len(file.getvalue()) > 20_000
    await store.jobs.claim(NOW)
    made = NewResult(await store.blobs.put(file.getvalue()), "nut.png", "image/png", {}, 200, 200)
    await store.jobs.finish(job.id, results=[made], notes=[], seconds=1.0, now=NOW)
    async with PictureReader() as reader, running(store, chat, shrink=reader.shrink) as outbox:
        await settled(store, outbox, job, seconds=30.0)
    ((name, size),) = chat.standing(job.id)[0].files
    assert name.startswith("nut.")
    assert size <= 20_000


async def test_a_platform_that_refuses_its_own_limits_gets_less(store: Store) -> None:
    chat = Chat(most=150_000)
    job = await add_job(store)
    await finish(store, job, count=2, size=250_000)
    async with running(store, chat, shrink=_cut) as outbox:
        await settled(store, outbox, job)
    (said,) = chat.standing(job.id)
    assert len(said.files) == 2
    assert sum(size for _, size in said.files) <= 150_000


async def test_at_last_the_answer_goes_without_files_and_says_so(store: Store) -> None:
    chat = Chat(most=10)
    job = await add_job(store)
    await finish(store, job, count=2, size=250_000)
    async with running(store, chat, shrink=_cut) as outbox:
        await settled(store, outbox, job)
    (said,) = chat.standing(job.id)
    assert not said.files
    assert "2 file(s) are too large" in said.message.text


async def test_an_answer_that_the_platform_will_not_have_goes_without_files(
    store: Store,
) -> None:
    chat, clock = Chat(), Clock(speed=50.0)
    job = await add_job(store)
    await finish(store, job)
    post = chat.post

    async def picky(place: Place, message: Message, key: str) -> str:
        if message.files:
            raise RuntimeError("400: invalid form body")
        return await post(place, message, key)

    chat.post = picky  # type: ignore[method-assign]
    async with running(store, chat, clock=clock) as outbox:
        await settled(store, outbox, job)
    (said,) = chat.standing(job.id)
    assert not said.files
    assert "too large" in said.message.text
