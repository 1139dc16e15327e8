-- Skills: each SKILL.md is a blob, a snapshot names those of a session, and what nobody refers to goes at once.

CREATE TABLE snapshots (
    hash TEXT PRIMARY KEY
) WITHOUT ROWID;
CREATE TABLE snapshot_skills (
    snapshot TEXT NOT NULL REFERENCES snapshots ON DELETE CASCADE,
    name     TEXT NOT NULL,
    blob     TEXT NOT NULL REFERENCES blobs ON DELETE RESTRICT,
    PRIMARY KEY (snapshot, name)
) WITHOUT ROWID;
CREATE INDEX snapshot_skills_of_blob ON snapshot_skills (blob);

ALTER TABLE sessions ADD COLUMN snapshot TEXT REFERENCES snapshots ON DELETE RESTRICT;
CREATE INDEX sessions_snapshot ON sessions (snapshot) WHERE snapshot IS NOT NULL;

INSERT INTO tallies (family, label, state) VALUES ('snapshot', '', '');
CREATE TRIGGER snapshot_born AFTER INSERT ON snapshots BEGIN
    UPDATE tallies SET count = count + 1 WHERE family = 'snapshot';
END;
CREATE TRIGGER snapshot_gone AFTER DELETE ON snapshots BEGIN
    UPDATE tallies SET count = count - 1 WHERE family = 'snapshot';
END;
CREATE TRIGGER snapshot_skill_born AFTER INSERT ON snapshot_skills BEGIN
    UPDATE tallies SET count = count + 1 WHERE family = 'reference';
END;

-- The last reference takes the blob with it, of whichever kind it was.
CREATE TRIGGER snapshot_skill_gone AFTER DELETE ON snapshot_skills BEGIN
    UPDATE tallies SET count = count - 1 WHERE family = 'reference';
    DELETE FROM blobs WHERE hash = OLD.blob
    AND NOT EXISTS (SELECT 1 FROM session_blobs WHERE hash = OLD.blob)
    AND NOT EXISTS (SELECT 1 FROM snapshot_skills WHERE blob = OLD.blob);
END;
DROP TRIGGER reference_gone;
CREATE TRIGGER reference_gone AFTER DELETE ON session_blobs BEGIN
    UPDATE tallies SET count = count - 1 WHERE family = 'reference';
    DELETE FROM blobs WHERE hash = OLD.hash
    AND NOT EXISTS (SELECT 1 FROM session_blobs WHERE hash = OLD.hash)
    AND NOT EXISTS (SELECT 1 FROM snapshot_skills WHERE blob = OLD.hash);
END;

-- The last session takes the snapshot with it, whether it was deleted or got another one.
CREATE TRIGGER session_let_go AFTER DELETE ON sessions WHEN OLD.snapshot IS NOT NULL BEGIN
    DELETE FROM snapshots WHERE hash = OLD.snapshot
    AND NOT EXISTS (SELECT 1 FROM sessions WHERE snapshot = OLD.snapshot);
END;
CREATE TRIGGER session_changed_skills AFTER UPDATE OF snapshot ON sessions
WHEN OLD.snapshot IS NOT NULL AND OLD.snapshot IS NOT NEW.snapshot BEGIN
    DELETE FROM snapshots WHERE hash = OLD.snapshot
    AND NOT EXISTS (SELECT 1 FROM sessions WHERE snapshot = OLD.snapshot);
END;
