-- Transcripts: hot rows, segments, and the blobs that large texts lie in.

-- name: entry_born
INSERT INTO entries (session, seq, body, checksum) VALUES (:session, :seq, :body, :checksum);

-- name: hot_entries
SELECT seq, body, checksum FROM entries WHERE session = :session AND seq > :after ORDER BY seq LIMIT :limit;

-- name: hot_entry
SELECT seq, body, checksum FROM entries WHERE session = :session AND seq = :seq;

-- name: hot_entries_back
SELECT seq, body, checksum FROM entries WHERE session = :session AND seq < :before AND seq > :cold_through
ORDER BY seq DESC LIMIT :limit;

-- name: segment_born
INSERT INTO segments (session, first_seq, last_seq, digest, raw_bytes, body)
VALUES (:session, :first_seq, :last_seq, :digest, :raw_bytes, :body);

-- The segment that holds the next entry; segments follow one another without a gap, so that one look-up finds it.
-- name: segment_after
SELECT * FROM (
    SELECT * FROM segments WHERE session = :session AND first_seq <= :after + 1 ORDER BY first_seq DESC LIMIT 1
) WHERE last_seq > :after;

-- name: segment_before
SELECT * FROM segments WHERE session = :session AND first_seq < :before ORDER BY first_seq DESC LIMIT 1;

-- name: trim_wanted
INSERT OR IGNORE INTO trims (session) VALUES (:session);

-- name: trims
SELECT session FROM trims WHERE session > :after ORDER BY session LIMIT :limit;

-- name: trim_slice
DELETE FROM entries WHERE id IN (
    SELECT id FROM entries WHERE session = :session AND seq <= :through ORDER BY seq LIMIT 500
);

-- name: trim_done
DELETE FROM trims WHERE session = :session
AND NOT EXISTS (SELECT 1 FROM entries e, sessions s
                WHERE e.session = :session AND s.id = :session AND e.seq <= s.cold_through);

-- name: trim_left
SELECT session FROM trims WHERE session = :session;

-- name: blob
SELECT bytes FROM blobs WHERE hash = :hash;

-- name: blob_born
INSERT INTO blobs (hash, bytes) VALUES (:hash, :bytes);

-- name: chunk_born
INSERT INTO chunks (hash, part, body) VALUES (:hash, :part, :body);

-- name: chunks
SELECT part, body FROM chunks WHERE hash = :hash AND part >= :part ORDER BY part LIMIT :limit;

-- name: reference_born
INSERT OR IGNORE INTO session_blobs (session, hash) VALUES (:session, :hash);
