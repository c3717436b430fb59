-- name: newest
-- The incarnation that the log is in now.
SELECT id FROM incarnations ORDER BY position DESC, started_at DESC LIMIT 1

-- name: pause
-- Nothing is appended until the commit.
SELECT lock_log()

-- name: taken_over
-- Which incarnation ends now, and behind which position.
SELECT (SELECT id FROM incarnations ORDER BY position DESC, started_at DESC LIMIT 1) AS id,
       (SELECT coalesce(max(position), 0) FROM events) AS position, clock_timestamp() AS now

-- name: begin
-- A new incarnation.
INSERT INTO incarnations (id, position, reason, started_at) VALUES ($1, $2, $3, $4)
