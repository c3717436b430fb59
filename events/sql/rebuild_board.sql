-- name: limits
-- This takes as long as there are open batches, but waits for the others only so long.
SET LOCAL statement_timeout = 0; SET LOCAL idle_in_transaction_session_timeout = 0; SET LOCAL lock_timeout = '60s';
SELECT set_config(name, '0', true) FROM pg_settings WHERE name = 'transaction_timeout'

-- name: head
-- The last position of the log.
SELECT coalesce(max(position), 0) FROM events

-- name: created
-- The next batches that were created and have not ended, and the last position looked at.
SELECT p.position, CASE WHEN NOT EXISTS (
           SELECT 1 FROM events x WHERE x.stream_id = p.stream_id AND x.type = ANY ($3::text[]))
       THEN p.stream_id END AS batch_id
FROM (SELECT position, stream_id FROM events
      WHERE position > $1 AND type = 'BatchCreated' ORDER BY position LIMIT $2) p

-- name: pause
-- Whoever claims, hands out or records waits, in the log's lock order; whoever reads goes on with what was there.
LOCK TABLE batch_work, workers, claims IN EXCLUSIVE MODE

-- name: pause_log
-- Nothing is appended until the commit.
SELECT lock_log()

-- name: forget
-- What is made anew.
WITH board AS (DELETE FROM batch_work) DELETE FROM claims

-- name: stream
-- The events of one batch.
SELECT position, event_id, stream_id, version, type, project_id, data, metadata, recorded_at
FROM events WHERE stream_id = $1 ORDER BY version

-- name: facts
-- The per-line facts of one batch.
SELECT lines FROM events WHERE stream_id = $1 AND lines IS NOT NULL ORDER BY version

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
