-- How fast this studio's devices are, learnt from jobs that ended well. Newer jobs count for more.
CREATE TABLE speeds (
    device    TEXT NOT NULL,                  -- its kind: cpu, cuda …
    command   TEXT NOT NULL,
    model     TEXT NOT NULL,
    size      TEXT NOT NULL,                  -- of the pictures asked for, WxH; '' = the model's own
    row_steps REAL NOT NULL,
    seconds   REAL NOT NULL,                  -- of a device, for those row-steps
    PRIMARY KEY (device, command, model, size)
) STRICT, WITHOUT ROWID;
