-- `set_config('synchronous_commit', 'off', true)`, here and for the read models: a commit that nobody waits for to
-- reach the disk. What a crash of the database undoes is done again, and whatever rests on it (a claim, outcomes,
-- an event) has waited for its own commit, and with it for all before.

-- name: open_batches
-- Every batch that has not ended, and how its chunks stand.
SELECT b.batch_id, b.project_id, b.phase, b.input_file_id, b.model, b.total, b.next_line, b.waiting,
       extract(epoch FROM b.expires_at - clock_timestamp())::float8 AS expires_in,
       extract(epoch FROM b.stop_at - clock_timestamp())::float8 AS stop_in,
       extract(epoch FROM clock_timestamp() - b.changed_at)::float8 AS since,
       coalesce(c.held, 0) AS held, coalesce(c.free, 0) AS free, coalesce(c.open_lines, 0) AS open_lines,
       b.estimated_tokens, extract(epoch FROM b.created_at)::float8 AS created_at
FROM batch_work b
LEFT JOIN (SELECT batch_id, count(*) FILTER (WHERE worker IS NOT NULL) AS held,
                  count(*) FILTER (WHERE worker IS NULL) AS free,
                  sum(lines - bit_count(done))::bigint AS open_lines
           FROM claims WHERE $1::text[] IS NULL OR batch_id = ANY ($1)
           GROUP BY batch_id) c ON c.batch_id = b.batch_id
WHERE $1::text[] IS NULL OR b.batch_id = ANY ($1)
ORDER BY b.expires_at, b.batch_id

-- name: open_batches_of
-- The same of the batches of one project, in order of creation.
SELECT b.batch_id, b.project_id, b.phase, b.input_file_id, b.model, b.total, b.next_line, b.waiting,
       extract(epoch FROM b.expires_at - clock_timestamp())::float8 AS expires_in,
       extract(epoch FROM b.stop_at - clock_timestamp())::float8 AS stop_in,
       extract(epoch FROM clock_timestamp() - b.changed_at)::float8 AS since,
       c.held, c.free, c.open_lines, b.estimated_tokens, extract(epoch FROM b.created_at)::float8 AS created_at
FROM batch_work b
CROSS JOIN LATERAL (SELECT count(*) FILTER (WHERE worker IS NOT NULL) AS held,
                           count(*) FILTER (WHERE worker IS NULL) AS free,
                           coalesce(sum(lines - bit_count(done)), 0)::bigint AS open_lines
                    FROM claims WHERE batch_id = b.batch_id) c
WHERE b.project_id = $1
ORDER BY b.created_at, b.batch_id

-- name: waits
-- What a batch has waited for, the last first.
SELECT reason, began_at, ended_at FROM batch_waits WHERE batch_id = $1 ORDER BY began_at DESC LIMIT $2

-- name: lend_hand
-- Takes a batch in hand, unless another has shown within a lease that it has; no row: another has.
UPDATE batch_work SET helper = $2, helped_at = clock_timestamp()
WHERE batch_id = $1
  AND (helper IS NULL OR helper = $2 OR helped_at < clock_timestamp() - make_interval(secs => $3))
RETURNING batch_id, set_config('synchronous_commit', 'off', true)

-- name: withdraw_hand
-- Lets go of a batch.
UPDATE batch_work SET helper = NULL WHERE batch_id = $1 AND helper = $2
RETURNING set_config('synchronous_commit', 'off', true)

-- name: holds_input
-- Whether a batch that has not ended reads this file.
SELECT EXISTS (SELECT 1 FROM batch_work WHERE input_file_id = $1)

-- name: hand_out
-- Cuts the next lines of batches into claims, batches in order so that two who do it cannot deadlock; see
-- the function in migrations/0002_board.sql.
SELECT n.cut, hand_out($1, $2, n.batch_id, n.next_line, n.lines) AS claim_id,
       set_config('synchronous_commit', 'off', true)
FROM (SELECT * FROM unnest($3::text[], $4::bigint[], $5::integer[])
          WITH ORDINALITY AS c (batch_id, next_line, lines, cut)
      ORDER BY c.batch_id, c.next_line) n

-- name: explain
-- Says of batches why they wait, for the leader or for somebody else; rows locked in order, so that two who
-- explain cannot deadlock.
WITH leads AS MATERIALIZED (SELECT require_leadership($3, $4)),
changed AS (
    SELECT b.batch_id, n.waiting FROM leads CROSS JOIN batch_work b
    JOIN unnest($1::text[], $2::text[]) AS n (batch_id, waiting) ON b.batch_id = n.batch_id
    WHERE b.waiting IS DISTINCT FROM n.waiting
    ORDER BY b.batch_id FOR NO KEY UPDATE OF b)
