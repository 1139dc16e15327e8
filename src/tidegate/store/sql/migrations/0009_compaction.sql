-- Where the summary stands that is read in the place of older entries; NULL while there is none.
ALTER TABLE sessions ADD COLUMN summary_seq INTEGER;
