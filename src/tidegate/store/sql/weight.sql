-- What weighs most. There is no index for that: these walk, a page at a time.

-- name: weight_page
SELECT min(id), count(*) FROM (SELECT id FROM sessions WHERE id < :before ORDER BY id DESC LIMIT :limit);

-- name: weight_sessions
SELECT key, policy, state, entries, bytes + coalesce((
    SELECT sum(b.bytes) FROM session_blobs r JOIN blobs b ON b.hash = r.hash WHERE r.session = s.id
), 0) AS held
FROM sessions s WHERE id >= :first AND id < :before ORDER BY held DESC, id DESC LIMIT :top;

-- Their group names the job, and once they have ended the outcome.
-- name: weight_jobs
SELECT cap_group, count(*), sum(bytes + coalesce((
    SELECT sum(b.bytes) FROM session_blobs r JOIN blobs b ON b.hash = r.hash WHERE r.session = s.id
), 0))
FROM sessions s WHERE id >= :first AND id < :before AND policy = 'cron' AND cap_group GLOB 'job:*' GROUP BY cap_group;

-- name: weight_firings
SELECT count(*) FROM firings WHERE job = :job;

-- name: weight_skills
SELECT k.name, count(*), sum(b.bytes) AS held
FROM (SELECT DISTINCT name, blob FROM (SELECT name, blob FROM snapshot_skills LIMIT :most)) k
JOIN blobs b ON b.hash = k.blob GROUP BY k.name ORDER BY held DESC, k.name LIMIT :top;

-- A row is a cell of a leaf; in a table without rowid those of the inner pages are rows, too. `dbstat` walks the file.
-- name: weight_tables
SELECT coalesce(m.tbl_name, d.name) AS name,
       sum(CASE WHEN m.type IS NOT 'table' THEN 0 WHEN m.sql LIKE '%WITHOUT ROWID%' THEN d.leaf + d.inside ELSE d.leaf END),
       sum(d.bytes) AS held
FROM (
    SELECT name, sum(pgsize) AS bytes,
           sum(CASE pagetype WHEN 'leaf' THEN ncell ELSE 0 END) AS leaf,
           sum(CASE pagetype WHEN 'internal' THEN ncell ELSE 0 END) AS inside
    FROM dbstat GROUP BY name
) d LEFT JOIN sqlite_schema m ON m.name = d.name
GROUP BY 1 ORDER BY held DESC, 1;
