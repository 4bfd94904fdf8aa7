-- Who trained which model, and who else may use it. What a model is, its folder says (model.json).
CREATE TABLE models (
    name    TEXT PRIMARY KEY,                 -- of its folder
    owner   TEXT NOT NULL,                    -- the person who trained it
    place   TEXT NOT NULL,                    -- JSON: where
    shared  TEXT NOT NULL,                    -- JSON: rooms whose people may use it, or ["*"] for everybody
    created REAL NOT NULL,
    job     INTEGER NOT NULL                  -- the training
) STRICT, WITHOUT ROWID;
CREATE INDEX models_by_job ON models (job);
