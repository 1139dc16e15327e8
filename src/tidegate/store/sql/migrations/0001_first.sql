-- The first schema. Instants are ms since the epoch, UTC. Why each table is as it is: store/DESIGN.md.

CREATE TABLE meta (
    key   TEXT PRIMARY KEY,
    value TEXT NOT NULL
) WITHOUT ROWID;

CREATE TABLE sessions (
    id           TEXT PRIMARY KEY,
    key          TEXT NOT NULL UNIQUE,
    policy       TEXT NOT NULL CHECK (policy IN ('chat', 'subagent', 'cron', 'hook', 'api', 'api_named')),
    state        TEXT NOT NULL CHECK (state IN ('created', 'active', 'completed', 'archived')),
    outcome      TEXT CHECK (outcome IN ('ok', 'failed', 'cancelled', 'timed_out', 'interrupted')),
    parent       TEXT REFERENCES sessions ON DELETE RESTRICT,
    cap_group    TEXT,
    agent        TEXT NOT NULL,
    title        TEXT NOT NULL,
    created_at   INTEGER NOT NULL,
    updated_at   INTEGER NOT NULL,
    since_at     INTEGER NOT NULL,
    turn_at      INTEGER,
    running_at   INTEGER,
    due_at       INTEGER,
    due_to       TEXT CHECK (due_to IN ('completed', 'archived', 'deleted')),
    entries      INTEGER NOT NULL DEFAULT 0,
    cold_through INTEGER NOT NULL DEFAULT 0 CHECK (cold_through BETWEEN 0 AND entries),
    bytes        INTEGER NOT NULL DEFAULT 0 CHECK (bytes >= 0),
    pinned       INTEGER NOT NULL DEFAULT 0,
    version      INTEGER NOT NULL DEFAULT 1,
    -- an ephemeral session has a date for its next step from its birth on
    CONSTRAINT ephemeral_has_a_date CHECK (policy = 'chat' OR pinned OR due_at IS NOT NULL),
    CONSTRAINT date_has_an_end CHECK ((due_at IS NULL) = (due_to IS NULL)),
    CONSTRAINT only_live_sessions_run CHECK (turn_at IS NULL OR state IN ('created', 'active')),
    CONSTRAINT running_is_open CHECK (running_at IS NULL OR turn_at IS NOT NULL)
);
CREATE INDEX sessions_due ON sessions (due_at) WHERE due_at IS NOT NULL;
CREATE INDEX sessions_listed ON sessions (policy, state, id);
CREATE INDEX sessions_parent ON sessions (parent, id) WHERE parent IS NOT NULL;
CREATE INDEX sessions_capped ON sessions (cap_group, created_at)
    WHERE cap_group IS NOT NULL AND state IN ('completed', 'archived');

-- The key is append-only: the messages of one group commit share the last pages. The index finds them.
CREATE TABLE entries (
    id       INTEGER PRIMARY KEY,
    session  TEXT NOT NULL REFERENCES sessions ON DELETE CASCADE,
    seq      INTEGER NOT NULL,
    body     BLOB NOT NULL CHECK (length(body) <= 65536),
    checksum INTEGER NOT NULL
);
CREATE UNIQUE INDEX entries_place ON entries (session, seq);

CREATE TABLE segments (
    session   TEXT NOT NULL REFERENCES sessions ON DELETE CASCADE,
    first_seq INTEGER NOT NULL,
    last_seq  INTEGER NOT NULL CHECK (last_seq >= first_seq),
    digest    BLOB NOT NULL,
    raw_bytes INTEGER NOT NULL,
    body      BLOB NOT NULL,
    PRIMARY KEY (session, first_seq)
);

-- Sessions whose segments are committed and whose hot rows are still to be verified against them and removed.
CREATE TABLE trims (
    session TEXT PRIMARY KEY REFERENCES sessions ON DELETE CASCADE
) WITHOUT ROWID;

