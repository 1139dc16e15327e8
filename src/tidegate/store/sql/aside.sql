-- What failed and is tried again later.

-- name: aside_put
INSERT INTO aside (part, item, attempts, until, error) VALUES (:part, :item, 1, :now + :first_ms, :error)
ON CONFLICT (part, item) DO UPDATE SET attempts = attempts + 1, error = excluded.error,
    until = :now + min(:longest_ms, :first_ms << min(attempts, 20))
RETURNING attempts, until;

-- name: aside_of
SELECT error FROM aside WHERE part = :part AND item = :item;

-- name: aside_resting
SELECT 1 FROM aside WHERE part = :part AND item = :item AND until > :now;

-- name: aside_of_part
SELECT item, error FROM aside WHERE part = :part LIMIT 1000;

-- name: aside_over
DELETE FROM aside WHERE part = :part AND item = :item;

-- Whatever still fails has been tried again since.
-- name: aside_forgotten
DELETE FROM aside WHERE (part, item) IN (SELECT part, item FROM aside WHERE until < :before ORDER BY until LIMIT 500);

-- name: job_put_aside
UPDATE jobs SET held_until = :until, wakes_at = max(coalesce(next_at, 0), :until)
WHERE name = :name AND wakes_at IS NOT NULL;

-- name: session_put_aside
UPDATE sessions SET due_at = :until, version = version + 1 WHERE id = :id AND due_at IS NOT NULL RETURNING *;

-- name: delivery_put_aside
UPDATE outbox SET due_at = :until WHERE number = :number AND state = 'pending';

-- name: run_put_aside
UPDATE runs SET state = 'queued', fence = fence + 1 WHERE id = :id AND state = 'running' RETURNING session;

-- name: session_of_run_rests
UPDATE sessions SET running_at = NULL, version = version + 1 WHERE id = :id RETURNING *;

-- name: run_dropped
UPDATE runs SET state = 'done', outcome = 'failed', error = :error, fence = fence + 1, finished_at = :now, prompt = NULL,
    parked_at = NULL
WHERE id = :id AND state <> 'done' RETURNING session;

-- Its turn is over unless another run is open in it; an ephemeral one ends by its date.
-- name: session_of_run_dropped
UPDATE sessions SET version = version + 1,
    running_at = CASE WHEN EXISTS (SELECT 1 FROM runs r WHERE r.session = sessions.id AND r.state = 'running') THEN running_at END,
    waiting_at = CASE WHEN EXISTS (SELECT 1 FROM runs r WHERE r.session = sessions.id AND r.state = 'waiting') THEN waiting_at END,
    turn_at = CASE WHEN EXISTS (SELECT 1 FROM runs r WHERE r.session = sessions.id AND r.state <> 'done') THEN turn_at END
WHERE id = :id RETURNING *;
