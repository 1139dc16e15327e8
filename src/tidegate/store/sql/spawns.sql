-- Sub-agents: what a child owes its parent.

-- name: spawn_of_call
SELECT s.* FROM spawns p JOIN sessions s ON s.id = p.child WHERE p.run = :run AND p.call_id = :call_id;

-- name: spawn_of_child
SELECT parent, run, call_id, tool, label, waits FROM spawns WHERE child = :child;

-- name: spawn_born
INSERT INTO spawns (child, parent, run, call_id, tool, label, waits)
VALUES (:child, :parent, :run, :call_id, :tool, :label, :waits);

-- name: spawn_delivered
DELETE FROM spawns WHERE child = :child;

-- name: spawns_awaited
SELECT child FROM spawns WHERE run = :run AND waits;

-- name: live_below
SELECT (SELECT count(*) FROM sessions WHERE parent = :parent AND state IN ('created', 'active')),
       (SELECT count(*) FROM sessions WHERE root = :root AND state IN ('created', 'active'));

-- What the open children of a run may still spend.
-- name: tokens_reserved
SELECT coalesce(sum(r.max_tokens), 0) FROM spawns p JOIN runs r ON r.session = p.child
WHERE p.run = :run AND r.state <> 'done';

-- name: run_allowed
UPDATE runs SET max_tokens = :max_tokens WHERE id = :id;

-- name: tokens_of_session
SELECT coalesce(sum(input_tokens + output_tokens + children_tokens), 0) FROM runs WHERE session = :session;

-- name: children_spent
UPDATE runs SET children_tokens = children_tokens + :tokens WHERE id = :id;

-- name: first_run
SELECT * FROM runs WHERE session = :session ORDER BY number LIMIT 1;

-- name: last_run
SELECT * FROM runs WHERE session = :session AND state = 'done' ORDER BY number DESC LIMIT 1;

-- name: entry_at
SELECT body FROM entries WHERE session = :session AND seq = :seq;
