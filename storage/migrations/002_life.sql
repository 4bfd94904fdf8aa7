-- Searching history, bookmarks, presets, usage by day, departments.
ALTER TABLE jobs ADD COLUMN department TEXT NOT NULL DEFAULT '';  -- of the person, as it was when they asked
ALTER TABLE jobs ADD COLUMN hidden INTEGER NOT NULL DEFAULT 0;    -- 1: deleted from history; kept for counting
ALTER TABLE jobs ADD COLUMN model TEXT NOT NULL DEFAULT '';       -- that the request names
ALTER TABLE jobs ADD COLUMN room TEXT NOT NULL DEFAULT '';        -- whose people see its results
UPDATE jobs SET
    model = CAST(coalesce(json_extract(request, '$.model'), '') AS TEXT),
    room = coalesce(json_extract(place, '$.platform'), '') || ' ' || coalesce(json_extract(place, '$.guild'), '')
        || ' ' || coalesce(json_extract(place, '$.channel'), '');
CREATE INDEX jobs_found_by_person ON jobs (person, created, hidden, command, model);
CREATE INDEX jobs_found_by_room   ON jobs (room, created, hidden, command, model);
CREATE INDEX jobs_of_department   ON jobs (department, created) WHERE department <> '';

-- Any part of a word finds it, in Korean too: the text is stored as its pairs of letters (storage/letters.py).
-- `who` and `room` are one token each, so that somebody's own words are found without looking at all others'.
CREATE VIRTUAL TABLE job_words USING fts5 (
    who, room, words, content = '', columnsize = 0,
    tokenize = "unicode61 remove_diacritics 0 categories 'L* M* N* P* S* C*'"
);
INSERT INTO job_words (rowid, who, room, words) SELECT id, one_token(person), one_token(room), pairs(words) FROM jobs;

CREATE TABLE bookmarks (
    person TEXT NOT NULL,
    job    INTEGER NOT NULL REFERENCES jobs (id) ON DELETE CASCADE,
    PRIMARY KEY (person, job)
) STRICT, WITHOUT ROWID;
CREATE INDEX bookmarks_by_job ON bookmarks (job);

CREATE TABLE presets (
    person TEXT NOT NULL,
    name   TEXT NOT NULL,
    said   TEXT NOT NULL,                     -- JSON: field -> value as it would be said
    PRIMARY KEY (person, name)
) STRICT, WITHOUT ROWID;

CREATE TABLE usage (                          -- what was done on each day; outlives the jobs' results
    day        TEXT NOT NULL,                 -- YYYY-MM-DD, of the studio's own clock
    person     TEXT NOT NULL,
    department TEXT NOT NULL,
    command    TEXT NOT NULL,
    model      TEXT NOT NULL,
    jobs       INTEGER NOT NULL,
    pictures   INTEGER NOT NULL,
    seconds    REAL NOT NULL,                 -- on a device
    PRIMARY KEY (person, day, department, command, model)
) STRICT, WITHOUT ROWID;
CREATE INDEX usage_of_department ON usage (department, day) WHERE department <> '';
CREATE INDEX usage_by_day ON usage (day);
INSERT INTO usage
SELECT date(ended, 'unixepoch', 'localtime'), person, department, command, model, count(*),
       sum((SELECT count(*) FROM results WHERE results.job = jobs.id AND width > 0)), sum(coalesce(seconds, 0.0))
FROM jobs WHERE state = 'done' AND ended IS NOT NULL GROUP BY 1, 2, 3, 4, 5;
