-- What failed and is tried again later: a run that could not be claimed or closed, a job, a session that is due.
CREATE TABLE aside (
    part     TEXT NOT NULL,
    item     TEXT NOT NULL,
    -- in a row
    attempts INTEGER NOT NULL,
    -- not tried again before this
    until    INTEGER NOT NULL,
    error    TEXT NOT NULL,
    PRIMARY KEY (part, item)
) WITHOUT ROWID;
