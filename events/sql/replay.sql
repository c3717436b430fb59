-- name: rows
-- Rows of read models.
SELECT id, kind, project_id, label, stored, created_at, hidden, version, state, parked, expires_at, bytes
FROM read_models WHERE id = ANY ($1::text[])
