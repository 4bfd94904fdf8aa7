"""/history: found by any part of a word, by date, model, command and place; shown, repeated, kept, deleted, let go of."""

from __future__ import annotations

import os
import sqlite3
from collections.abc import AsyncIterator
from contextlib import closing
from datetime import datetime
from pathlib import Path

import pytest
from chat import add_job
from desk_world import BOSS, HERE, KIM, LEE, Sent, World, mask, opened, png
from hypothesis import given, settings
from hypothesis import strategies as st

from bot.dates import moment
from bot.pictures.reading import PictureReader
from bot.talk import Place
from engines.words import Refusal
from storage.database import migrate, migrations
from storage.history import ADD_WORDS, Search, sql
from storage.letters import folded, pairs
from storage.store import DATABASE, Store

DAY = 86400.0
NOW = datetime(2026, 11, 22, 15, 30).timestamp()


@pytest.fixture
async def world(tmp_path: Path, reader: PictureReader) -> AsyncIterator[World]:
    async with opened(tmp_path, reader) as world:
        world.now[0] = NOW
        yield world


def ids(text: str) -> list[int]:
    return [int(line[1:].split()[0]) for line in text.splitlines() if line.startswith("#")]


async def test_history_turns_pages_in_words_and_by_buttons(world: World) -> None:
    assert (await world.say("/history")).text == "You have not asked for anything yet."
    for number in range(12):
        await world.say(f"/txt2img nut {number}", who=BOSS)
    first = await world.say("/history", who=BOSS)
    assert ids(first.text) == [12, 11, 10, 9, 8]
    assert first.text.splitlines()[0] == "#12 txt2img · waiting · 2026-11-22 15:30 `nut 11`"
    assert "`page:2`" in first.text
    assert [b.id for b in first.buttons[:5]] == [
        "ds:show:12:0", "ds:rerun:12:0", "ds:recipe:12:0", "ds:bookmark:12:0", "ds:cancel:12:0",
    ]  # fmt: skip
    assert first.buttons[-1].id == "ds:page:0:2"
    third = await world.press("page", 0, who=BOSS, index=3)
    assert ids(third.text) == [2, 1]
    assert [b.id for b in third.buttons[10:]] == ["ds:page:0:2"]
    assert (await world.say("/history page:9", who=BOSS)).text == "There is no page 9."
    assert (await world.say("/history", who=KIM)).text == "You have not asked for anything yet."


async def test_the_buttons_turn_the_pages_of_the_last_search(world: World) -> None:
    for number in range(12):
        await world.say(f"/txt2img {'nut' if number % 2 else 'bolt'} {number}", who=BOSS)
    await world.say("/history bolt", who=BOSS)
    assert ids((await world.press("page", 0, who=BOSS, index=2)).text) == [1]


async def test_any_part_of_a_word_finds_it(world: World) -> None:
    for prompt in ("a scratched nut", "금속의 긁힘이 있는 너트", "DPM++ 50% a_b", "a tile"):
        await world.say(f'/txt2img "{prompt}"')
    for words, found in {
        "nut": [1], "RATCH": [1], "긁힘": [2], "속": [2], "너트 금속": [2], "50%": [3], "a_b": [3],
        "a_c": [], "tched nu": [1], "hedn": [], '"a': [], "x": [4, 3, 2, 1], "tile nut": [],
    }.items():  # fmt: skip
        assert ids((await world.say(f"/history words:{_quoted(words)}")).text) == found, words
    assert (await world.say("/history bolt")).text == "No job fits this search."


def _quoted(words: str) -> str:
    return '"' + words.replace('"', '\\"') + '"'


async def test_by_command_model_and_date(world: World) -> None:
    world.now[0] = NOW - 3 * DAY
    await world.say("/txt2img nut")
    world.now[0] = NOW - DAY
    await world.say("/txt2img bolt")
    world.now[0] = NOW
    await world.say("/txt2img nut again")
    for said, found in {
        "from:today": [3],
        "from:오늘": [3],
        "from:2d": [3, 2],
        "to:yesterday": [2, 1],
        "from:yesterday to:yesterday": [2],
        "from:2026-11-19 to:2026.11.19": [1],
        "command:/txt2img nut": [3, 1],
        "command:inpaint": [],
        "model:toy nut": [3, 1],
        "model:other": [],
        "from:1h nut": [3],
    }.items():
        assert ids((await world.say(f"/history {said}")).text) == found, said
    refused = await world.say("/history from:sometime")
    assert refused.kind == "refused"
    assert "2026-11-02" in refused.text


