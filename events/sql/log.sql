-- name: append
-- Records events in one transaction; see the function in migrations/0001_log.sql.
SELECT append($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16, $17, $18, $19, $20)

-- name: flush
-- Records outcomes of claims in one transaction.
SELECT flush($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14)

-- name: erase
-- Erases the bodies of an ended batch whose result file is gone.
SELECT erase($1, $2)

-- name: stream
-- The next events of one stream.
SELECT position, event_id, stream_id, version, type, project_id, data, metadata, recorded_at
FROM events WHERE stream_id = $1 AND version > $2 ORDER BY version LIMIT $3

-- name: read
-- The next events of the whole log.
SELECT position, event_id, stream_id, version, type, project_id, data, metadata, recorded_at
FROM events WHERE position > $1 ORDER BY position LIMIT $2

-- name: facts
-- The next per-line facts of one batch, and whether some of its events were moved to storage.
SELECT version, event_id, lines, EXISTS (SELECT 1 FROM segment_streams s WHERE s.stream_id = $1) AS moved
FROM events WHERE stream_id = $1 AND version > $2 AND lines IS NOT NULL ORDER BY version LIMIT $3

-- name: flushed
-- One flush of a batch, with its body.
SELECT e.event_id, e.lines, e.attachments, a.ordinal, a.salt, a.body
FROM events e LEFT JOIN attachments a ON a.event_id = e.event_id AND a.ordinal = 0
WHERE e.stream_id = $1 AND e.version = $2 AND e.lines IS NOT NULL

-- name: index_block
-- One block of the index of a batch's lines: of the events that carry it the one in this place, from 0. They come
-- before any other facts of a stream, so that few events are passed over.
SELECT a.event_id, a.ordinal, a.salt, a.body
FROM (SELECT e.event_id FROM events e
      WHERE e.stream_id = $1 AND e.type IN ('LinesIndexed', 'BatchStarted')
      ORDER BY e.version OFFSET $2 LIMIT 1) h
JOIN attachments a ON a.event_id = h.event_id AND a.ordinal = $3

-- name: version_at
-- The last version that a stream had at a position.
SELECT coalesce(max(version), 0) FROM events WHERE stream_id = $1 AND position <= $2

-- name: incarnations
-- Every incarnation of the log, the newest last.
SELECT id, position FROM incarnations ORDER BY position, started_at

-- name: head
-- The last position of the log.
SELECT coalesce(max(position), 0) FROM events