CREATE TABLE runs (
    number        INTEGER PRIMARY KEY AUTOINCREMENT,
    id            TEXT NOT NULL UNIQUE,
    session       TEXT NOT NULL REFERENCES sessions ON DELETE CASCADE,
    lane          TEXT NOT NULL CHECK (lane IN ('interactive', 'cron', 'subagent')),
    origin        TEXT NOT NULL CHECK (origin IN ('message', 'firing', 'spawn', 'result', 'hook')),
    state         TEXT NOT NULL CHECK (state IN ('queued', 'running', 'waiting', 'done')),
    outcome       TEXT CHECK (outcome IN ('ok', 'failed', 'cancelled', 'timed_out', 'interrupted')),
    error         TEXT NOT NULL DEFAULT '',
    fence         INTEGER NOT NULL DEFAULT 0,
    steps         INTEGER NOT NULL DEFAULT 0,
    input_tokens  INTEGER NOT NULL DEFAULT 0,
    output_tokens INTEGER NOT NULL DEFAULT 0,
    reply_seq     INTEGER,
    created_at    INTEGER NOT NULL,
    started_at    INTEGER,
    finished_at   INTEGER,
    -- the accepted message, a JSON list of bodies, until `claim` appends it
    prompt        BLOB,
    CONSTRAINT done_has_an_outcome CHECK ((state = 'done') = (outcome IS NOT NULL))
);
CREATE INDEX runs_queued ON runs (lane, number) WHERE state = 'queued';
CREATE UNIQUE INDEX runs_one_at_a_time ON runs (session) WHERE state IN ('running', 'waiting');
CREATE INDEX runs_of_session ON runs (session, number);
CREATE INDEX runs_in_state ON runs (state, number);

CREATE TABLE blobs (
    hash  TEXT PRIMARY KEY,
    bytes INTEGER NOT NULL CHECK (bytes <= 16777216)
) WITHOUT ROWID;
CREATE TABLE chunks (
    hash TEXT NOT NULL REFERENCES blobs ON DELETE CASCADE,
    part INTEGER NOT NULL,
    body BLOB NOT NULL,
    PRIMARY KEY (hash, part)
);
CREATE TABLE session_blobs (
    session TEXT NOT NULL REFERENCES sessions ON DELETE CASCADE,
    hash    TEXT NOT NULL REFERENCES blobs ON DELETE RESTRICT,
    PRIMARY KEY (session, hash)
) WITHOUT ROWID;
CREATE INDEX session_blobs_of_hash ON session_blobs (hash);

-- No foreign key: a receipt outlives its session, so that a repetition is refused and never runs again.
CREATE TABLE receipts (
    scope      TEXT NOT NULL,
    key        TEXT NOT NULL,
    body_hash  BLOB NOT NULL,
    run        TEXT NOT NULL,
    expires_at INTEGER NOT NULL,
    PRIMARY KEY (scope, key)
) WITHOUT ROWID;
CREATE INDEX receipts_expiry ON receipts (expires_at);

-- period is a day (2026-11-21) or, once folded, a month (2026-11)
CREATE TABLE usage_daily (
    period        TEXT NOT NULL,
    agent         TEXT NOT NULL,
    model         TEXT NOT NULL,
    answers       INTEGER NOT NULL,
    input_tokens  INTEGER NOT NULL,
    output_tokens INTEGER NOT NULL,
    PRIMARY KEY (period, agent, model)
) WITHOUT ROWID;

-- Counts kept by the triggers below, so that no transition can forget them and no gauge has to count rows.
CREATE TABLE tallies (
    family TEXT NOT NULL,
    label  TEXT NOT NULL,
    state  TEXT NOT NULL,
    count  INTEGER NOT NULL DEFAULT 0,
    bytes  INTEGER NOT NULL DEFAULT 0,
    PRIMARY KEY (family, label, state)
) WITHOUT ROWID;

INSERT INTO tallies (family, label, state)
SELECT 'session', policy.column1, state.column1
FROM (VALUES ('chat'), ('subagent'), ('cron'), ('hook'), ('api'), ('api_named')) AS policy,
     (VALUES ('created'), ('active'), ('completed'), ('archived')) AS state;
INSERT INTO tallies (family, label, state)
SELECT 'run', lane.column1, state.column1
FROM (VALUES ('interactive'), ('cron'), ('subagent')) AS lane,
     (VALUES ('queued'), ('running'), ('waiting'), ('done')) AS state;
