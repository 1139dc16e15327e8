-- What the client of a named api session has instructed last, as a digest: who sends the same again adds nothing.
ALTER TABLE sessions ADD COLUMN instructions TEXT NOT NULL DEFAULT '';
