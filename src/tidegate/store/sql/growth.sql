-- The rings of samples.

-- name: growth_series
SELECT name, id FROM growth_series ORDER BY id;

-- name: growth_series_born
INSERT INTO growth_series (id, name) VALUES (:id, :name);

-- Each slot has one place; what stood there before is the oldest of its ring, or the same slot in the making.
-- name: growth_kept
INSERT INTO growth (step_ms, slot, number, at, boot, body) VALUES (:step_ms, :slot, :number, :at, :boot, :body)
ON CONFLICT (step_ms, slot) DO UPDATE
SET number = excluded.number, at = excluded.at, boot = excluded.boot, body = excluded.body;

-- name: growth_newest
SELECT step_ms, max(number) FROM growth GROUP BY step_ms;

-- name: growth_slots
SELECT number, at, boot, body FROM growth WHERE step_ms = :step_ms AND slot >= :first AND slot < :end;

-- name: growth_until
SELECT number, at, boot, body FROM growth WHERE step_ms = :step_ms AND at <= :until ORDER BY number DESC LIMIT 1;

-- name: growth_first
SELECT number, at, boot, body FROM growth WHERE step_ms = :step_ms AND (:boot IS NULL OR boot = :boot)
ORDER BY number LIMIT 1;
