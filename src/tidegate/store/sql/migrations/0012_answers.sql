-- What a client is told of a run: where its own words begin, and why it failed.

-- The seq of the last entry of its message; what the run itself says comes after. NULL until it is claimed.
ALTER TABLE runs ADD COLUMN asked_seq INTEGER;
-- The code of the error that ended it, '' for none, and after how many seconds it is worth trying again.
ALTER TABLE runs ADD COLUMN failure TEXT NOT NULL DEFAULT '';
ALTER TABLE runs ADD COLUMN retry_after_s INTEGER;
-- Of input_tokens, those that the provider had in its cache.
ALTER TABLE runs ADD COLUMN cached_tokens INTEGER NOT NULL DEFAULT 0;
