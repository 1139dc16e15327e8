-- What models cost, in whole micro-dollars, and how many answers there were whose cost nobody knows.
ALTER TABLE usage_daily ADD COLUMN micros INTEGER NOT NULL DEFAULT 0;
ALTER TABLE usage_daily ADD COLUMN unpriced INTEGER NOT NULL DEFAULT 0;

-- What each job has cost in a day, with all that it started. No foreign key: a job that is removed and made again has
-- spent what it has spent. The name '' stands for the jobs that there was no room for.
CREATE TABLE job_spend (
    day    TEXT NOT NULL,
    job    TEXT NOT NULL,
    micros INTEGER NOT NULL,
    PRIMARY KEY (day, job)
) WITHOUT ROWID;
INSERT INTO tallies (family, label, state) VALUES ('job_spend', '', '');
CREATE TRIGGER job_spend_born AFTER INSERT ON job_spend BEGIN
    UPDATE tallies SET count = count + 1 WHERE family = 'job_spend';
END;
CREATE TRIGGER job_spend_gone AFTER DELETE ON job_spend BEGIN
    UPDATE tallies SET count = count - 1 WHERE family = 'job_spend';
END;
