"""The outbox's rows: what is to be said where, and whether it was.

`pending → sending → sent | dead`. `sending` is committed before the platform is called: a row found in it at the
start may or may not have been said, and one must look before repeating.
"""

from __future__ import annotations

import sqlite3
from dataclasses import dataclass
from typing import Literal

from storage.database import Database

Kind = Literal[
    "status", "result", "removal"
]  # a job's one living message; its final answer; taking that back
State = Literal["pending", "sending", "sent", "dead"]

_COLUMNS = "job, kind, state, message, tries, due, since"
ADD = "INSERT INTO deliveries (job, kind, platform, state, due) VALUES (?, ?, ?, 'pending', ?)"
ADD_REMOVAL = """
INSERT OR IGNORE INTO deliveries (job, kind, platform, state, due)
SELECT id, 'removal', platform, 'pending', ? FROM jobs WHERE id = ?
"""
GET = f"SELECT {_COLUMNS} FROM deliveries WHERE job = ? AND kind = ?"
OF = f"SELECT {_COLUMNS} FROM deliveries WHERE job = ? ORDER BY kind DESC"
DUE = f"""
SELECT {_COLUMNS} FROM deliveries
WHERE state IN ('pending', 'sending') AND platform = ? AND due <= ?
ORDER BY due, job, kind DESC LIMIT ?
"""
NEXT = """
SELECT min(due) FROM deliveries
WHERE state IN ('pending', 'sending') AND platform = ? AND due > ?
"""
SENDING = """
UPDATE deliveries SET state = 'sending', tries = tries + 1, since = iif(since = 0, :now, since)
WHERE job = :job AND kind = :kind AND state IN ('pending', 'sending')
"""
SENT = """
UPDATE deliveries SET state = 'sent', message = :message WHERE job = :job AND kind = :kind AND state = 'sending'
"""
RETRY = """
UPDATE deliveries SET state = :state, due = :due
WHERE job = :job AND kind = :kind AND state IN ('pending', 'sending')
"""
# Said once more, in a new message: the old one's id stays until the new one has one.
RENEW = """
UPDATE deliveries SET state = 'pending', due = :now, since = 0, tries = 0
WHERE job = :job AND kind = 'status' AND state = 'sent' AND since <= :before
"""
HASTEN = "UPDATE deliveries SET due = :now WHERE state IN ('pending', 'sending') AND due > :now"
DEAD = "UPDATE deliveries SET state = 'dead' WHERE job = ? AND kind = ? AND state IN ('pending', 'sending')"


@dataclass(frozen=True, slots=True)
class Delivery:
    job: int
    kind: Kind
    state: State
    message: str  # the platform's id of the message, '' until known
    tries: int
    due: float  # not before this Unix time
    since: float  # Unix time of the first try, 0 before it


def delivery_of(row: sqlite3.Row) -> Delivery:
    return Delivery(*row)


class Deliveries:
    def __init__(self, database: Database) -> None:
        self._database = database

    async def look(self, now: float, limit: int, platform: str) -> tuple[list[Delivery], float | None]:
        """What should be said now on a platform, the longest waiting first, a job's status before its result; and when
        the next one after that falls due."""

        def looked(db: sqlite3.Connection) -> tuple[list[sqlite3.Row], float | None]:
            rows = db.execute(DUE, (platform, now, limit)).fetchall()
            return rows, db.execute(NEXT, (platform, now)).fetchone()[0]

        rows, later = await self._database.read(looked)
        return [delivery_of(row) for row in rows], later

    async def hasten(self, now: float) -> None:
        """What was put off is due now: what held it up may be over since a new start."""
        await self._database.write(lambda db: db.execute(HASTEN, {"now": now}))

    async def get(self, job: int, kind: Kind) -> Delivery | None:
        row = await self._database.read(lambda db: db.execute(GET, (job, kind)).fetchone())
        return delivery_of(row) if row else None

    async def of(self, job: int) -> list[Delivery]:
        """A job's deliveries, the status first."""
        rows = await self._database.read(lambda db: db.execute(OF, (job,)).fetchall())
        return [delivery_of(row) for row in rows]

    async def add_removal(self, job: int, now: float) -> bool:
        """What was said of a job is to be taken back. False if that is so already."""
        return await self._change(ADD_REMOVAL, (now, job))

    async def sending(self, job: int, kind: Kind, now: float) -> bool:
        """To be committed before the platform is called. False if it is settled already."""
        return await self._change(SENDING, {"job": job, "kind": kind, "now": now})

    async def sent(self, job: int, kind: Kind, message: str, now: float) -> bool:
        """It is said; `message` is its id there."""
        return await self._change(SENT, {"job": job, "kind": kind, "message": message})

    async def retry(self, job: int, kind: Kind, due: float, now: float, *, uncertain: bool = False) -> bool:
        """Again at `due`. Where it is `uncertain` whether it was said, it stays `sending`: look first then."""
        state = "sending" if uncertain else "pending"
        return await self._change(RETRY, {"job": job, "kind": kind, "due": due, "state": state})

    async def renew(self, job: int, before: float, now: float) -> bool:
        """A job's living message, posted at or before `before`, is to be posted anew. False if it was since."""
        return await self._change(RENEW, {"job": job, "before": before, "now": now})

    async def dead(self, job: int, kind: Kind, now: float) -> bool:
        """It will never be said: nobody is there, or it is needless by now."""
        return await self._change(DEAD, (job, kind))

    async def _change(self, query: str, values: dict[str, object] | tuple[object, ...]) -> bool:
        return await self._database.write(lambda db: db.execute(query, values).rowcount == 1)
