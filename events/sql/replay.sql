-- name: streams
-- The next events of the whole log, stream by stream.
SELECT position, event_id, stream_id, version, type, project_id, data, metadata, recorded_at
FROM events WHERE (stream_id, version) > ($1, $2) ORDER BY stream_id, version LIMIT $3

-- name: rows
-- Rows of read models.
SELECT id, kind, project_id, label, stored, created_at, hidden, version, state, parked, expires_at, bytes
FROM read_models WHERE id = ANY ($1::text[])
