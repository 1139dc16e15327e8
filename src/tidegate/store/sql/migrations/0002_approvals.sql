-- Approvals, and the time that runs spend waiting for them.

-- While a run waits for a person, the clock of its session stands: since waiting_at, and for waited_ms before.
ALTER TABLE sessions ADD COLUMN waiting_at INTEGER CHECK (waiting_at IS NULL OR turn_at IS NOT NULL);
ALTER TABLE sessions ADD COLUMN waited_ms INTEGER NOT NULL DEFAULT 0;
ALTER TABLE runs ADD COLUMN waited_ms INTEGER NOT NULL DEFAULT 0;

-- No foreign key to runs: those of a long chat are forgotten before it is.
CREATE TABLE approvals (
    id         TEXT PRIMARY KEY,
    session    TEXT REFERENCES sessions ON DELETE CASCADE,
    run        TEXT NOT NULL,
    agent      TEXT NOT NULL,
    call_id    TEXT NOT NULL,
    tool       TEXT NOT NULL,
    arguments  TEXT NOT NULL,
    digest     TEXT NOT NULL,
    state      TEXT NOT NULL CHECK (state IN ('pending', 'allowed', 'always', 'denied', 'expired')),
    is_used    INTEGER NOT NULL DEFAULT 0,
    created_at INTEGER NOT NULL,
    expires_at INTEGER NOT NULL,
    decided_at INTEGER,
    -- what is always allowed belongs to the agent, so that it outlives the session that asked
    CONSTRAINT belongs_to_somebody CHECK (session IS NOT NULL OR state IN ('always', 'denied'))
) WITHOUT ROWID;
CREATE INDEX approvals_of_run ON approvals (run, call_id);
CREATE INDEX approvals_of_session ON approvals (session, id) WHERE session IS NOT NULL;
CREATE INDEX approvals_in_state ON approvals (state, id);
CREATE INDEX approvals_expiry ON approvals (expires_at);
CREATE INDEX approvals_always ON approvals (digest) WHERE state = 'always';

INSERT INTO tallies (family, label, state)
VALUES ('approval', '', 'pending'), ('approval', '', 'allowed'), ('approval', '', 'always'),
       ('approval', '', 'denied'), ('approval', '', 'expired');
CREATE TRIGGER approval_born AFTER INSERT ON approvals BEGIN
    UPDATE tallies SET count = count + 1 WHERE family = 'approval' AND state = NEW.state;
END;
CREATE TRIGGER approval_moved AFTER UPDATE OF state ON approvals WHEN OLD.state <> NEW.state BEGIN
    UPDATE tallies SET count = count - 1 WHERE family = 'approval' AND state = OLD.state;
    UPDATE tallies SET count = count + 1 WHERE family = 'approval' AND state = NEW.state;
END;
CREATE TRIGGER approval_gone AFTER DELETE ON approvals BEGIN
    UPDATE tallies SET count = count - 1 WHERE family = 'approval' AND state = OLD.state;
END;
