-- Sub-agents: trees of sessions, the calls that wait for them, and what they may spend.

-- A session's own limit, below that of its policy.
ALTER TABLE sessions ADD COLUMN max_runtime_ms INTEGER;
-- The top of the tree that a session stands in, and how far below it.
ALTER TABLE sessions ADD COLUMN root TEXT;
ALTER TABLE sessions ADD COLUMN depth INTEGER NOT NULL DEFAULT 0;
CREATE INDEX sessions_live_of_root ON sessions (root) WHERE root IS NOT NULL AND state IN ('created', 'active');

-- What a run may spend of its parent's budget, and what its own children have spent.
ALTER TABLE runs ADD COLUMN max_tokens INTEGER;
ALTER TABLE runs ADD COLUMN children_tokens INTEGER NOT NULL DEFAULT 0;

-- The result that a child owes. The row goes in the transaction that delivers it: once, and never not.
CREATE TABLE spawns (
    child   TEXT PRIMARY KEY REFERENCES sessions ON DELETE CASCADE,
    parent  TEXT NOT NULL REFERENCES sessions ON DELETE CASCADE,
    run     TEXT NOT NULL,
    call_id TEXT NOT NULL,
    tool    TEXT NOT NULL,
    label   TEXT NOT NULL,
    -- whether the call waits for the result; else it comes as a run of its own
    waits   INTEGER NOT NULL
) WITHOUT ROWID;
CREATE UNIQUE INDEX spawns_of_call ON spawns (run, call_id);
CREATE INDEX spawns_of_parent ON spawns (parent);
