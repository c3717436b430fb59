-- name: from_position
-- Segments that may have positions from one on, up to another: those that begin before it, and the next that begin
-- there or behind it.
(SELECT first, ARRAY(SELECT coalesce(lower(r), 0) FROM unnest(positions) r),
        ARRAY(SELECT coalesce(upper(r), 0) FROM unnest(positions) r),
        name, sha256, bytes
 FROM segments WHERE range_merge(positions) @> $1::bigint AND first < $1)
UNION ALL
(SELECT first, ARRAY(SELECT coalesce(lower(r), 0) FROM unnest(positions) r),
        ARRAY(SELECT coalesce(upper(r), 0) FROM unnest(positions) r),
        name, sha256, bytes
 FROM segments WHERE first >= $1 AND first <= $2 ORDER BY first LIMIT $3)

-- name: of_stream
-- The next segments that have versions of a stream between two; each with the first and last one that it has.
SELECT s.first, ARRAY(SELECT coalesce(lower(r), 0) FROM unnest(s.positions) r),
       ARRAY(SELECT coalesce(upper(r), 0) FROM unnest(s.positions) r),
       s.name, s.sha256, s.bytes, t.first_version, t.last_version
FROM segment_streams t JOIN segments s ON s.first = t.segment
WHERE t.stream_id = $1 AND t.last_version > $2 AND t.first_version < $3 ORDER BY t.first_version LIMIT $4

-- name: of_streams
-- The first segments of each of some streams, in the same way.
SELECT found.*, i.id FROM unnest($1::text[]) AS i (id), LATERAL (
    SELECT s.first, ARRAY(SELECT coalesce(lower(r), 0) FROM unnest(s.positions) r),
           ARRAY(SELECT coalesce(upper(r), 0) FROM unnest(s.positions) r),
           s.name, s.sha256, s.bytes, t.first_version, t.last_version
    FROM segment_streams t JOIN segments s ON s.first = t.segment
    WHERE t.stream_id = i.id ORDER BY t.first_version LIMIT $2) found
ORDER BY i.id, found.first_version

-- name: with_digest
-- The segment whose object has this digest.
SELECT first FROM segments WHERE sha256 = $1

-- name: begun
-- The streams whose first row lies behind a position, up to another, in the order in which they come there.
SELECT s.stream_id FROM (
    SELECT e.stream_id, min(e.position) AS position, min(e.version) AS version FROM events e
    WHERE e.position > $1 AND e.position <= $2 GROUP BY e.stream_id) s
WHERE s.version = 1
   OR NOT EXISTS (SELECT 1 FROM events f WHERE f.stream_id = s.stream_id AND f.version < s.version)
ORDER BY s.position

-- name: beginnings
-- The first rows of each of some streams, so many at the most, stream by stream.
SELECT f.* FROM unnest($1::text[]) WITH ORDINALITY AS s (id, place), LATERAL (
    SELECT position, event_id, stream_id, version, type, project_id, data, metadata, recorded_at
    FROM events e WHERE e.stream_id = s.id ORDER BY e.version LIMIT $2) f
ORDER BY s.place, f.version

-- name: further
-- The next rows of a stream.
SELECT position, event_id, stream_id, version, type, project_id, data, metadata, recorded_at
FROM events WHERE stream_id = $1 AND version > $2 ORDER BY version LIMIT $3

-- name: head
-- The last position of the log.
SELECT max(position) FROM events

-- name: looked
-- The last position of the next rows, so many at the most, up to a position.
SELECT max(position) FROM (
    SELECT position FROM events WHERE position > $1 AND position <= $2 ORDER BY position LIMIT $3) e

-- name: may_prune
-- Whether this login may have events deleted.
SELECT has_function_privilege('prune(bigint[], bytea[], text, bytea, bigint)', 'EXECUTE')

-- name: now
-- The time it is by the clock of the database.
SELECT clock_timestamp()

-- name: places
-- The next positions, whose events these are, and whether they are of a kind that may go.
SELECT position, stream_id, type IN ('LinesCompleted', 'LinesIndexed') AS of_lines
FROM events WHERE position > $1 AND position <= $2 ORDER BY position LIMIT $3

-- name: movable
-- Of some batches those that ended before a moment and whose results and bodies are gone, as the function `prune`
-- looks for itself.
SELECT s.id FROM unnest($1::text[]) AS s (id)
WHERE EXISTS (
    SELECT 1 FROM events ended
    JOIN events gone ON gone.type IN ('FileDeleted', 'FileExpired') AND gone.stream_id
        = coalesce(ended.data::json ->> 'output_file_id', ended.data::json ->> 'error_file_id')
    JOIN read_models m ON m.id = ended.stream_id AND m.version >= ended.version AND m.parked IS NULL
    WHERE ended.stream_id = s.id AND ended.recorded_at < $2
      AND ended.type IN ('BatchCompleted', 'BatchCancelled', 'BatchExpired'))
  AND NOT EXISTS (SELECT 1 FROM attachments a WHERE a.batch_id = s.id)

-- name: rows
-- Events at some positions, every column.
SELECT position, event_id, stream_id, version, type, project_id, data, lines, metadata, attachments,
       content_digest, digest, recorded_at
FROM events WHERE position = ANY ($1::bigint[]) ORDER BY position

-- name: prune
-- Deletes events that a segment holds; see the function in migrations/0016_segments.sql.
SELECT prune($1, $2, $3, $4, $5)
