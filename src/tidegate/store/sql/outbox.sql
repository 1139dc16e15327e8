-- What is to be sent to webhooks.

-- name: outbox_born
INSERT INTO outbox (id, target, kind, state, created_at, due_at, expires_at, body)
VALUES (:id, :target, :kind, 'pending', :now, :now, :expires_at, :body);

-- name: outbox_held
SELECT sum(count), sum(bytes) FROM tallies WHERE family = 'outbox';

-- name: outbox_of_target
SELECT count(*) FROM outbox WHERE state = 'pending' AND target = :target;

-- name: outbox_refused
UPDATE tallies SET count = count + 1 WHERE family = 'outbox_refused';

-- What was given up makes room for what is new, the oldest first.
-- name: outbox_dead_dropped
DELETE FROM outbox WHERE number IN (
    SELECT number FROM outbox WHERE state = 'dead' ORDER BY expires_at LIMIT 100
);

-- name: outbox_due
SELECT * FROM outbox WHERE state = 'pending' AND target = :target AND due_at <= :now ORDER BY due_at, number LIMIT 1;

-- name: outbox_next_due
SELECT due_at FROM outbox WHERE state = 'pending' AND target = :target ORDER BY due_at LIMIT 1;

-- name: outbox_by_id
SELECT * FROM outbox WHERE id = :id;

-- name: outbox_tried
UPDATE outbox SET state = :state, attempts = attempts + 1, error = :error, due_at = :due_at, expires_at = :expires_at
WHERE id = :id;

-- name: outbox_delivered
DELETE FROM outbox WHERE id = :id;

-- name: outbox_given_up
UPDATE outbox SET state = 'dead', error = CASE error WHEN '' THEN :error ELSE error END, expires_at = :forget_at
WHERE number IN (
    SELECT number FROM outbox WHERE state = 'pending' AND expires_at <= :now ORDER BY expires_at LIMIT 500
);

-- name: outbox_forgotten
DELETE FROM outbox WHERE number IN (
    SELECT number FROM outbox WHERE state = 'dead' AND expires_at <= :now ORDER BY expires_at LIMIT 500
);

-- name: outbox_page
SELECT * FROM outbox WHERE number < :before AND (:state IS NULL OR state = :state) ORDER BY number DESC LIMIT :limit;
