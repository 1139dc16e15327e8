-- What is due, and the slices of background work.

-- name: due
SELECT * FROM sessions WHERE due_at <= :until AND (:with_deletes OR due_to <> 'deleted') ORDER BY due_at LIMIT :limit;

-- name: next_due
SELECT due_at FROM sessions WHERE due_at IS NOT NULL AND (:with_deletes OR due_to <> 'deleted')
ORDER BY due_at LIMIT 1;

-- name: due_counts
SELECT due_to, count(*) FROM sessions WHERE due_at <= :until AND (:with_deletes OR due_to <> 'deleted') GROUP BY due_to;

-- Finished sessions that may go to make room, in the order of birth, with about how much each takes: a page for its rows,
-- its texts, and its large ones, which others may share.
-- name: evictable
SELECT s.id, 4096 + s.bytes + coalesce(
    (SELECT sum(b.bytes) FROM session_blobs r JOIN blobs b ON b.hash = r.hash WHERE r.session = s.id), 0)
FROM sessions s
WHERE s.policy = :policy AND s.state = :state AND s.id > :after AND NOT s.pinned AND s.since_at < :before
  AND (:is_ok IS NULL OR (s.outcome = 'ok') = :is_ok)
ORDER BY s.id LIMIT :limit;

-- name: of_policy
SELECT * FROM sessions WHERE policy = :policy AND state = :state AND id > :after ORDER BY id LIMIT :limit;

-- name: meta
SELECT value FROM meta WHERE key = :key;

-- name: meta_kept
INSERT INTO meta (key, value) VALUES (:key, :value) ON CONFLICT (key) DO UPDATE SET value = excluded.value;
