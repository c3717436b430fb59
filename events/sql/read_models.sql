-- name: one
-- One row by id, of one project ($3 NULL: of any), with the events that are not folded into it yet, in one
-- snapshot; with all of them where the row is not to be read ($5 is the shape that this program knows).
SELECT m.id, m.project_id, m.hidden, m.version AS row_version, m.state, m.parked,
       e.position, e.event_id, e.stream_id, e.version, e.type, e.data, e.metadata, e.recorded_at
FROM read_models m
LEFT JOIN LATERAL (SELECT x.position, x.event_id, x.stream_id, x.version, x.type, x.data, x.metadata,
                          x.recorded_at
                   FROM events x WHERE x.stream_id = m.id AND x.version > fold_after(m.state, m.version, $5, $6)
                   ORDER BY x.version LIMIT $4) e ON true
WHERE m.id = $1 AND m.kind = $2 AND ($3::text IS NULL OR m.project_id = $3)
ORDER BY e.version

-- name: key
-- The same of the key that a secret's digest belongs to, and the time it is by the clock of the database.
SELECT floor(extract(epoch FROM now()))::bigint AS now,
       m.id, m.project_id, m.hidden, m.version AS row_version, m.state, m.parked,
       e.position, e.event_id, e.stream_id, e.version, e.type, e.data, e.metadata, e.recorded_at
FROM read_models m
LEFT JOIN LATERAL (SELECT x.position, x.event_id, x.stream_id, x.version, x.type, x.data, x.metadata,
                          x.recorded_at
                   FROM events x WHERE x.stream_id = m.id AND x.version > fold_after(m.state, m.version, $3, $4)
                   ORDER BY x.version LIMIT $2) e ON true
WHERE m.kind = 'key' AND m.label = $1 AND NOT m.hidden
ORDER BY e.version

-- name: keys
-- Every key, the oldest first.
SELECT id FROM read_models WHERE kind = 'key' ORDER BY created_at, id LIMIT $1

-- name: log
-- The first incarnation of the log.
SELECT id FROM incarnations ORDER BY position, started_at LIMIT 1

-- name: now
-- The time it is by the clock of the database, in Unix seconds.
SELECT floor(extract(epoch FROM now()))::bigint

-- name: overdue
-- Objects that are there, and whose time is over by the database's clock, the longest first; none that is
-- parked.
SELECT id FROM read_models
WHERE expires_at <= floor(extract(epoch FROM now()))::bigint AND expires_at IS NOT NULL AND NOT hidden
  AND kind = $1 AND parked IS NULL
ORDER BY expires_at LIMIT $2

-- name: count
-- How many objects of a kind a project has, counted no further than $3.
SELECT count(*) FROM (
    SELECT 1 FROM read_models m WHERE m.kind = $1 AND m.project_id = $2 AND NOT m.hidden LIMIT $3) counted

-- name: kept
-- Bytes of a project's files, and of its uploads on their way; of a row that no program has written forward yet,
-- those that its first event says.
SELECT coalesce(sum(coalesce(m.bytes, (
           SELECT substring(e.data FROM '[{,]"size":(\d+)')::bigint FROM events e
           WHERE e.stream_id = m.id AND e.version = 1))), 0)::bigint
FROM read_models m WHERE m.project_id = $1 AND m.kind IN ('file', 'upload') AND NOT m.hidden

-- name: cursor
-- Where in the list an object stands, gone or not.
SELECT created_at FROM read_models WHERE id = $1 AND kind = $2 AND project_id = $3

-- name: page_newest_first
-- A page of rows after a cursor, with the events that are not folded into them yet, in one snapshot.
SELECT m.id, m.project_id, m.hidden, m.version AS row_version, m.state, m.parked, m.created_at,
       e.position, e.event_id, e.stream_id, e.version, e.type, e.data, e.metadata, e.recorded_at
FROM (SELECT r.id, r.project_id, r.hidden, r.version, r.state, r.parked, r.created_at FROM read_models r
      WHERE r.kind = $1 AND r.project_id = $2 AND NOT r.hidden AND ($3::text IS NULL OR r.label = $3)
        AND (r.created_at, r.id) < (coalesce($4::timestamptz, 'infinity'), coalesce($5::text, ''))
      ORDER BY r.created_at DESC, r.id DESC LIMIT $6) m
LEFT JOIN LATERAL (SELECT x.position, x.event_id, x.stream_id, x.version, x.type, x.data, x.metadata,
                          x.recorded_at
                   FROM events x WHERE x.stream_id = m.id AND x.version > fold_after(m.state, m.version, $8, $9)
                   ORDER BY x.version LIMIT $7) e ON true
ORDER BY m.created_at DESC, m.id DESC, e.version

-- name: page_oldest_first
-- The same the other way round.
SELECT m.id, m.project_id, m.hidden, m.version AS row_version, m.state, m.parked, m.created_at,
       e.position, e.event_id, e.stream_id, e.version, e.type, e.data, e.metadata, e.recorded_at
FROM (SELECT r.id, r.project_id, r.hidden, r.version, r.state, r.parked, r.created_at FROM read_models r
      WHERE r.kind = $1 AND r.project_id = $2 AND NOT r.hidden AND ($3::text IS NULL OR r.label = $3)
        AND (r.created_at, r.id) > (coalesce($4::timestamptz, '-infinity'), coalesce($5::text, ''))
      ORDER BY r.created_at, r.id LIMIT $6) m
LEFT JOIN LATERAL (SELECT x.position, x.event_id, x.stream_id, x.version, x.type, x.data, x.metadata,
                          x.recorded_at
                   FROM events x WHERE x.stream_id = m.id AND x.version > fold_after(m.state, m.version, $8, $9)
                   ORDER BY x.version LIMIT $7) e ON true
ORDER BY m.created_at, m.id, e.version

-- name: advance
-- Writes rows forward and moves a checkpoint; see the function in migrations/0002_board.sql.
SELECT advance($1, $2, $3, $4, $5, $6, $7, $8), set_config('synchronous_commit', 'off', true)

-- name: checkpoint
-- How far a follower is.
SELECT coalesce((SELECT position FROM checkpoints WHERE follower = $1), 0)

-- name: named
-- Which of some storage keys belong to a file that was recorded.
SELECT stored FROM read_models WHERE stored = ANY ($1::text[])

-- name: named_in_log
-- Which of some storage keys are named by events of a stretch of the log.
SELECT k.stored FROM unnest($1::text[]) AS k (stored)
WHERE EXISTS (SELECT 1 FROM events e WHERE e.position > $2 AND e.position <= $3 AND e.lines IS NULL
              AND strpos(e.data, k.stored) > 0)

-- name: visible
-- The next objects of a kind by id, of every project, that are not hidden.
SELECT id FROM read_models WHERE id > $2 AND kind = $1 AND NOT hidden ORDER BY id LIMIT $3

-- name: written
-- The next rows, with the shapes that they have; NULL of those that were not written forward yet.
SELECT id, CASE WHEN state IS NOT NULL THEN shape_of(state) END AS shape, parked
FROM read_models WHERE id > $1 ORDER BY id LIMIT $2

-- name: head
-- The last position of the log.
SELECT coalesce(max(position), 0) FROM events
