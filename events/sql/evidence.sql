-- name: rows
-- The next events of the log, every column.
SELECT position, event_id, stream_id, version, type, project_id, data, lines, metadata, attachments,
       content_digest, digest, recorded_at
FROM events WHERE position > $1 AND position <= $2 ORDER BY position LIMIT $3

-- name: stream_rows
-- The next events of a stream, every column.
SELECT position, event_id, stream_id, version, type, project_id, data, lines, metadata, attachments,
       content_digest, digest, recorded_at
FROM events WHERE stream_id = $1 AND version > $2 ORDER BY version LIMIT $3

-- name: places
-- Whose the events at some positions are.
SELECT position, stream_id, version FROM events WHERE position = ANY ($1::bigint[])

-- name: head
-- The last position of the log.
SELECT coalesce(max(position), 0) FROM events

-- name: recorded_from
-- When the first event at or behind a position was recorded.
SELECT recorded_at FROM events WHERE position >= $1 ORDER BY position LIMIT 1

-- name: attachments
-- The attachments of some events.
SELECT event_id, ordinal, salt, body FROM attachments WHERE event_id = ANY ($1::uuid[]) ORDER BY event_id, ordinal

-- name: whose
-- Which event of a stream has recorded an attachment of this digest.
SELECT position FROM events WHERE stream_id = $1 AND attachments IS NOT NULL AND position($2::bytea IN attachments) > 0
LIMIT 1

-- name: types_of
-- The events of a stream that are of some types.
SELECT type, data FROM events WHERE stream_id = $1 AND type = ANY ($2::text[]) ORDER BY version

-- name: checkpoints
-- The next checkpoints that were signed in an incarnation, as their rows say.
SELECT size, root, note FROM signed_checkpoints WHERE incarnation = $1 AND size > $2 ORDER BY size LIMIT $3

-- name: newest_checkpoints
-- The last ones, the newest first.
SELECT size, root, note FROM signed_checkpoints WHERE incarnation = $1 AND size <= $2 ORDER BY size DESC LIMIT $3

-- name: incarnations
-- Every incarnation of the log, the newest last.
SELECT id, position, reason, started_at FROM incarnations ORDER BY position, started_at

-- name: kept_checkpoints
-- The checkpoints of some sizes, of every incarnation.
SELECT s.size, s.root FROM incarnations i CROSS JOIN LATERAL (
    SELECT c.size, c.root FROM signed_checkpoints c WHERE c.incarnation = i.id AND c.size = ANY ($1::bigint[])) s

-- name: checkpoints_around
-- The checkpoints on both sides of some positions; a few, since one may be no checkpoint.
SELECT DISTINCT around.size, around.root, around.note
FROM unnest($2::bigint[]) AS p (position),
LATERAL ((SELECT size, root, note FROM signed_checkpoints
          WHERE incarnation = $1 AND size < p.position ORDER BY size DESC LIMIT 3)
         UNION ALL
         (SELECT size, root, note FROM signed_checkpoints
          WHERE incarnation = $1 AND size >= p.position ORDER BY size LIMIT 3)) around

-- name: ends
-- Streams whose last event is at one of the positions of a stretch of the log, and the last position of it.
SELECT p.position, e.stream_id
FROM (SELECT position FROM events WHERE position > $1 AND position <= $2 ORDER BY position LIMIT $3) p
LEFT JOIN events e ON e.position = p.position AND NOT EXISTS (
    SELECT 1 FROM events later WHERE later.stream_id = e.stream_id AND later.version > e.version)
ORDER BY p.position

-- name: models
-- Rows of read models.
SELECT id, kind, project_id, label, stored, created_at, hidden, version, state, parked, expires_at, bytes
FROM read_models WHERE id = ANY ($1::text[])

-- name: folded
-- The events of some streams, stream by stream.
SELECT position, event_id, stream_id, version, type, project_id, data, metadata, recorded_at
FROM events WHERE stream_id = ANY ($1::text[]) ORDER BY stream_id, version

-- name: stray_models
-- The next rows of read models, and whether their streams have a first event.
SELECT m.id, m.kind, first.position IS NOT NULL AS known
FROM (SELECT id, kind FROM read_models WHERE id > $1 ORDER BY id LIMIT $2) m
LEFT JOIN LATERAL (SELECT e.position FROM events e WHERE e.stream_id = m.id LIMIT 1) first ON true
ORDER BY m.id

-- name: stray_attachments
-- The next attachments, with the streams of their events; of those that no event has recorded, the digest.
SELECT a.event_id, a.ordinal, a.batch_id, e.stream_id,
       CASE WHEN e.stream_id IS NULL THEN sha256(a.salt || a.body) END AS digest
FROM (SELECT event_id, ordinal, batch_id, salt, body FROM attachments
      WHERE (event_id, ordinal) > ($1, $2) ORDER BY event_id, ordinal LIMIT $3) a
LEFT JOIN LATERAL (SELECT e.stream_id FROM events e
                   WHERE e.event_id = a.event_id AND a.ordinal >= 0 AND length(e.attachments) >= 32 * (a.ordinal + 1)
                   LIMIT 1) e ON true
ORDER BY a.event_id, a.ordinal