def test_dates_are_days_of_the_studios_clock() -> None:
    assert moment("today", NOW) == NOW - 15.5 * 3600
    assert moment("today", NOW, end=True) == NOW + 8.5 * 3600
    assert moment("12시간", NOW) == NOW - 12 * 3600
    for none in ("2026-02-30", "9999-12-31"):  # after the last day there is none
        with pytest.raises(Refusal, match="is no date"):
            moment(none, NOW, end=True)


async def test_what_was_asked_here_is_seen_here_by_all_and_nowhere_else(world: World) -> None:
    await world.say("/txt2img secret nut", who=KIM)
    await world.make(png())
    here = await world.say("/history here", who=LEE)
    assert here.text.startswith("#1 txt2img · Kim · done in 1.5 s")
    assert [b.action for b in here.buttons] == ["show", "rerun", "recipe", "bookmark", "use"], "no Delete"
    assert (await world.say("/history", who=LEE)).text == "You have not asked for anything yet."
    elsewhere = Place(HERE.platform, "another")
    said = world.said("/history here", who=LEE)
    there = await world.desk.hear(type(said)(said.key, said.person, elsewhere, "en", said.text))
    assert there.text == "Nothing was asked for here yet."
    assert (await world.press("show", 1, who=LEE)).files
    assert (await world.press("show", 1, who=LEE, place=elsewhere)).kind == "refused"
    assert (await world.press("delete", 1, who=LEE)).kind == "refused"


async def test_an_entry_is_shown_and_run_again_as_it_was(world: World) -> None:
    await world.say("/txt2img nut seed:5")
    assert (await world.press("show", 1)).text == "#1 has not ended yet."
    await world.make(png(), png(colour="blue"))
    shown = await world.press("show", 1)
    assert [file.name for file in shown.files] == ["1-0.png", "1-1.png"]
    again = await world.say("/history do:rerun job:1")
    assert again.kind == "accepted"
    assert (await world.job(again.job)).request == (await world.job(1)).request


async def test_what_is_paused_has_not_ended(world: World) -> None:
    await world.say("/txt2img nut")
    await world.store.jobs.pause(1)
    assert [b.action for b in (await world.say("/history")).buttons][-1] == "cancel"
    for action in ("show", "delete"):
        assert (await world.press(action, 1)).text.startswith("#1 has not ended yet")
    assert world.outbox.told == ["wake"], "its message is not taken away"
    assert (await world.say("/cancel")).text == "Cancelled #1."


async def test_a_bookmark_is_ones_own_and_goes_off_again(world: World) -> None:
    await world.say("/txt2img nut")
    assert (await world.say("/history bookmarked")).text.startswith("You have no bookmarks yet.")
    assert "is bookmarked" in (await world.press("bookmark", 1)).text
    assert "#1 txt2img ★" in (await world.say("/history 북마크")).text
    assert (await world.say("/history bookmarked", who=LEE)).text.startswith("You have no bookmarks yet.")
    assert ids((await world.say("/history list:bookmarked words:u")).text) == [1]
    assert ids((await world.say("/history list:bookmarked words:bolt")).text) == []
    assert "no longer bookmarked" in (await world.press("bookmark", 1)).text
    assert (await world.say("/history bookmarked")).text.startswith("You have no bookmarks yet.")


async def test_delete_takes_entry_results_and_unused_files(world: World) -> None:
    await world.say("/txt2img nut")
    job = await world.make(png())
    blob = (await world.store.results.of(job.id))[0].blob
    world.now[0] += 1000  # what was put just now is left for those who may be about to name it
    os.utime(world.store.blobs.path(blob), (NOW, NOW))
    await world.press("delete", 1)
    assert (await world.say("/history")).text == "You have not asked for anything yet."
    assert not world.store.blobs.path(blob).exists()


async def test_delete_takes_the_photo_and_the_mask_too(world: World) -> None:
    await world.say("/inpaint x", Sent("a.png", png()), Sent("m.png", mask()))
    await world.make(png(colour="green"))
    request = (await world.job(1)).request
    paths = [world.store.blobs.path(request[name]) for name in ("image", "mask")]
    for path in paths:
        os.utime(path, (NOW, NOW))
    world.now[0] += 1000
    await world.press("delete", 1)
    assert [path.exists() for path in paths] == [False, False]


