-- Facts: what agents remember. The numbers of an agent's facts are a range of their own, so that a search in one
-- agent's memory never touches another one's.

CREATE TABLE fact_agents (
    number INTEGER PRIMARY KEY,
    name   TEXT NOT NULL UNIQUE
);

CREATE TABLE facts (
    -- the agent's number times 2^32, and counted up
    number     INTEGER PRIMARY KEY,
    id         TEXT NOT NULL UNIQUE,
    agent      TEXT NOT NULL,
    text       TEXT NOT NULL,
    entity     TEXT NOT NULL,
    key        TEXT NOT NULL,
    value      TEXT NOT NULL,
    category   TEXT NOT NULL,
    importance INTEGER NOT NULL CHECK (importance BETWEEN 1 AND 10),
    origin     TEXT NOT NULL CHECK (origin IN ('person', 'agent', 'flush', 'outside')),
    source     TEXT REFERENCES sessions ON DELETE SET NULL,
    created_at INTEGER NOT NULL,
    updated_at INTEGER NOT NULL,
    used_at    INTEGER NOT NULL,
    expires_at INTEGER,
    -- hashes of the text, and of entity and key, without case and blanks
    digest     BLOB NOT NULL,
    place      BLOB,
    bytes      INTEGER NOT NULL,
    -- the order in which facts make room: importance, halved with each month without use, as a logarithm
    worth      REAL NOT NULL
);
CREATE UNIQUE INDEX facts_content ON facts (agent, digest);
CREATE UNIQUE INDEX facts_place ON facts (agent, place) WHERE place IS NOT NULL;
CREATE INDEX facts_worth ON facts (agent, worth);
CREATE INDEX facts_of_session ON facts (source) WHERE source IS NOT NULL;
CREATE INDEX facts_expiry ON facts (expires_at) WHERE expires_at IS NOT NULL;

-- The texts lie in the table; this is the index of their words alone.
CREATE VIRTUAL TABLE facts_fts USING fts5(
    text, entity, key, value, content = 'facts', content_rowid = 'number', tokenize = 'unicode61 remove_diacritics 2'
);

-- What texts mean, as numbers of a model; plain bytes, so that a store can be copied and checked without the extension.
CREATE TABLE fact_vectors (
    number INTEGER PRIMARY KEY REFERENCES facts ON DELETE CASCADE,
    model  TEXT NOT NULL,
    body   BLOB NOT NULL
);

-- How far conversations have been asked for facts, so that nothing is asked twice.
CREATE TABLE flushes (
    session TEXT PRIMARY KEY REFERENCES sessions ON DELETE CASCADE,
    through INTEGER NOT NULL
) WITHOUT ROWID;

CREATE TRIGGER fact_born AFTER INSERT ON facts BEGIN
    INSERT INTO facts_fts (rowid, text, entity, key, value)
    VALUES (NEW.number, NEW.text, NEW.entity, NEW.key, NEW.value);
    INSERT INTO tallies (family, label, state) VALUES ('fact', NEW.agent, '') ON CONFLICT DO NOTHING;
    UPDATE tallies SET count = count + 1, bytes = bytes + NEW.bytes WHERE family = 'fact' AND label = NEW.agent;
END;
CREATE TRIGGER fact_changed AFTER UPDATE OF text, entity, key, value ON facts BEGIN
    INSERT INTO facts_fts (facts_fts, rowid, text, entity, key, value)
    VALUES ('delete', OLD.number, OLD.text, OLD.entity, OLD.key, OLD.value);
    INSERT INTO facts_fts (rowid, text, entity, key, value)
    VALUES (NEW.number, NEW.text, NEW.entity, NEW.key, NEW.value);
    DELETE FROM fact_vectors WHERE number = OLD.number;
    UPDATE tallies SET bytes = bytes + NEW.bytes - OLD.bytes WHERE family = 'fact' AND label = NEW.agent;
END;
CREATE TRIGGER fact_gone AFTER DELETE ON facts BEGIN
    INSERT INTO facts_fts (facts_fts, rowid, text, entity, key, value)
    VALUES ('delete', OLD.number, OLD.text, OLD.entity, OLD.key, OLD.value);
    UPDATE tallies SET count = count - 1, bytes = bytes - OLD.bytes WHERE family = 'fact' AND label = OLD.agent;
END;