UPDATE batch_work b SET waiting = changed.waiting FROM changed WHERE b.batch_id = changed.batch_id

-- name: free_claims
-- Chunks of running batches that nobody holds, the oldest first.
SELECT c.id, c.batch_id, c.suspect, c.lines, c.first_line
FROM claims c JOIN batch_work b ON b.batch_id = c.batch_id AND b.phase = 'running'
WHERE c.worker IS NULL ORDER BY c.id LIMIT $1

-- name: claim
-- Takes a free chunk of a running batch, with a fresh token: at most $3 lines of it (NULL: all) while it has no
-- outcome. What is left stays free as a chunk of its own. A chunk of the same batch that lies free because its
-- worker died goes first, but for suspects: else it would wait behind all that was offered before it.
WITH named AS (
    SELECT coalesce((SELECT o.id FROM claims n JOIN claims o ON o.batch_id = n.batch_id
                     WHERE n.id = $1 AND NOT n.suspect AND o.worker IS NULL AND o.deaths > 0 AND NOT o.suspect
                     ORDER BY o.id LIMIT 1), $1) AS id),
free AS (
    SELECT c.*, b.project_id, extract(epoch FROM b.expires_at - clock_timestamp())::float8 AS expires_in,
           CASE WHEN bit_count(c.done) = 0 THEN least(c.lines, $3::integer) ELSE c.lines END AS taken
    FROM claims c JOIN batch_work b ON b.batch_id = c.batch_id AND b.phase = 'running'
    WHERE c.id = (SELECT n.id FROM named n) AND c.worker IS NULL
        AND EXISTS (SELECT 1 FROM workers w WHERE w.id = $2)
    FOR NO KEY UPDATE OF c),
left_free AS (
    INSERT INTO claims (batch_id, first_line, lines, done, deaths)
    SELECT f.batch_id, f.first_line + f.taken, f.lines - f.taken, substring(f.done FROM f.taken + 1), f.deaths
    FROM free f WHERE f.taken < f.lines
    RETURNING id)
UPDATE claims c
SET worker = $2, token = gen_random_uuid(), lines = f.taken, done = substring(f.done FROM 1 FOR f.taken)
FROM free f WHERE c.id = f.id
RETURNING c.id, c.batch_id, f.project_id, c.token, c.first_line, c.lines, c.done::text AS done, c.suspect, c.deaths,
          f.expires_in

-- name: hand_back
-- Frees chunks that are still held with these tokens.
WITH mine AS (
    SELECT c.id FROM claims c JOIN unnest($1::bigint[], $2::uuid[]) AS h (id, token)
        ON c.id = h.id AND c.token = h.token
    ORDER BY c.id FOR NO KEY UPDATE OF c)
UPDATE claims c SET worker = NULL, token = NULL FROM mine WHERE c.id = mine.id

-- name: held_by
-- The chunks that a worker holds.
SELECT id, token FROM claims WHERE worker = $1

-- name: register
-- A worker begins to beat.
INSERT INTO workers (id) VALUES ($1)

-- name: beat
-- A worker lives; no row: it was declared dead and holds nothing any more.
UPDATE workers SET beat = beat + 1, pauses = $2 WHERE id = $1 RETURNING beat

-- name: pauses
-- Which routes each worker has paused, as JSON.
SELECT id, pauses FROM workers

-- name: workers
-- Every worker and its beat.
SELECT id, beat FROM workers

-- name: strays
-- Workers that hold claims and are not registered.
SELECT DISTINCT c.worker FROM claims c
WHERE c.worker IS NOT NULL AND NOT EXISTS (SELECT 1 FROM workers w WHERE w.id = c.worker)

-- name: leave
-- Frees what a worker holds that stops cleanly; see the function in migrations/0002_board.sql.
SELECT leave($1)

-- name: void_claims
-- Frees the claims of dead workers; see the function in migrations/0002_board.sql.
SELECT void_claims($1)

-- name: observe_leadership
-- Who leads.
SELECT token, beat FROM leaderships WHERE name = $1

-- name: take_leadership
-- Takes a leadership that is free or still as it was observed.
INSERT INTO leaderships AS l (name, token) VALUES ($1, $2)
ON CONFLICT (name) DO UPDATE SET token = excluded.token, beat = 0
WHERE l.token = $3 AND l.beat = $4
RETURNING token

-- name: beat_leadership
-- The leader lives; no row: another leads.
UPDATE leaderships SET beat = beat + 1 WHERE name = $1 AND token = $2 RETURNING beat

-- name: leave_leadership
-- A leader steps down.
DELETE FROM leaderships WHERE name = $1 AND ($2::uuid IS NULL OR token = $2)
