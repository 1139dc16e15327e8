-- The counts as they should be: label, state, count, bytes of each family; and the correction of one.

-- name: recount_session
SELECT policy, state, count(*), sum(bytes) FROM sessions GROUP BY policy, state;

-- name: recount_run
SELECT lane, state, count(*), 0 FROM runs GROUP BY lane, state;

-- name: recount_blob
SELECT '', '', count(*), coalesce(sum(bytes), 0) FROM blobs;

-- name: recount_reference
SELECT '', '', (SELECT count(*) FROM session_blobs) + (SELECT count(*) FROM snapshot_skills), 0;

-- name: recount_snapshot
SELECT '', '', count(*), 0 FROM snapshots;

-- name: recount_segment
SELECT '', '', count(*), coalesce(sum(length(body)), 0) FROM segments;

-- name: recount_receipt
SELECT '', '', count(*), 0 FROM receipts;

-- name: recount_approval
SELECT '', state, count(*), 0 FROM approvals GROUP BY state;

-- name: recount_job
SELECT origin, CASE WHEN paused THEN 'paused' ELSE 'active' END AS state, count(*), 0 FROM jobs GROUP BY origin, state;

-- name: recount_firing
SELECT '', outcome, count(*), 0 FROM firings GROUP BY outcome;

-- name: recount_outbox
SELECT '', state, count(*), coalesce(sum(length(body)), 0) FROM outbox GROUP BY state;

-- name: recount_fact
SELECT agent, '', count(*), sum(bytes) FROM facts GROUP BY agent;

-- name: tally_corrected
INSERT INTO tallies (family, label, state, count, bytes) VALUES (:family, :label, :state, :number, :size)
ON CONFLICT (family, label, state) DO UPDATE SET count = excluded.count, bytes = excluded.bytes;

-- name: recount_job_spend
SELECT '', '', count(*), 0 FROM job_spend;
