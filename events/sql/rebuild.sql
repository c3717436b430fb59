-- name: limits
-- A rebuild takes as long as the log is large, but waits for the others only so long.
SET LOCAL statement_timeout = 0; SET LOCAL idle_in_transaction_session_timeout = 0; SET LOCAL lock_timeout = '60s';
SELECT set_config(name, '0', true) FROM pg_settings WHERE name = 'transaction_timeout'

-- name: pause
-- Whoever writes waits, in the log's lock order; whoever reads goes on with what was there before.
LOCK TABLE leaderships, read_models, batch_work, workers, claims, checkpoints IN EXCLUSIVE MODE

-- name: pause_log
-- Nothing is appended until the commit.
SELECT lock_log()

-- name: forget
-- What is made anew.
WITH models AS (DELETE FROM read_models), board AS (DELETE FROM batch_work),
     projector AS (DELETE FROM checkpoints WHERE follower = $1)
DELETE FROM claims

-- name: streams
-- The whole log, stream by stream.
SELECT position, event_id, stream_id, version, type, project_id, data, metadata, recorded_at
FROM events ORDER BY stream_id, version

-- name: facts
-- The per-line facts of one batch.
SELECT lines FROM events WHERE stream_id = $1 AND lines IS NOT NULL ORDER BY version

-- name: add_models
-- Rows of read models.
INSERT INTO read_models (id, kind, project_id, label, stored, created_at, hidden, version, state, parked)
SELECT * FROM unnest($1::text[], $2::text[], $3::text[], $4::text[], $5::text[], $6::timestamptz[],
                     $7::boolean[], $8::bigint[], $9::text[], $10::text[])

-- name: add_batch
-- An open batch on the work board.
INSERT INTO batch_work (batch_id, project_id, phase, input_file_id, model, total, next_line, expires_at, stop_at,
                        created_at, estimated_tokens)
VALUES ($1, $2, $3, $4, $5, $6, $7, to_timestamp($8), CASE WHEN $3 = 'stopping' THEN clock_timestamp() END, $9, $10)

-- name: add_claims
-- Chunks of one batch that anybody may claim.
INSERT INTO claims (batch_id, first_line, lines, done)
SELECT $1, n.first_line, n.lines, n.done::varbit
FROM unnest($2::bigint[], $3::integer[], $4::text[]) AS n (first_line, lines, done) ORDER BY n.first_line

-- name: add_checkpoint
-- The projector has nothing left to do.
INSERT INTO checkpoints (follower, position) SELECT $1, coalesce(max(position), 0) FROM events
