-- Snapshots of skills; the triggers of the schema take away what nobody refers to.

-- name: snapshot
SELECT hash FROM snapshots WHERE hash = :hash;

-- name: snapshot_born
INSERT INTO snapshots (hash) VALUES (:hash);

-- name: snapshot_skill_born
INSERT INTO snapshot_skills (snapshot, name, blob) VALUES (:snapshot, :name, :blob);

-- name: snapshot_skills
SELECT name, blob FROM snapshot_skills WHERE snapshot = :snapshot ORDER BY name;
