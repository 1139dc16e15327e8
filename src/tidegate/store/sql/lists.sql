-- Pages for people and clients: keyset on an indexed order, always read to the end.

-- name: sessions_page
SELECT * FROM sessions WHERE policy = :policy AND state = :state AND id < :before ORDER BY id DESC LIMIT :limit;

-- name: children_page
SELECT * FROM sessions WHERE parent = :parent AND id < :before ORDER BY id DESC LIMIT :limit;

-- name: runs_page
SELECT * FROM runs WHERE number < :before ORDER BY number DESC LIMIT :limit;

-- name: runs_page_of_state
SELECT * FROM runs WHERE state = :state AND number < :before ORDER BY number DESC LIMIT :limit;

-- name: runs_page_of_session
SELECT * FROM runs WHERE session = :session AND number < :before AND (:state IS NULL OR state = :state)
ORDER BY number DESC LIMIT :limit;

-- name: tallies
SELECT family, label, state, count, bytes FROM tallies;
