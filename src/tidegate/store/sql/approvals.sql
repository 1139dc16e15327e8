-- What a person is asked before a tool runs.

-- name: approval_by_id
SELECT * FROM approvals WHERE id = :id;

-- Providers may use a call id again: the question that has not been acted upon is the one that is meant.
-- name: approval_of_call
SELECT * FROM approvals WHERE run = :run AND call_id = :call_id AND digest = :digest ORDER BY is_used, id LIMIT 1;

-- name: approval_born
INSERT INTO approvals (id, session, run, agent, call_id, tool, arguments, digest, state, created_at, expires_at)
VALUES (:id, :session, :run, :agent, :call_id, :tool, :arguments, :digest, 'pending', :created_at, :expires_at);

-- name: approval_used
UPDATE approvals SET is_used = 1 WHERE id = :id;

-- What is always allowed, or was and is revoked, belongs to no session any more.
-- name: approval_decided
UPDATE approvals SET state = :state, decided_at = :now, expires_at = :expires_at,
    session = CASE WHEN state = 'always' OR :state = 'always' THEN NULL ELSE session END
WHERE id = :id RETURNING *;

-- name: approvals_pending_of_run
SELECT * FROM approvals WHERE run = :run AND state = 'pending' LIMIT 1;

-- name: approvals_closed
UPDATE approvals SET state = 'expired', decided_at = :now, expires_at = :expires_at
WHERE run = :run AND state = 'pending';

-- name: approvals_lapsed
SELECT * FROM approvals WHERE state = 'pending' AND expires_at <= :now ORDER BY expires_at LIMIT 100;

-- name: approvals_forgotten
DELETE FROM approvals WHERE id IN (
    SELECT id FROM approvals WHERE expires_at <= :now AND state <> 'pending' ORDER BY expires_at LIMIT 500
);

-- name: approval_granted
SELECT id, expires_at FROM approvals WHERE digest = :digest AND state = 'always' LIMIT 1;

-- name: approval_kept
UPDATE approvals SET expires_at = :expires_at WHERE id = :id;

-- A question that nobody waits for is found by its call, in the place of the call's id.
-- name: approval_standing
SELECT * FROM approvals WHERE run = :run AND call_id = :digest AND expires_at > :now ORDER BY id DESC LIMIT 1;

-- name: approvals_pending_of_agent
SELECT count(*) FROM (SELECT 1 FROM approvals WHERE state = 'pending' AND agent = :agent LIMIT :limit);

-- name: approvals_in_state
SELECT count FROM tallies WHERE family = 'approval' AND state = :state;

-- name: approvals_page
SELECT * FROM approvals WHERE id < :before ORDER BY id DESC LIMIT :limit;

-- name: approvals_page_of_state
SELECT * FROM approvals WHERE state = :state AND id < :before ORDER BY id DESC LIMIT :limit;

-- name: approvals_page_of_session
SELECT * FROM approvals WHERE session = :session AND id < :before AND (:state IS NULL OR state = :state)
ORDER BY id DESC LIMIT :limit;

-- The run waits for a person or for children; its fence is raised, since nobody may write to it meanwhile.
-- name: run_waits
UPDATE runs SET state = 'waiting', fence = fence + 1 WHERE id = :id AND state = 'running' RETURNING *;

-- name: run_resumed
UPDATE runs SET state = 'queued' WHERE id = :id AND state = 'waiting' AND parked_at IS NULL;

-- The run waits for nobody: its lane is closed for a while.
-- name: run_parked
UPDATE runs SET state = 'waiting', fence = fence + 1, parked_at = :now WHERE id = :id AND state = 'running'
RETURNING *;

-- How long a run was parked does not count; its session's deadline holds all the same.
-- name: runs_unparked
UPDATE runs SET state = 'queued', waited_ms = waited_ms + max(0, :now - parked_at), parked_at = NULL
WHERE number IN (
    SELECT number FROM runs WHERE state = 'waiting' AND parked_at IS NOT NULL ORDER BY number LIMIT :limit
);

-- name: run_waited
UPDATE runs SET waited_ms = waited_ms + :waited_ms WHERE id = :id;
