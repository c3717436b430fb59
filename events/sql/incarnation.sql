-- name: newest
-- The incarnation that the log is in now.
SELECT id FROM incarnations ORDER BY position DESC, started_at DESC LIMIT 1

-- name: pause
-- Nothing is appended until the commit.
SELECT lock_log()

-- name: begin
-- A new incarnation from the last event on.
INSERT INTO incarnations (position, reason) SELECT coalesce(max(position), 0), $1 FROM events RETURNING id, position
