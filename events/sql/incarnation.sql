-- name: newest
-- The incarnation that the log is in now.
SELECT id FROM incarnations ORDER BY position DESC, started_at DESC LIMIT 1
