"""What was asked for before: found by words, command, model, date and place; bookmarked, deleted, let go of."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from storage.blobs import Blobs
from storage.database import Database
from storage.letters import folded, one_token, pairs_of

Scope = Literal["mine", "here", "bookmarked"]
CHUNK = 200  # jobs let go of in one transaction

FOUND = """
SELECT id, jobs.person, name, command, model, state, created, seconds, request,
       (SELECT count(*) FROM results WHERE job = jobs.id) AS results,
       EXISTS (SELECT 1 FROM bookmarks WHERE job = jobs.id AND bookmarks.person = :me) AS bookmarked
FROM {tables} WHERE {condition} ORDER BY {order} LIMIT :limit OFFSET :offset
"""
ADD_WORDS = """
INSERT INTO job_words (rowid, who, room, words) VALUES (:id, one_token(:person), one_token(:room), pairs(:words))
"""
BOOKMARK = "INSERT OR IGNORE INTO bookmarks (person, job) VALUES (?, ?)"
FORGET_BOOKMARK = "DELETE FROM bookmarks WHERE person = ? AND job = ?"
HIDE = "UPDATE jobs SET hidden = 1 WHERE id = ? AND state IN ('done', 'failed', 'cancelled')"
INPUTS_GO = "DELETE FROM inputs WHERE job = ? RETURNING blob"
RESULTS_GO = "DELETE FROM results WHERE job = ? RETURNING blob"
# Old first, and the rows go: what is looked at every hour is what bookmarks hold, not all there ever was.
OLDEST = """
SELECT files.job, jobs.created, jobs.ended, EXISTS (SELECT 1 FROM bookmarks WHERE job = files.job) AS kept
FROM {files} AS files JOIN jobs ON jobs.id = files.job ORDER BY files.job
"""


@dataclass(frozen=True, slots=True)
class Search:
    """What is looked for. Empty means everything; times are Unix times, `until` not included."""

    person: str  # who looks
    scope: Scope = "mine"
    room: str = ""  # for `here`: see `room`
    words: str = ""
    command: str = ""
    model: str = ""
    since: float | None = None
    until: float | None = None


@dataclass(frozen=True, slots=True)
class Entry:
    """A line of history."""

    id: int
    person: str
    name: str  # of the person
    command: str
    model: str
    state: str
    created: float
    seconds: float | None
    request: dict[str, Any]
    results: int  # how many are still stored
    bookmarked: bool  # by the one who looks


def room(place: Mapping[str, Any]) -> str:
    """The place whose people see each other's results: a channel with all its threads."""
    return " ".join(str(place.get(part, "")) for part in ("platform", "guild", "channel"))


class History:
    def __init__(self, database: Database, blobs: Blobs) -> None:
        self._database = database
        self._blobs = blobs

    async def find(self, search: Search, *, limit: int, offset: int = 0) -> list[Entry]:
        """What matches, newest first."""
        query, values = sql(search)
        values |= {"limit": limit, "offset": offset}
        rows = await self._database.read(lambda db: db.execute(query, values).fetchall())
        return [_entry(row) for row in rows]

    async def bookmark(self, person: str, job: int, on: bool = True) -> bool:
        """Keep it at hand, and its results for good; or no more. False if that was so already."""
        query = BOOKMARK if on else FORGET_BOOKMARK
        return await self._database.write(lambda db: db.execute(query, (person, job)).rowcount > 0)

    async def delete(self, job: int, now: float) -> int:
        """Take an ended job out of history, with its results and its hold on the pictures it was made from.

        Files go where nothing else uses them. How many results were forgotten.
        """

        def forget(db: sqlite3.Connection) -> tuple[int, set[str]]:
            if not db.execute(HIDE, (job,)).rowcount:
                return 0, set()
            made = [row[0] for row in db.execute(RESULTS_GO, (job,)).fetchall()]
            used = [row[0] for row in db.execute(INPUTS_GO, (job,)).fetchall()]
            db.execute("DELETE FROM bookmarks WHERE job = ?", (job,))
            return len(made), {*made, *used}

        count, blobs = await self._database.write(forget)
        await self._blobs.drop(blobs, now)
        return count

    async def let_go(self, before: float, now: float) -> int:
        """Forget results and inputs of jobs that ended before, bookmarked ones excepted; how many jobs' they were."""
        jobs = await self._database.read(lambda db: _old(db, before))
        for start in range(0, len(jobs), CHUNK):
            chunk = jobs[start : start + CHUNK]

            def forget(db: sqlite3.Connection, chunk: Sequence[int] = chunk) -> set[str]:
                return {
                    row[0]
                    for job in chunk
                    for query in (RESULTS_GO, INPUTS_GO)
                    for row in db.execute(query, (job,))
                }

            await self._blobs.drop(await self._database.write(forget), now)
        return len(jobs)


