-- Jobs: schedules with a watermark, and what became of their instants.

CREATE TABLE jobs (
    name          TEXT PRIMARY KEY,
    -- as people write it, in JSON
    definition    TEXT NOT NULL,
    origin        TEXT NOT NULL CHECK (origin IN ('config', 'api', 'model')),
    creator       TEXT NOT NULL DEFAULT '',
    paused        INTEGER NOT NULL DEFAULT 0,
    created_at    INTEGER NOT NULL,
    -- instants up to this one are dealt with
    fired_through INTEGER NOT NULL,
    next_at       INTEGER,
    held_until    INTEGER,
    failures      INTEGER NOT NULL DEFAULT 0,
    revision      INTEGER NOT NULL DEFAULT 1,
    -- when it is looked at next; NULL while nothing makes it run
    wakes_at      INTEGER,
    isolated      INTEGER NOT NULL,
    -- when a job that was for once is forgotten
    expires_at    INTEGER
) WITHOUT ROWID;
CREATE INDEX jobs_due ON jobs (wakes_at) WHERE wakes_at IS NOT NULL;
CREATE INDEX jobs_of_origin ON jobs (origin, creator);
CREATE INDEX jobs_expiry ON jobs (expires_at) WHERE expires_at IS NOT NULL;

CREATE TABLE firings (
    number      INTEGER PRIMARY KEY AUTOINCREMENT,
    job         TEXT NOT NULL REFERENCES jobs ON DELETE CASCADE,
    instant     INTEGER NOT NULL,
    outcome     TEXT NOT NULL CHECK (outcome IN ('fired', 'missed', 'skipped', 'refused')),
    count       INTEGER NOT NULL DEFAULT 1,
    asked       INTEGER NOT NULL DEFAULT 0,
    run         TEXT,
    session     TEXT REFERENCES sessions ON DELETE SET NULL,
    -- its run, or the isolated session with all that it started, has not ended
    is_open     INTEGER NOT NULL DEFAULT 0,
    result      TEXT CHECK (result IN ('ok', 'failed', 'cancelled', 'timed_out', 'interrupted')),
    note        TEXT NOT NULL DEFAULT '',
    created_at  INTEGER NOT NULL,
    ended_at    INTEGER,
    -- what the job allowed when it fired
    allow_tools TEXT NOT NULL DEFAULT '[]',
    tools       TEXT,
    isolated    INTEGER NOT NULL DEFAULT 1,
    CONSTRAINT open_has_fired CHECK (NOT is_open OR outcome = 'fired')
);
-- an instant of the schedule comes once
CREATE UNIQUE INDEX firings_once ON firings (job, instant) WHERE NOT asked;
CREATE INDEX firings_of_job ON firings (job, number);
CREATE INDEX firings_of_session ON firings (session) WHERE session IS NOT NULL;
CREATE INDEX firings_open ON firings (job) WHERE is_open;
CREATE INDEX firings_age ON firings (created_at);

INSERT INTO tallies (family, label, state)
SELECT 'job', origin.column1, state.column1
FROM (VALUES ('config'), ('api'), ('model')) AS origin, (VALUES ('active'), ('paused')) AS state;
INSERT INTO tallies (family, label, state)
VALUES ('firing', '', 'fired'), ('firing', '', 'missed'), ('firing', '', 'skipped'), ('firing', '', 'refused');

CREATE TRIGGER job_born AFTER INSERT ON jobs BEGIN
    UPDATE tallies SET count = count + 1 WHERE family = 'job' AND label = NEW.origin
    AND state = CASE WHEN NEW.paused THEN 'paused' ELSE 'active' END;
END;
CREATE TRIGGER job_moved AFTER UPDATE OF paused, origin ON jobs
WHEN OLD.paused <> NEW.paused OR OLD.origin <> NEW.origin BEGIN
    UPDATE tallies SET count = count - 1 WHERE family = 'job' AND label = OLD.origin
    AND state = CASE WHEN OLD.paused THEN 'paused' ELSE 'active' END;
    UPDATE tallies SET count = count + 1 WHERE family = 'job' AND label = NEW.origin
    AND state = CASE WHEN NEW.paused THEN 'paused' ELSE 'active' END;
END;
CREATE TRIGGER job_gone AFTER DELETE ON jobs BEGIN
    UPDATE tallies SET count = count - 1 WHERE family = 'job' AND label = OLD.origin
    AND state = CASE WHEN OLD.paused THEN 'paused' ELSE 'active' END;
END;
CREATE TRIGGER firing_born AFTER INSERT ON firings BEGIN
    UPDATE tallies SET count = count + 1 WHERE family = 'firing' AND state = NEW.outcome;
END;
CREATE TRIGGER firing_gone AFTER DELETE ON firings BEGIN
    UPDATE tallies SET count = count - 1 WHERE family = 'firing' AND state = OLD.outcome;
END;