async def test_a_file_that_others_use_stays(world: World) -> None:
    for _ in range(2):
        await world.say("/txt2img nut")
        job = await world.make(png())
    blob = (await world.store.results.of(job.id))[0].blob
    os.utime(world.store.blobs.path(blob), (NOW, NOW))
    world.now[0] += 1000
    await world.press("delete", 1)
    assert world.store.blobs.path(blob).exists()


async def test_old_results_are_let_go_of_and_bookmarked_ones_are_not(world: World) -> None:
    for day in (9, 8, 1):
        world.now[0] = NOW - day * DAY
        await world.say(f"/txt2img nut {day}")
        await world.make(png(colour=(day, 0, 0)))
    await world.say("/txt2img waiting")
    world.now[0] = NOW
    await world.press("bookmark", 2)
    assert await world.store.history.let_go(NOW - 7 * DAY, NOW) == 1
    assert [len(await world.store.results.of(id)) for id in (1, 2, 3)] == [0, 1, 1]
    assert "done, results no longer stored" in (await world.say("/history nut 9")).text
    assert "no longer stored" in (await world.press("show", 1)).text
    assert await world.store.history.let_go(NOW - 7 * DAY, NOW) == 0


@pytest.mark.parametrize(
    "search",
    [
        Search("p"), Search("p", words="nut bolt"), Search("p", words="x"), Search("p", "here", "r"),
        Search("p", "here", "r", words="너트"), Search("p", "bookmarked"), Search("p", "bookmarked", words="nut"),
        Search("p", command="inpaint", model="m", since=1.0, until=2.0),
    ],
)  # fmt: skip
async def test_an_index_leads_to_everything(tmp_path: Path, search: Search) -> None:
    async with await Store.open(tmp_path) as store:
        query, values = sql(search)
        values |= {"limit": 6, "offset": 0}
        rows = await store.database.read(
            lambda db: db.execute(f"EXPLAIN QUERY PLAN {query}", values).fetchall()
        )
    plan = [row["detail"] for row in rows]
    assert not any(step.startswith("SCAN") and "VIRTUAL TABLE" not in step for step in plan), plan
    assert not any("TEMP B-TREE FOR ORDER" in step for step in plan), plan


WORDS = st.text(st.sampled_from("abA %_\"'*너트ㄱ+\n"), max_size=12)


@settings(max_examples=25, deadline=None)
@given(texts=st.lists(WORDS, min_size=1, max_size=4), wanted=WORDS)
def test_the_index_finds_exactly_what_holds_every_word(texts: list[str], wanted: str) -> None:
    with closing(sqlite3.connect(":memory:", isolation_level=None)) as db:
        db.row_factory = sqlite3.Row
        migrate(db)
        for number, text in enumerate(texts, 1):
            db.execute(
                "INSERT INTO jobs (key, person, name, platform, place, language, command, request, cost, turn, state, "
                "created, notes, words) VALUES (?, 'p', '', '', '{}', 'en', 'c', '{}', 1.0, 1.0, 'done', ?, '[]', ?)",
                (str(number), float(number), folded(text)),
            )
            db.execute(ADD_WORDS, {"id": number, "person": "p", "room": "r", "words": folded(text)})
        query, values = sql(Search("p", words=wanted))
        found = {row["id"] for row in db.execute(query, {**values, "limit": 10, "offset": 0})}
    words = folded(wanted).split()
    assert found == {
        n
        for n, text in enumerate(texts, 1)
        if all(any(w in said for said in folded(text).split()) for w in words)
    }


def test_words_are_kept_apart() -> None:
    assert pairs("a nut") == "a nu ut t"


async def test_a_database_of_the_first_release_is_searched_too(tmp_path: Path) -> None:
    async with await Store.open(tmp_path / "new") as store:
        await add_job(store, "k", person="p")
    with closing(sqlite3.connect(tmp_path / DATABASE)) as old:
        old.executescript(migrations()[0][1])
        old.execute("PRAGMA user_version = 1")
        with closing(sqlite3.connect(tmp_path / "new" / DATABASE)) as new:
            names = [row[1] for row in old.execute("PRAGMA table_info(jobs)")]
            row = new.execute(f"SELECT {', '.join(names)} FROM jobs").fetchone()
        old.execute(f"INSERT INTO jobs VALUES ({', '.join('?' * len(names))})", row)
        old.commit()
    async with await Store.open(tmp_path) as store:
        assert [e.id for e in await store.history.find(Search("p", words="scratch"), limit=5)] == [1]
        assert [e.id for e in await store.history.find(Search("q", "here", "chat  general"), limit=5)] == [1]
