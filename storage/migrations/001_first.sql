CREATE TABLE people (
    person     TEXT PRIMARY KEY,
    name       TEXT NOT NULL DEFAULT '',
    language   TEXT,
    last_input TEXT,                          -- blob offered by "Use as input"
    served     REAL NOT NULL DEFAULT 0        -- virtual time up to which this person has been given work
) STRICT, WITHOUT ROWID;

CREATE TABLE facts (
    person TEXT NOT NULL,
    key    TEXT NOT NULL,
    value  TEXT NOT NULL,
    PRIMARY KEY (person, key)
) STRICT, WITHOUT ROWID;

CREATE TABLE jobs (
    id       INTEGER PRIMARY KEY AUTOINCREMENT,
    key      TEXT NOT NULL UNIQUE,            -- of the saying it came from: the same saying twice is one job
    person   TEXT NOT NULL,
    name     TEXT NOT NULL,
    platform TEXT NOT NULL,
    place    TEXT NOT NULL,                   -- JSON
    language TEXT NOT NULL,
    command  TEXT NOT NULL,
    request  TEXT NOT NULL,                   -- JSON
    cost     REAL NOT NULL,
    turn     REAL NOT NULL,                   -- virtual start time; the smallest queued one is next
    state    TEXT NOT NULL CHECK (state IN ('queued', 'running', 'done', 'failed', 'cancelled')),
    attempts INTEGER NOT NULL DEFAULT 0,      -- crashes survived
    created  REAL NOT NULL,
    started  REAL,                            -- NULL while queued
    ended    REAL,
    seconds  REAL,
    error    TEXT,                            -- JSON
    notes    TEXT NOT NULL,                   -- JSON
    words    TEXT NOT NULL                    -- what history is searched in
) STRICT;
CREATE INDEX jobs_in_line   ON jobs (turn, id) WHERE state = 'queued';
CREATE INDEX jobs_at_work   ON jobs (turn, id) WHERE state = 'running';
CREATE INDEX jobs_of_person ON jobs (person, id);

CREATE TABLE inputs (
    job  INTEGER NOT NULL REFERENCES jobs (id) ON DELETE CASCADE,
    blob TEXT NOT NULL,
    PRIMARY KEY (job, blob)
) STRICT, WITHOUT ROWID;
CREATE INDEX inputs_by_blob ON inputs (blob);

CREATE TABLE results (
    job    INTEGER NOT NULL REFERENCES jobs (id) ON DELETE CASCADE,
    number INTEGER NOT NULL,
    blob   TEXT NOT NULL,
    name   TEXT NOT NULL,
    media  TEXT NOT NULL,
    recipe TEXT NOT NULL,                     -- JSON
    width  INTEGER NOT NULL,
    height INTEGER NOT NULL,
    PRIMARY KEY (job, number)
) STRICT, WITHOUT ROWID;
CREATE INDEX results_by_blob ON results (blob);
CREATE INDEX people_by_blob ON people (last_input) WHERE last_input IS NOT NULL;

CREATE TABLE deliveries (
    job      INTEGER NOT NULL REFERENCES jobs (id) ON DELETE CASCADE,
    kind     TEXT NOT NULL CHECK (kind IN ('status', 'result', 'removal')),
    platform TEXT NOT NULL,
    state    TEXT NOT NULL CHECK (state IN ('pending', 'sending', 'sent', 'dead')),
    message  TEXT NOT NULL DEFAULT '',        -- the platform's id of it
    tries    INTEGER NOT NULL DEFAULT 0,
    due      REAL NOT NULL,
    since    REAL NOT NULL DEFAULT 0,         -- when it was first tried
    PRIMARY KEY (job, kind)
) STRICT, WITHOUT ROWID;
CREATE INDEX deliveries_open ON deliveries (platform, due) WHERE state IN ('pending', 'sending');