INSERT INTO tallies (family, label, state)
VALUES ('blob', '', ''), ('reference', '', ''), ('segment', '', ''), ('receipt', '', '');

CREATE TRIGGER session_born AFTER INSERT ON sessions BEGIN
    UPDATE tallies SET count = count + 1, bytes = bytes + NEW.bytes
    WHERE family = 'session' AND label = NEW.policy AND state = NEW.state;
END;
CREATE TRIGGER session_moved AFTER UPDATE OF state ON sessions WHEN OLD.state <> NEW.state BEGIN
    UPDATE tallies SET count = count - 1, bytes = bytes - OLD.bytes
    WHERE family = 'session' AND label = OLD.policy AND state = OLD.state;
    UPDATE tallies SET count = count + 1, bytes = bytes + NEW.bytes
    WHERE family = 'session' AND label = NEW.policy AND state = NEW.state;
END;
CREATE TRIGGER session_grew AFTER UPDATE OF bytes ON sessions
WHEN OLD.state = NEW.state AND OLD.bytes <> NEW.bytes BEGIN
    UPDATE tallies SET bytes = bytes + NEW.bytes - OLD.bytes
    WHERE family = 'session' AND label = NEW.policy AND state = NEW.state;
END;
CREATE TRIGGER session_gone AFTER DELETE ON sessions BEGIN
    UPDATE tallies SET count = count - 1, bytes = bytes - OLD.bytes
    WHERE family = 'session' AND label = OLD.policy AND state = OLD.state;
END;

CREATE TRIGGER run_born AFTER INSERT ON runs BEGIN
    UPDATE tallies SET count = count + 1 WHERE family = 'run' AND label = NEW.lane AND state = NEW.state;
END;
CREATE TRIGGER run_moved AFTER UPDATE OF state ON runs WHEN OLD.state <> NEW.state BEGIN
    UPDATE tallies SET count = count - 1 WHERE family = 'run' AND label = OLD.lane AND state = OLD.state;
    UPDATE tallies SET count = count + 1 WHERE family = 'run' AND label = NEW.lane AND state = NEW.state;
END;
CREATE TRIGGER run_gone AFTER DELETE ON runs BEGIN
    UPDATE tallies SET count = count - 1 WHERE family = 'run' AND label = OLD.lane AND state = OLD.state;
END;

CREATE TRIGGER blob_born AFTER INSERT ON blobs BEGIN
    UPDATE tallies SET count = count + 1, bytes = bytes + NEW.bytes WHERE family = 'blob';
END;
CREATE TRIGGER blob_gone AFTER DELETE ON blobs BEGIN
    UPDATE tallies SET count = count - 1, bytes = bytes - OLD.bytes WHERE family = 'blob';
END;
CREATE TRIGGER reference_born AFTER INSERT ON session_blobs BEGIN
    UPDATE tallies SET count = count + 1 WHERE family = 'reference';
END;
-- The last reference takes the blob with it, however it went.
CREATE TRIGGER reference_gone AFTER DELETE ON session_blobs BEGIN
    UPDATE tallies SET count = count - 1 WHERE family = 'reference';
    DELETE FROM blobs WHERE hash = OLD.hash
    AND NOT EXISTS (SELECT 1 FROM session_blobs WHERE hash = OLD.hash);
END;
CREATE TRIGGER segment_born AFTER INSERT ON segments BEGIN
    UPDATE tallies SET count = count + 1, bytes = bytes + length(NEW.body) WHERE family = 'segment';
END;
CREATE TRIGGER segment_gone AFTER DELETE ON segments BEGIN
    UPDATE tallies SET count = count - 1, bytes = bytes - length(OLD.body) WHERE family = 'segment';
END;
CREATE TRIGGER receipt_born AFTER INSERT ON receipts BEGIN
    UPDATE tallies SET count = count + 1 WHERE family = 'receipt';
END;
CREATE TRIGGER receipt_gone AFTER DELETE ON receipts BEGIN
    UPDATE tallies SET count = count - 1 WHERE family = 'receipt';
END;
