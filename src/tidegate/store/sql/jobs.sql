-- Jobs, and what became of their instants. Columns come in the order of the tables (store/rows.py).

-- name: job_by_name
SELECT * FROM jobs WHERE name = :name;

-- name: job_born
INSERT INTO jobs (name, definition, origin, creator, paused, created_at, fired_through, next_at, held_until, failures,
    revision, wakes_at, isolated, expires_at)
VALUES (:name, :definition, :origin, :creator, :paused, :created_at, :fired_through, :next_at, :held_until, :failures,
    :revision, :wakes_at, :isolated, :expires_at);

-- name: job_moved
UPDATE jobs SET definition = :definition, origin = :origin, paused = :paused, fired_through = :fired_through,
    next_at = :next_at, held_until = :held_until, failures = :failures, revision = :revision, wakes_at = :wakes_at,
    isolated = :isolated, expires_at = :expires_at
WHERE name = :name;

-- name: job_gone
DELETE FROM jobs WHERE name = :name;

-- name: jobs_held
SELECT sum(count) FROM tallies WHERE family = 'job';

-- name: jobs_of_creator
SELECT count(*) FROM jobs WHERE origin = :origin AND creator = :creator;

-- name: jobs_of_origin
SELECT * FROM jobs WHERE origin = :origin;

-- name: jobs_page
SELECT * FROM jobs WHERE name > :after ORDER BY name LIMIT :limit;

-- name: jobs_due
SELECT * FROM jobs WHERE wakes_at <= :until AND (:with_isolated OR NOT isolated) ORDER BY wakes_at LIMIT :limit;

-- name: next_firing
SELECT wakes_at FROM jobs WHERE wakes_at IS NOT NULL ORDER BY wakes_at LIMIT 1;

-- A job that was for once is forgotten after a while.
-- name: jobs_expired
DELETE FROM jobs WHERE name IN (
    SELECT name FROM jobs j WHERE expires_at <= :now
      AND NOT EXISTS (SELECT 1 FROM firings f WHERE f.job = j.name AND f.is_open)
    ORDER BY expires_at LIMIT 100
);

-- name: firing_born
INSERT INTO firings (job, instant, outcome, count, asked, run, session, is_open, note, created_at, ended_at,
    allow_tools, tools, isolated)
VALUES (:job, :instant, :outcome, :count, :asked, :run, :session, :is_open, :note, :created_at, :ended_at,
    :allow_tools, :tools, :isolated);

-- name: firing_at
SELECT number FROM firings WHERE job = :job AND instant = :instant AND NOT asked;

-- name: firing_open
SELECT * FROM firings WHERE job = :job AND is_open LIMIT 1;

-- The open firing that a run belongs to: an isolated session is all its own, in any other one only its run is.
-- name: firing_of_run
SELECT * FROM firings WHERE session = :session AND is_open AND (isolated OR run = :run) LIMIT 1;

-- name: firing_ended
UPDATE firings SET is_open = 0, result = :result, ended_at = :now, note = :note WHERE number = :number;

-- name: firing_noted
UPDATE firings SET note = :note WHERE number = :number;

-- name: firings_page
SELECT * FROM firings WHERE job = :job AND number < :before ORDER BY number DESC LIMIT :limit;

-- name: firings_pruned
DELETE FROM firings WHERE job = :job AND NOT is_open
  AND number <= (SELECT number FROM firings WHERE job = :job ORDER BY number DESC LIMIT 1 OFFSET :kept);

-- name: firings_expired
DELETE FROM firings WHERE number IN (
    SELECT number FROM firings WHERE created_at < :before AND NOT is_open ORDER BY created_at LIMIT 500
);
