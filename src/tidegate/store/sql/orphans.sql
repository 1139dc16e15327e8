-- What has lost its owner; owners are found by skipping through an index, not by reading every row.

-- name: orphans_entry
WITH RECURSIVE owner (id) AS (
    SELECT min(session) FROM entries UNION ALL
    SELECT (SELECT min(session) FROM entries WHERE session > owner.id) FROM owner WHERE owner.id IS NOT NULL
)
SELECT count(*) FROM entries t WHERE t.session IN (
    SELECT id FROM owner WHERE id IS NOT NULL AND NOT EXISTS (SELECT 1 FROM sessions WHERE sessions.id = owner.id)
);

-- name: orphans_segment
WITH RECURSIVE owner (id) AS (
    SELECT min(session) FROM segments UNION ALL
    SELECT (SELECT min(session) FROM segments WHERE session > owner.id) FROM owner WHERE owner.id IS NOT NULL
)
SELECT count(*) FROM segments t WHERE t.session IN (
    SELECT id FROM owner WHERE id IS NOT NULL AND NOT EXISTS (SELECT 1 FROM sessions WHERE sessions.id = owner.id)
);

-- name: orphans_run
WITH RECURSIVE owner (id) AS (
    SELECT min(session) FROM runs UNION ALL
    SELECT (SELECT min(session) FROM runs WHERE session > owner.id) FROM owner WHERE owner.id IS NOT NULL
)
SELECT count(*) FROM runs t WHERE t.session IN (
    SELECT id FROM owner WHERE id IS NOT NULL AND NOT EXISTS (SELECT 1 FROM sessions WHERE sessions.id = owner.id)
);

-- name: orphans_chunk
WITH RECURSIVE owner (id) AS (
    SELECT min(hash) FROM chunks UNION ALL
    SELECT (SELECT min(hash) FROM chunks WHERE hash > owner.id) FROM owner WHERE owner.id IS NOT NULL
)
SELECT count(*) FROM chunks t WHERE t.hash IN (
    SELECT id FROM owner WHERE id IS NOT NULL AND NOT EXISTS (SELECT 1 FROM blobs WHERE blobs.hash = owner.id)
);

-- name: orphans_child
SELECT count(*) FROM sessions c WHERE c.parent IS NOT NULL
AND NOT EXISTS (SELECT 1 FROM sessions p WHERE p.id = c.parent);

-- name: orphans_blob
SELECT count(*) FROM blobs b WHERE NOT EXISTS (SELECT 1 FROM session_blobs r WHERE r.hash = b.hash)
AND NOT EXISTS (SELECT 1 FROM snapshot_skills r WHERE r.blob = b.hash);

-- name: orphans_snapshot
WITH RECURSIVE owner (id) AS (
    SELECT min(snapshot) FROM sessions WHERE snapshot IS NOT NULL UNION ALL
    SELECT (SELECT min(snapshot) FROM sessions WHERE snapshot > owner.id) FROM owner WHERE owner.id IS NOT NULL
)
SELECT (SELECT count(*) FROM snapshots t WHERE NOT EXISTS (SELECT 1 FROM sessions s WHERE s.snapshot = t.hash))
     + (SELECT count(*) FROM owner WHERE id IS NOT NULL
        AND NOT EXISTS (SELECT 1 FROM snapshots t WHERE t.hash = owner.id));

-- name: orphans_skill
SELECT count(*) FROM snapshot_skills r WHERE NOT EXISTS (SELECT 1 FROM snapshots t WHERE t.hash = r.snapshot)
OR NOT EXISTS (SELECT 1 FROM blobs b WHERE b.hash = r.blob);

-- name: orphans_reference
SELECT count(*) FROM session_blobs r WHERE NOT EXISTS (SELECT 1 FROM sessions s WHERE s.id = r.session)
OR NOT EXISTS (SELECT 1 FROM blobs b WHERE b.hash = r.hash);

-- name: orphans_trim
SELECT count(*) FROM trims t WHERE NOT EXISTS (SELECT 1 FROM sessions s WHERE s.id = t.session);

-- Also a question whose run does not wait for its answer; one without a run is nobody's to wait for.
-- name: orphans_approval
SELECT count(*) FROM approvals a WHERE (a.session IS NOT NULL AND NOT EXISTS (SELECT 1 FROM sessions s WHERE s.id = a.session))
OR (a.state = 'pending' AND a.run <> '' AND NOT EXISTS (SELECT 1 FROM runs r WHERE r.id = a.run AND r.state = 'waiting'));

-- Also a debt of a child that has ended, and one to a run that has ended and will not wait for it.
-- name: orphans_spawn
SELECT count(*) FROM spawns p
WHERE NOT EXISTS (SELECT 1 FROM sessions s WHERE s.id = p.child AND s.state IN ('created', 'active'))
   OR (p.waits AND NOT EXISTS (SELECT 1 FROM runs r WHERE r.id = p.run AND r.state <> 'done'));

-- A run that waits for nothing would wait for ever.
-- name: orphans_wait
SELECT count(*) FROM runs r WHERE r.state = 'waiting' AND r.parked_at IS NULL
AND NOT EXISTS (SELECT 1 FROM approvals a WHERE a.run = r.id AND a.state = 'pending')
AND NOT EXISTS (SELECT 1 FROM spawns p WHERE p.run = r.id AND p.waits);

-- Also an open firing whose session, or whose run in a conversation, has ended.
-- name: orphans_firing
SELECT count(*) FROM firings f WHERE NOT EXISTS (SELECT 1 FROM jobs j WHERE j.name = f.job)
OR (f.session IS NOT NULL AND NOT EXISTS (SELECT 1 FROM sessions s WHERE s.id = f.session))
OR (f.is_open AND f.isolated AND NOT EXISTS (
    SELECT 1 FROM sessions s WHERE s.id = f.session AND s.state IN ('created', 'active')))
OR (f.is_open AND NOT f.isolated AND NOT EXISTS (SELECT 1 FROM runs r WHERE r.id = f.run AND r.state <> 'done'));

-- A fact that names a session which is gone.
-- name: orphans_fact
SELECT count(*) FROM facts f WHERE f.source IS NOT NULL AND NOT EXISTS (SELECT 1 FROM sessions s WHERE s.id = f.source);

-- name: orphans_vector
SELECT count(*) FROM fact_vectors v WHERE NOT EXISTS (SELECT 1 FROM facts f WHERE f.number = v.number);

-- name: orphans_flush
SELECT count(*) FROM flushes t WHERE NOT EXISTS (SELECT 1 FROM sessions s WHERE s.id = t.session);
