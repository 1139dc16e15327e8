-- Where the summary stands that is read in the place of older entries; NULL while there is none.
ALTER TABLE sessions ADD COLUMN summary_seq INTEGER CHECK (summary_seq BETWEEN 1 AND entries);
