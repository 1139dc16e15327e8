-- What is to be sent to webhooks: written in the transaction of its cause, gone when it has arrived.

-- No foreign key: a delivery outlives the session that it tells of.
CREATE TABLE outbox (
    number     INTEGER PRIMARY KEY AUTOINCREMENT,
    id         TEXT NOT NULL UNIQUE,
    target     TEXT NOT NULL,
    kind       TEXT NOT NULL,
    state      TEXT NOT NULL CHECK (state IN ('pending', 'dead')),
    attempts   INTEGER NOT NULL DEFAULT 0,
    error      TEXT NOT NULL DEFAULT '',
    created_at INTEGER NOT NULL,
    due_at     INTEGER NOT NULL,
    -- a pending one is given up then, a dead one forgotten
    expires_at INTEGER NOT NULL,
    body       BLOB NOT NULL CHECK (length(body) <= 262144)
);
CREATE INDEX outbox_due ON outbox (target, due_at, number) WHERE state = 'pending';
CREATE INDEX outbox_expiry ON outbox (state, expires_at);

INSERT INTO tallies (family, label, state)
VALUES ('outbox', '', 'pending'), ('outbox', '', 'dead'), ('outbox_refused', '', '');
CREATE TRIGGER outbox_born AFTER INSERT ON outbox BEGIN
    UPDATE tallies SET count = count + 1, bytes = bytes + length(NEW.body)
    WHERE family = 'outbox' AND state = NEW.state;
END;
CREATE TRIGGER outbox_moved AFTER UPDATE OF state ON outbox WHEN OLD.state <> NEW.state BEGIN
    UPDATE tallies SET count = count - 1, bytes = bytes - length(OLD.body)
    WHERE family = 'outbox' AND state = OLD.state;
    UPDATE tallies SET count = count + 1, bytes = bytes + length(NEW.body)
    WHERE family = 'outbox' AND state = NEW.state;
END;
CREATE TRIGGER outbox_gone AFTER DELETE ON outbox BEGIN
    UPDATE tallies SET count = count - 1, bytes = bytes - length(OLD.body)
    WHERE family = 'outbox' AND state = OLD.state;
END;
