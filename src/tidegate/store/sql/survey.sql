-- What a forecast asks of a store; every query is bounded by a limit or by what is never many.

-- name: survey_finished
SELECT created_at, updated_at, since_at, outcome FROM sessions
WHERE policy = :policy AND state = :state ORDER BY id DESC LIMIT :limit;

-- For whom the newest sub-agents worked.
-- name: survey_roots
SELECT top.policy, count(*)
FROM (
    SELECT created_at, root FROM sessions
    WHERE policy = 'subagent' AND state = :state ORDER BY id DESC LIMIT :limit
) AS newest JOIN sessions AS top ON top.id = newest.root WHERE newest.created_at >= :since GROUP BY top.policy;

-- The bytes of skills, which no session owns alone.
-- name: survey_skills
SELECT coalesce(sum(bytes), 0) FROM blobs WHERE hash IN (SELECT blob FROM snapshot_skills);

-- name: survey_rings
SELECT count(*), coalesce(sum(length(body)), 0) FROM growth;
