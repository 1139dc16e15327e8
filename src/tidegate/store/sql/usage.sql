-- What models took and cost (store/usage.py).

-- name: usage_counted
INSERT INTO usage_daily (period, agent, model, answers, input_tokens, output_tokens, micros, unpriced)
VALUES (:period, :agent, :model, 1, :input_tokens, :output_tokens, :micros, :unpriced)
ON CONFLICT (period, agent, model) DO UPDATE SET answers = answers + 1,
    input_tokens = input_tokens + excluded.input_tokens, output_tokens = output_tokens + excluded.output_tokens,
    micros = micros + excluded.micros, unpriced = unpriced + excluded.unpriced
RETURNING micros, unpriced;

-- Days older than 90 become months, months older than two years become years.
-- name: usage_folded
INSERT INTO usage_daily (period, agent, model, answers, input_tokens, output_tokens, micros, unpriced)
SELECT substr(period, 1, length(period) - 3), agent, model,
    sum(answers), sum(input_tokens), sum(output_tokens), sum(micros), sum(unpriced) FROM usage_daily
WHERE length(period) = :length AND period < :before GROUP BY 1, 2, 3
ON CONFLICT (period, agent, model) DO UPDATE SET answers = answers + excluded.answers,
    input_tokens = input_tokens + excluded.input_tokens, output_tokens = output_tokens + excluded.output_tokens,
    micros = micros + excluded.micros, unpriced = unpriced + excluded.unpriced;

-- name: usage_unfolded
DELETE FROM usage_daily WHERE length(period) = :length AND period < :before;

-- name: usage_of_day
SELECT agent, model, micros, unpriced FROM usage_daily WHERE period = :period;

-- name: usage_since
SELECT coalesce(sum(micros), 0), coalesce(sum(unpriced), 0) FROM usage_daily
WHERE length(period) = 10 AND period >= :period;

-- name: job_spends
SELECT count FROM tallies WHERE family = 'job_spend';

-- name: job_spend_of
SELECT micros FROM job_spend WHERE day = :day AND job = :job;

-- name: job_spent
INSERT INTO job_spend (day, job, micros) VALUES (:day, :job, :micros)
ON CONFLICT (day, job) DO UPDATE SET micros = micros + excluded.micros RETURNING micros;

-- name: job_spend_of_day
SELECT s.job, s.micros, j.definition FROM job_spend s JOIN jobs j ON j.name = s.job
WHERE s.day = :day AND s.job > :after AND j.definition LIKE '%"spend":%' ORDER BY s.job LIMIT 500;

-- name: job_spend_expired
DELETE FROM job_spend WHERE (day, job) IN (SELECT day, job FROM job_spend WHERE day < :before LIMIT 500);
