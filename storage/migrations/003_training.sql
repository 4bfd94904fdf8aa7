-- A training can be paused, and is a draft until its owner has seen what was understood.

-- SQLite cannot change a CHECK; the way its own manual gives for this (lang_altertable, 7) leaves the rows alone.
PRAGMA writable_schema = ON;
UPDATE sqlite_schema SET sql = replace(sql, '''failed'', ''cancelled''))', '''failed'', ''cancelled'', ''paused''))')
WHERE type = 'table' AND name = 'jobs';
PRAGMA writable_schema = RESET;

CREATE TABLE drafts (
    id       INTEGER PRIMARY KEY AUTOINCREMENT,
    person   TEXT NOT NULL,
    place    TEXT NOT NULL,                   -- JSON
    request  TEXT NOT NULL,                   -- JSON: the training as it would be queued
    notes    TEXT NOT NULL,                   -- JSON: what was understood, [[en, ko], …]
    sheet    TEXT NOT NULL,                   -- blob of the contact sheet
    review   INTEGER NOT NULL DEFAULT 0,      -- the job that shows it; an older one shows what it was before
    state    TEXT NOT NULL CHECK (state IN ('open', 'started', 'dropped')),
    changed  REAL NOT NULL
) STRICT;
CREATE INDEX drafts_of_person ON drafts (person, id);

CREATE TABLE draft_blobs (
    draft INTEGER NOT NULL REFERENCES drafts (id) ON DELETE CASCADE,
    blob  TEXT NOT NULL,
    PRIMARY KEY (draft, blob)
) STRICT, WITHOUT ROWID;
CREATE INDEX draft_blobs_by_blob ON draft_blobs (blob);
