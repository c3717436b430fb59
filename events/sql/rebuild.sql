-- name: begin
-- Makes an empty copy of the read models; see the function in migrations/0012_rebuild_beside.sql.
SELECT begin_copy($1, $2)

-- name: touched
-- Whose the next events of the log are.
SELECT position, stream_id FROM events WHERE position > $1 ORDER BY position LIMIT $2

-- name: tails
-- Of some streams the events that are not folded into the copy yet, each with the row as it is there.
SELECT c.version AS row_version, c.state, c.parked,
       e.position, e.event_id, e.stream_id, e.version, e.type, e.project_id, e.data, e.metadata, e.recorded_at,
       first.recorded_at AS began_at
FROM unnest($1::text[]) AS s (id)
LEFT JOIN read_models_copy c ON c.id = s.id
CROSS JOIN LATERAL (SELECT * FROM events x WHERE x.stream_id = s.id AND x.version > coalesce(c.version, 0)
                    ORDER BY x.version LIMIT $2) e
JOIN events first ON first.stream_id = s.id AND first.version = 1
ORDER BY e.stream_id, e.version

-- name: write
-- Writes rows of the copy, and how far it follows the log.
SELECT write_copy($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13),
       set_config('synchronous_commit', 'off', true)

-- name: analyze
-- Has the planner know what the copy holds.
SELECT analyze_copy($1, $2)

-- name: swap
-- Puts the copy in the place of the read models, or says why not.
SELECT swap_copy($1, $2, $3, $4, $5)
