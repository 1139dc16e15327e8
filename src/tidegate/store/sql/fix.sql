-- Repairs (store/fix.py). What is removed is returned, so that it can be archived before the commit.

-- name: dateless
SELECT * FROM sessions WHERE due_at IS NULL AND policy <> 'chat' AND NOT pinned;

-- name: running_but_ended
SELECT r.* FROM runs r JOIN sessions s ON s.id = r.session
WHERE r.state IN ('queued', 'running', 'waiting') AND (s.state IN ('completed', 'archived') OR s.turn_at IS NULL)
ORDER BY r.number;

-- name: orphans_children
SELECT * FROM sessions c WHERE c.parent IS NOT NULL AND NOT EXISTS (SELECT 1 FROM sessions p WHERE p.id = c.parent);

-- name: orphans_detached
UPDATE sessions SET parent = NULL, version = version + 1
WHERE parent IS NOT NULL AND NOT EXISTS (SELECT 1 FROM sessions p WHERE p.id = sessions.parent);

-- name: orphans_removed_trim
DELETE FROM trims WHERE session IN (
    SELECT session FROM trims t WHERE NOT EXISTS (SELECT 1 FROM sessions s WHERE s.id = t.session) LIMIT :limit
) RETURNING *;

-- name: orphans_removed_run
DELETE FROM runs WHERE number IN (
    SELECT number FROM runs t WHERE NOT EXISTS (SELECT 1 FROM sessions s WHERE s.id = t.session) LIMIT :limit
) RETURNING *;

-- name: orphans_removed_entry
DELETE FROM entries WHERE id IN (
    SELECT id FROM entries t WHERE NOT EXISTS (SELECT 1 FROM sessions s WHERE s.id = t.session) LIMIT :limit
) RETURNING *;

-- name: orphans_removed_segment
DELETE FROM segments WHERE (session, first_seq) IN (
    SELECT session, first_seq FROM segments t WHERE NOT EXISTS (SELECT 1 FROM sessions s WHERE s.id = t.session)
    LIMIT :limit
) RETURNING *;

-- name: orphans_removed_reference
DELETE FROM session_blobs WHERE (session, hash) IN (
    SELECT session, hash FROM session_blobs r WHERE NOT EXISTS (SELECT 1 FROM sessions s WHERE s.id = r.session)
    OR NOT EXISTS (SELECT 1 FROM blobs b WHERE b.hash = r.hash) LIMIT :limit
) RETURNING *;

-- name: orphans_removed_blob
DELETE FROM blobs WHERE hash IN (
    SELECT hash FROM blobs b WHERE NOT EXISTS (SELECT 1 FROM session_blobs r WHERE r.hash = b.hash)
    AND NOT EXISTS (SELECT 1 FROM snapshot_skills r WHERE r.blob = b.hash) LIMIT :limit
) RETURNING *;

-- name: orphans_removed_chunk
DELETE FROM chunks WHERE (hash, part) IN (
    SELECT hash, part FROM chunks t WHERE NOT EXISTS (SELECT 1 FROM blobs b WHERE b.hash = t.hash) LIMIT :limit
) RETURNING *;

-- name: orphans_removed_approval
DELETE FROM approvals WHERE id IN (
    SELECT id FROM approvals a
    WHERE (a.session IS NOT NULL AND NOT EXISTS (SELECT 1 FROM sessions s WHERE s.id = a.session))
       OR (a.state = 'pending' AND a.run <> '' AND NOT EXISTS (SELECT 1 FROM runs r WHERE r.id = a.run AND r.state = 'waiting'))
    LIMIT :limit
) RETURNING *;

-- name: sessions_without_snapshot
UPDATE sessions SET snapshot = NULL, version = version + 1
WHERE snapshot IS NOT NULL AND NOT EXISTS (SELECT 1 FROM snapshots t WHERE t.hash = sessions.snapshot);

-- name: orphans_removed_snapshot
DELETE FROM snapshots WHERE hash IN (
    SELECT hash FROM snapshots t WHERE NOT EXISTS (SELECT 1 FROM sessions s WHERE s.snapshot = t.hash) LIMIT :limit
) RETURNING *;

-- name: orphans_removed_skill
DELETE FROM snapshot_skills WHERE (snapshot, name) IN (
    SELECT snapshot, name FROM snapshot_skills r WHERE NOT EXISTS (SELECT 1 FROM snapshots t WHERE t.hash = r.snapshot)
    OR NOT EXISTS (SELECT 1 FROM blobs b WHERE b.hash = r.blob) LIMIT :limit
) RETURNING *;

-- Of several runs of a session that are under way the oldest one stays so.
-- name: runs_one_by_one
UPDATE runs SET state = 'queued', parked_at = NULL WHERE state IN ('running', 'waiting') AND EXISTS (
    SELECT 1 FROM runs o WHERE o.session = runs.session AND o.number < runs.number AND o.state IN ('running', 'waiting')
);

-- name: orphans_removed_spawn
DELETE FROM spawns WHERE child IN (
    SELECT child FROM spawns p
    WHERE NOT EXISTS (SELECT 1 FROM sessions s WHERE s.id = p.child AND s.state IN ('created', 'active'))
       OR (p.waits AND NOT EXISTS (SELECT 1 FROM runs r WHERE r.id = p.run AND r.state <> 'done'))
    LIMIT :limit
) RETURNING *;

-- name: waits_for_nothing
SELECT r.id FROM runs r WHERE r.state = 'waiting' AND r.parked_at IS NULL
AND NOT EXISTS (SELECT 1 FROM approvals a WHERE a.run = r.id AND a.state = 'pending')
AND NOT EXISTS (SELECT 1 FROM spawns p WHERE p.run = r.id AND p.waits);

-- name: orphans_removed_firing
DELETE FROM firings WHERE number IN (
    SELECT number FROM firings f WHERE NOT EXISTS (SELECT 1 FROM jobs j WHERE j.name = f.job)
    OR (f.session IS NOT NULL AND NOT EXISTS (SELECT 1 FROM sessions s WHERE s.id = f.session))
    OR (f.is_open AND f.isolated AND NOT EXISTS (
        SELECT 1 FROM sessions s WHERE s.id = f.session AND s.state IN ('created', 'active')))
    OR (f.is_open AND NOT f.isolated AND NOT EXISTS (
        SELECT 1 FROM runs r WHERE r.id = f.run AND r.state <> 'done'))
    LIMIT :limit
) RETURNING *;

-- name: facts_of_nobody
SELECT * FROM facts f WHERE f.source IS NOT NULL AND NOT EXISTS (SELECT 1 FROM sessions s WHERE s.id = f.source);

-- name: facts_without_source
UPDATE facts SET source = NULL
WHERE source IS NOT NULL AND NOT EXISTS (SELECT 1 FROM sessions s WHERE s.id = facts.source);

-- name: orphans_removed_vector
DELETE FROM fact_vectors WHERE number IN (
    SELECT number FROM fact_vectors v WHERE NOT EXISTS (SELECT 1 FROM facts f WHERE f.number = v.number) LIMIT :limit
) RETURNING *;

-- name: orphans_removed_flush
DELETE FROM flushes WHERE session IN (
    SELECT session FROM flushes t WHERE NOT EXISTS (SELECT 1 FROM sessions s WHERE s.id = t.session) LIMIT :limit
) RETURNING *;

-- Both need a connection that may write; the first one writes nothing.
-- name: facts_index_checked
INSERT INTO facts_fts (facts_fts, rank) VALUES ('integrity-check', 1);

-- name: facts_index_rebuilt
INSERT INTO facts_fts (facts_fts) VALUES ('rebuild');
