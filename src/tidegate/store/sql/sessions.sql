-- Heads of sessions: one at a time, by key or id. The order of columns is that of the table (store/rows.py).

-- name: session_by_key
SELECT * FROM sessions WHERE key = :key;

-- name: session_by_id
SELECT * FROM sessions WHERE id = :id;

-- name: session_born
INSERT INTO sessions (
    id, key, policy, state, parent, cap_group, agent, title,
    created_at, updated_at, since_at, turn_at, due_at, due_to, max_runtime_ms, root, depth, snapshot
) VALUES (
    :id, :key, :policy, :state, :parent, :cap_group, :agent, :title,
    :created_at, :updated_at, :since_at, :turn_at, :due_at, :due_to, :max_runtime_ms, :root, :depth, :snapshot
);

-- A transition: everything that may change but the key.
-- name: session_moved
UPDATE sessions SET
    state = :state, outcome = :outcome, cap_group = :cap_group, updated_at = :updated_at, since_at = :since_at,
    turn_at = :turn_at, running_at = :running_at, due_at = :due_at, due_to = :due_to, entries = :entries,
    cold_through = :cold_through, bytes = :bytes, pinned = :pinned, version = :version,
    waiting_at = :waiting_at, waited_ms = :waited_ms, summary_seq = :summary_seq
WHERE id = :id;

-- An append: no indexed column is named, so that no index is written.
-- name: session_grew
UPDATE sessions SET updated_at = :updated_at, entries = :entries, bytes = :bytes, version = :version WHERE id = :id;

-- Other skills: on its own, so that no transition writes the index of snapshots.
-- name: session_adopted
UPDATE sessions SET snapshot = :snapshot WHERE id = :id;

-- A conversation that begins afresh leaves its key to the new one.
-- name: session_renamed
UPDATE sessions SET key = :key, version = version + 1 WHERE id = :id RETURNING *;

-- name: session_instructed
UPDATE sessions SET instructions = :instructions WHERE id = :id;

-- name: session_titled
UPDATE sessions SET title = :title WHERE id = :id;

-- The date alone: a refused move, a postponed one, a cap.
-- name: session_dated
UPDATE sessions SET due_at = :due_at, due_to = :due_to, version = version + 1 WHERE id = :id RETURNING *;

-- name: session_gone
DELETE FROM sessions WHERE id = :id;

-- name: live_count
SELECT sum(count) FROM tallies WHERE family = 'session' AND label = :policy AND state IN ('created', 'active');

-- The named api session that has been idle longest: its date is its last activity plus a constant.
-- name: idle_longest
SELECT * FROM sessions WHERE policy = 'api_named' AND state = 'active' AND due_to = 'archived' AND NOT pinned
  AND id NOT IN (SELECT item FROM aside WHERE part = 'sweep')
ORDER BY due_at LIMIT 1;

-- name: live_children
SELECT * FROM sessions WHERE parent = :id AND state IN ('created', 'active');

-- name: first_child
SELECT * FROM sessions WHERE parent = :id ORDER BY id LIMIT 1;

-- Whatever in the tree below and including a session keeps it from being deleted.
-- name: holder_in_tree
WITH RECURSIVE tree (id) AS (
    SELECT :id UNION ALL SELECT s.id FROM sessions s JOIN tree t ON s.parent = t.id
)
SELECT s.* FROM sessions s JOIN tree t ON s.id = t.id
WHERE s.pinned OR s.turn_at IS NOT NULL
   OR (s.state IN ('created', 'active') AND s.policy NOT IN ('chat', 'api_named'))
LIMIT 1;

-- name: group_size
SELECT count(*) FROM sessions WHERE cap_group = :cap_group AND state IN ('completed', 'archived');

-- name: group_oldest
SELECT * FROM sessions WHERE cap_group = :cap_group AND state IN ('completed', 'archived') AND NOT pinned
ORDER BY created_at LIMIT :excess;

-- name: newest_key
SELECT key FROM sessions ORDER BY id DESC LIMIT 1;
