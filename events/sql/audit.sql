-- name: leaves
-- What the leaves of the tree are made of, from a position on.
SELECT position, stream_id, version, digest FROM events WHERE position >= $1 ORDER BY position LIMIT $2

-- name: leaf_at
-- What the leaf of the event at a position is made of.
SELECT position, stream_id, version, type, digest FROM events WHERE position = $1

-- name: leaf_in
-- The same where the event is of a project.
SELECT position, stream_id, version, type, digest FROM events WHERE position = $1 AND project_id = $2

-- name: leaves_of
-- The same of the next events of a stream.
SELECT position, stream_id, version, type, digest FROM events WHERE stream_id = $1 AND version > $2
ORDER BY version LIMIT $3

-- name: keep
-- Keeps a signed checkpoint; see the function in migrations/0011_signed_checkpoints.sql.
SELECT keep_checkpoint($1, $2, $3, $4, $5, $6)

-- name: newest
-- The newest signed checkpoint of an incarnation.
SELECT note FROM signed_checkpoints WHERE incarnation = $1 ORDER BY size DESC LIMIT 1

-- name: covering
-- The first signed checkpoint of an incarnation that covers a position.
SELECT note FROM signed_checkpoints WHERE incarnation = $1 AND size >= $2 ORDER BY size LIMIT 1

-- name: unsealed
-- For how many seconds the oldest event has waited that no checkpoint of the log as it is now covers; 0 where none
-- waits, no row where nothing was ever signed.
SELECT coalesce(extract(epoch FROM clock_timestamp() - waiting.recorded_at), 0)::float8 AS seconds
FROM (SELECT coalesce((SELECT s.size FROM signed_checkpoints s
                       WHERE s.incarnation = (SELECT i.id FROM incarnations i
                                              ORDER BY i.position DESC, i.started_at DESC LIMIT 1)
                       ORDER BY s.size DESC LIMIT 1), 0) AS size
      WHERE (SELECT s.size FROM signed_checkpoints s ORDER BY s.incarnation, s.size LIMIT 1) > 0) sealed
LEFT JOIN LATERAL (SELECT e.recorded_at FROM events e WHERE e.position > sealed.size
                   ORDER BY e.position LIMIT 1) waiting ON true
