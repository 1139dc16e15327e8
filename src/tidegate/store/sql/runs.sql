-- Work: accepted, claimed, written to under a fence, closed.

-- name: receipt
SELECT run, body_hash FROM receipts WHERE scope = :scope AND key = :key AND expires_at > :now;

-- name: receipt_kept
INSERT INTO receipts (scope, key, body_hash, run, expires_at)
VALUES (:scope, :key, :body_hash, :run, :expires_at)
ON CONFLICT (scope, key) DO UPDATE SET body_hash = excluded.body_hash, run = excluded.run,
    expires_at = excluded.expires_at;

-- name: receipts_expired
DELETE FROM receipts WHERE (scope, key) IN (
    SELECT scope, key FROM receipts WHERE expires_at <= :now ORDER BY expires_at LIMIT 500
);

-- name: queued_in_lane
SELECT count FROM tallies WHERE family = 'run' AND label = :lane AND state = 'queued';

-- name: queued
SELECT label FROM tallies WHERE family = 'run' AND state = 'queued' AND count > 0;

-- name: receipts_held
SELECT count FROM tallies WHERE family = 'receipt';

-- name: open_runs
SELECT * FROM runs WHERE session = :session AND state <> 'done' ORDER BY number;

-- What runs of all that is cancelled with a session, or with a run: that itself, and the children that it waits for.
-- name: running_below
WITH RECURSIVE below (id) AS (
    SELECT :session WHERE :session IS NOT NULL
    UNION SELECT child FROM spawns WHERE run = :run AND waits
    UNION SELECT s.id FROM below b JOIN sessions s ON s.parent = b.id
)
SELECT id FROM runs WHERE state = 'running' AND (id = :run OR session IN (SELECT id FROM below));

-- name: running
SELECT id FROM runs WHERE state = 'running';

-- name: run_born
INSERT INTO runs (id, session, lane, origin, state, created_at, prompt)
VALUES (:id, :session, :lane, :origin, 'queued', :created_at, :prompt) RETURNING *;

-- name: run_by_id
SELECT * FROM runs WHERE id = :id;

-- The oldest queued run whose session has none running and whose agent may begin one; `runs_one_at_a_time` settles the
-- race.
-- name: run_claimable
SELECT r.* FROM runs r JOIN sessions s ON s.id = r.session
WHERE r.state = 'queued' AND r.lane = :lane AND (:with_api OR s.policy NOT IN ('api', 'api_named'))
  AND s.agent NOT IN (SELECT value FROM json_each(:without))
  AND NOT EXISTS (SELECT 1 FROM runs b WHERE b.session = r.session AND b.state IN ('running', 'waiting'))
  AND NOT EXISTS (SELECT 1 FROM aside a WHERE a.part = 'runner' AND a.item = r.id AND a.until > :now)
ORDER BY r.number LIMIT 1;

-- name: run_claimed
UPDATE runs SET state = 'running', fence = fence + 1, started_at = coalesce(started_at, :now), prompt = NULL,
    asked_seq = coalesce(asked_seq, :asked_seq)
WHERE id = :id AND state = 'queued' RETURNING *;

-- name: run_grew
UPDATE runs SET steps = steps + :answers, input_tokens = input_tokens + :input_tokens,
    output_tokens = output_tokens + :output_tokens, cached_tokens = cached_tokens + :cached_tokens,
    reply_seq = coalesce(:reply_seq, reply_seq)
WHERE id = :id AND state = 'running' AND fence = :fence;

-- Closing raises the fence: whoever still writes is refused.
-- name: run_closed
UPDATE runs SET state = 'done', outcome = :outcome, error = :error, failure = :failure,
    retry_after_s = :retry_after_s, fence = fence + 1, finished_at = :now, prompt = NULL,
    parked_at = NULL
WHERE id = :id AND state <> 'done' RETURNING *;

-- The runs of a long chat are not kept for ever: the last hundred are, and those of the last day.
-- name: runs_forgotten
DELETE FROM runs WHERE number IN (
    SELECT number FROM runs WHERE session = :session AND state = 'done' AND finished_at < :before
      AND number < (SELECT number FROM runs WHERE session = :session ORDER BY number DESC LIMIT 1 OFFSET 100)
    ORDER BY number LIMIT 10
);

-- After a crash every running run is queued again; the next claim raises its fence.
-- name: sessions_recovered
UPDATE sessions SET running_at = NULL, version = version + 1
WHERE id IN (SELECT session FROM runs WHERE state = 'running') RETURNING *;

-- name: runs_recovered
UPDATE runs SET state = 'queued' WHERE state = 'running';

-- A receipt is as old as its run, which is how an index finds it.
-- name: sessions_unattended
SELECT s.id FROM sessions s WHERE s.policy = 'api' AND s.state IN ('created', 'active') AND NOT EXISTS (
    SELECT 1 FROM runs r JOIN receipts c ON c.expires_at = r.created_at + :kept_ms AND c.run = r.id
    WHERE r.session = s.id
);

-- name: last_outcome
SELECT outcome FROM runs WHERE session = :session AND state = 'done' ORDER BY number DESC LIMIT 1;