def sql(search: Search) -> tuple[str, dict[str, Any]]:
    """The query and its values; whatever is asked, an index leads to it and the newest come first."""
    values: dict[str, Any] = {"me": search.person}
    tables, order, terms = "jobs", "created DESC, id DESC", ["hidden = 0"]
    words = folded(search.words).split()
    if search.scope == "bookmarked":
        tables, order = "bookmarks AS kept CROSS JOIN jobs ON jobs.id = kept.job", "kept.job DESC"
        terms.append("kept.person = :me")
        for number, word in enumerate(words):  # few enough to be read one by one
            terms.append(rf"words LIKE :word{number} ESCAPE '\'")
            values[f"word{number}"] = _like(word)
    else:
        owner, owned = ("room", search.room) if search.scope == "here" else ("person", search.person)
        terms.append(f"jobs.{owner} = :owned")
        values["owned"] = owned
        if words:
            tables, order = "job_words CROSS JOIN jobs ON jobs.id = job_words.rowid", "job_words.rowid DESC"
            terms.append("job_words MATCH :match")
            narrower = folded(f"{search.command} {search.model}").split()  # both are among the words, too
            values["match"] = _match({"room": "room", "person": "who"}[owner], owned, [*words, *narrower])
    for name, term in _TERMS.items():
        if value := getattr(search, name):
            terms.append(term)
            values[name] = value
    return FOUND.format(tables=tables, condition=" AND ".join(terms), order=order), values


_TERMS = {
    "command": "command = :command",
    "model": "model = :model",
    "since": "created >= :since",
    "until": "created < :until",
}


def indexed(command: str, request: dict[str, Any], inputs: Sequence[str]) -> str:
    """What a search looks at: all the text of a request except blob names."""
    said = [value for value in request.values() if isinstance(value, str) and value not in inputs]
    return folded(" ".join([command, *said]))


def _match(column: str, owned: str, words: Sequence[str]) -> str:
    """The full-text query: these words, each as a phrase of pairs, in what is owned."""
    wanted = [f"{column} : {_quoted(one_token(owned))}"]
    for word in words:
        phrase = " ".join(pairs_of(word))
        wanted.append(f"words : {_quoted(phrase)}" if phrase else f"words : {_quoted(word)} *")
    return " AND ".join(wanted)


def _quoted(text: str) -> str:
    return '"' + text.replace('"', '""') + '"'


def _like(word: str) -> str:
    return "%" + word.replace("\\", r"\\").replace("%", r"\%").replace("_", r"\_") + "%"


def _entry(row: sqlite3.Row) -> Entry:
    values = dict(row)
    values |= {"request": json.loads(values["request"]), "bookmarked": bool(values["bookmarked"])}
    return Entry(**values)


def _old(db: sqlite3.Connection, before: float) -> list[int]:
    """Jobs that ended before and still have files: the reading stops at the first job that is younger."""
    found: dict[int, None] = {}
    for files in ("results", "inputs"):
        for row in db.execute(OLDEST.format(files=files)):
            if row["created"] >= before:
                break
            if row["ended"] is not None and row["ended"] < before and not row["kept"]:
                found[row["job"]] = None
    return list(found)
