-- name: edges
-- The first and the last event of a stream.
(SELECT position, version, type, project_id, data FROM events WHERE stream_id = $1 ORDER BY version LIMIT 1)
UNION ALL
(SELECT position, version, type, project_id, data FROM events WHERE stream_id = $1 ORDER BY version DESC LIMIT 1)

-- name: rows
-- The next events of a stream up to a position, every column.
SELECT position, event_id, stream_id, version, type, project_id, data, lines, metadata, attachments,
       content_digest, digest, recorded_at
FROM events WHERE stream_id = $1 AND version > $2 AND position <= $3 ORDER BY version LIMIT $4

-- name: attachment
-- One attachment of an event.
SELECT salt, body FROM attachments WHERE event_id = $1 AND ordinal = $2
