-- What is due, and the slices of background work.

-- name: due
SELECT * FROM sessions WHERE due_at <= :until AND (:with_deletes OR due_to <> 'deleted') ORDER BY due_at LIMIT :limit;

-- name: next_due
SELECT due_at FROM sessions WHERE due_at IS NOT NULL AND (:with_deletes OR due_to <> 'deleted')
ORDER BY due_at LIMIT 1;

-- name: due_counts
SELECT due_to, count(*) FROM sessions WHERE due_at <= :until AND (:with_deletes OR due_to <> 'deleted') GROUP BY due_to;

-- name: of_policy
SELECT * FROM sessions WHERE policy = :policy AND state = :state AND id > :after ORDER BY id LIMIT :limit;

-- name: meta
SELECT value FROM meta WHERE key = :key;

-- name: meta_kept
INSERT INTO meta (key, value) VALUES (:key, :value) ON CONFLICT (key) DO UPDATE SET value = excluded.value;
