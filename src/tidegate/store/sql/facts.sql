-- What agents remember. Columns come in the order of the table (store/rows.py).

-- name: fact_agent
SELECT number FROM fact_agents WHERE name = :name;

-- name: fact_agent_born
INSERT INTO fact_agents (name) VALUES (:name) RETURNING number;

-- name: fact_number
SELECT coalesce(max(number) + 1, :first) FROM facts WHERE number >= :first AND number < :end;

-- name: fact_by_id
SELECT * FROM facts WHERE id = :id;

-- name: fact_by_content
SELECT * FROM facts WHERE agent = :agent AND digest = :digest;

-- name: fact_by_place
SELECT * FROM facts WHERE agent = :agent AND place = :place;

-- name: fact_born
INSERT INTO facts (number, id, agent, text, entity, key, value, category, importance, origin, source, created_at,
    updated_at, used_at, expires_at, digest, place, bytes, worth)
VALUES (:number, :id, :agent, :text, :entity, :key, :value, :category, :importance, :origin, :source, :now,
    :now, :now, :expires_at, :digest, :place, :bytes, :worth);

-- Another text, or another value.
-- name: fact_replaced
UPDATE facts SET text = :text, entity = :entity, key = :key, value = :value, category = :category,
    importance = :importance, origin = :origin, source = :source, updated_at = :now, used_at = :now,
    expires_at = :expires_at, digest = :digest, place = :place, bytes = :bytes, worth = :worth
WHERE number = :number;

-- No column that is searched in is named, so that no word is indexed again.
-- name: fact_used
UPDATE facts SET importance = :importance, origin = :origin, used_at = :now, expires_at = :expires_at, worth = :worth
WHERE number = :number;

-- name: fact_gone
DELETE FROM facts WHERE number = :number;

-- name: facts_held
SELECT count FROM tallies WHERE family = 'fact' AND label = :agent;

-- name: facts_crowded
SELECT label, count - :most FROM tallies WHERE family = 'fact' AND count > :most LIMIT 1;

-- name: facts_least
DELETE FROM facts WHERE number IN (SELECT number FROM facts WHERE agent = :agent ORDER BY worth LIMIT :excess);

-- name: facts_expired
DELETE FROM facts WHERE number IN (SELECT number FROM facts WHERE expires_at <= :now ORDER BY expires_at LIMIT :limit);

-- name: facts_detached
UPDATE facts SET source = NULL WHERE number IN (SELECT number FROM facts WHERE source = :session LIMIT :limit);

-- name: facts_forgotten
DELETE FROM facts WHERE number IN (SELECT number FROM facts WHERE source = :session LIMIT :limit);

-- name: facts_page
SELECT * FROM facts WHERE number < :before AND (expires_at IS NULL OR expires_at > :now)
ORDER BY number DESC LIMIT :limit;

-- name: facts_page_of_agent
SELECT * FROM facts WHERE number >= :first AND number < :before AND (expires_at IS NULL OR expires_at > :now)
ORDER BY number DESC LIMIT :limit;

-- name: facts_numbered
SELECT * FROM facts WHERE number IN (SELECT value FROM json_each(:numbers))
AND (expires_at IS NULL OR expires_at > :now);

-- name: facts_worthiest
SELECT * FROM facts WHERE agent = :agent AND (expires_at IS NULL OR expires_at > :now)
AND origin <> 'outside' ORDER BY worth DESC LIMIT :limit;

-- The newest facts with a word, or with all of some: read from the end of its list, never ranked, so that the cost
-- follows the limit and not how common the word is.
-- name: facts_with
SELECT rowid FROM facts_fts WHERE facts_fts MATCH :words AND rowid >= :first AND rowid < :end
ORDER BY rowid DESC LIMIT :limit;

-- Nearest first; every vector of the agent is read, one at a time.
-- A vector that says nothing has no distance to anything.
-- name: facts_near
SELECT number, vec_distance_cosine(body, :vector) AS distance FROM fact_vectors
WHERE number >= :first AND number < :end AND model = :model AND length(body) = length(:vector)
ORDER BY distance NULLS LAST LIMIT :limit;

-- name: facts_without_vector
SELECT f.* FROM facts f LEFT JOIN fact_vectors v ON v.number = f.number
WHERE f.number > :after AND (v.number IS NULL OR v.model <> :model) ORDER BY f.number LIMIT :limit;

-- Only to a fact that is as it was when it was read.
-- name: fact_vector_kept
INSERT INTO fact_vectors (number, model, body) SELECT number, :model, :body FROM facts
WHERE number = :number AND updated_at = :updated_at
ON CONFLICT (number) DO UPDATE SET model = excluded.model, body = excluded.body;

-- name: flushed_through
SELECT through FROM flushes WHERE session = :session;

-- name: flush_kept
INSERT INTO flushes (session, through) VALUES (:session, :through)
ON CONFLICT (session) DO UPDATE SET through = excluded.through;
