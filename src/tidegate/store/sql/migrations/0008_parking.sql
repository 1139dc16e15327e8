-- Runs that are parked while something is short: since when. A parked run is `waiting`, and waits for nobody.
ALTER TABLE runs ADD COLUMN parked_at INTEGER;
CREATE INDEX runs_parked ON runs (number) WHERE state = 'waiting' AND parked_at IS NOT NULL;
