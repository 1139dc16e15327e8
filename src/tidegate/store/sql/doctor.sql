-- What must always be true, looked at from outside. Every query is bounded, by a page or by a limit.

-- name: doctor_transcripts
SELECT s.id, s.key, s.entries, s.cold_through,
    (SELECT count(*) FROM entries e WHERE e.session = s.id AND e.seq > s.cold_through),
    (SELECT coalesce(max(e.seq), 0) FROM entries e WHERE e.session = s.id AND e.seq > s.cold_through),
    (SELECT coalesce(sum(g.last_seq - g.first_seq + 1), 0) FROM segments g WHERE g.session = s.id),
    (SELECT coalesce(max(g.last_seq), 0) FROM segments g WHERE g.session = s.id)
FROM sessions s WHERE s.id > :after ORDER BY s.id LIMIT :limit;

-- name: doctor_dateless
SELECT key FROM sessions WHERE due_at IS NULL AND policy <> 'chat' AND NOT pinned LIMIT 5;

-- name: doctor_overdue
SELECT key FROM sessions WHERE due_at < :before AND (:with_deletes OR due_to <> 'deleted') ORDER BY due_at LIMIT 5;

-- name: doctor_running_but_ended
SELECT s.key FROM runs r JOIN sessions s ON s.id = r.session
WHERE r.state IN ('queued', 'running', 'waiting') AND (s.state IN ('completed', 'archived') OR s.turn_at IS NULL) LIMIT 5;

-- name: doctor_too_large
SELECT s.key FROM entries e JOIN sessions s ON s.id = e.session WHERE length(e.body) > 65536 LIMIT 5;

-- name: doctor_blob_sizes
SELECT b.hash FROM blobs b
WHERE b.bytes <> (SELECT coalesce(sum(length(c.body)), 0) FROM chunks c WHERE c.hash = b.hash) LIMIT 5;

-- name: doctor_two_at_once
SELECT s.key FROM runs r JOIN sessions s ON s.id = r.session WHERE r.state IN ('running', 'waiting')
GROUP BY r.session HAVING count(*) > 1 LIMIT 5;

-- name: doctor_usage
SELECT (SELECT coalesce(sum(input_tokens + output_tokens), 0) FROM runs),
       (SELECT coalesce(sum(input_tokens + output_tokens), 0) FROM usage_daily);

-- A job whose date has gone without a next one, though it has no end.
-- name: doctor_jobs_dateless
SELECT name FROM jobs WHERE (paused AND wakes_at IS NOT NULL)
   OR (NOT paused AND (wakes_at IS NULL) <> (next_at IS NULL)) LIMIT 5;

-- name: doctor_snapshots
SELECT hash FROM snapshots WHERE hash > :after ORDER BY hash LIMIT :limit;

-- name: doctor_entries
SELECT id, session, seq, body, checksum FROM entries WHERE id > :after ORDER BY id LIMIT :limit;

-- name: doctor_segments
SELECT g.rowid, g.session, g.first_seq, g.last_seq, g.digest, g.raw_bytes, g.body FROM segments g
WHERE g.rowid > :after ORDER BY g.rowid LIMIT :limit;

-- name: doctor_blobs
SELECT hash FROM blobs WHERE hash > :after ORDER BY hash LIMIT :limit;

-- name: doctor_outbox
SELECT 'to ' || target || ': ' || id FROM outbox WHERE state = 'pending' AND expires_at < :before
ORDER BY expires_at LIMIT 5;

-- name: doctor_blob_sessions
SELECT s.key FROM session_blobs r JOIN sessions s ON s.id = r.session WHERE r.hash = :hash LIMIT 5;

-- A fact that no search finds, or a place in the index without a fact.
-- name: doctor_facts
SELECT number FROM facts WHERE number NOT IN (SELECT id FROM facts_fts_docsize)
UNION ALL SELECT id FROM facts_fts_docsize WHERE id NOT IN (SELECT number FROM facts) LIMIT 5;

-- name: doctor_fact_texts
SELECT number, text, id FROM facts WHERE number > :after ORDER BY number LIMIT :limit;

-- name: doctor_fact_found
SELECT 1 FROM facts_fts WHERE facts_fts MATCH :words AND rowid = :number;
