-- What a backup holds, and what of it is not to be taken over.

-- name: backup_contents
SELECT (SELECT count(*) FROM sessions), (SELECT count(*) FROM runs WHERE state <> 'done');

-- name: backup_tables
SELECT count(*) FROM sqlite_schema WHERE type = 'table' AND name IN ('meta', 'sessions', 'entries', 'runs');
