-- name: add
-- Messages that are to be sent at once. One that is there already stays as it is; one older than rows are kept
-- has been there, and is not made again.
INSERT INTO webhook_deliveries (id, endpoint_id, project_id, event_id, type, batch_id, happened_at)
SELECT n.* FROM unnest($1::text[], $2::text[], $3::text[], $4::text[], $5::text[], $6::text[], $7::bigint[])
    AS n (id, endpoint_id, project_id, event_id, type, batch_id, happened_at)
WHERE to_timestamp(n.happened_at) > clock_timestamp() - make_interval(secs => $8)
ON CONFLICT (id) DO NOTHING

-- name: due
-- What is due, at most $2 messages of each endpoint, the longest due first; not those under way ($1). The
-- endpoints are found by leaps along the index: a long queue of one costs the others nothing.
WITH RECURSIVE waiting AS (
    (SELECT w.endpoint_id FROM webhook_deliveries w WHERE w.due_at IS NOT NULL ORDER BY w.endpoint_id LIMIT 1)
    UNION ALL
    SELECT (SELECT w.endpoint_id FROM webhook_deliveries w
            WHERE w.due_at IS NOT NULL AND w.endpoint_id > waiting.endpoint_id ORDER BY w.endpoint_id LIMIT 1)
    FROM waiting WHERE waiting.endpoint_id IS NOT NULL)
SELECT d.id, d.endpoint_id, d.project_id, d.event_id, d.type, d.batch_id, d.happened_at, d.attempts, d.in_a_row
FROM waiting CROSS JOIN LATERAL (
    SELECT * FROM webhook_deliveries x
    WHERE x.endpoint_id = waiting.endpoint_id AND x.due_at <= clock_timestamp() AND x.id <> ALL ($1::text[])
    ORDER BY x.due_at LIMIT $2) d
ORDER BY d.due_at

-- name: settle
-- Records how sending went; see the function in migrations/0004_webhook_deliveries.sql.
SELECT settle_delivery($1, $2, $3, $4, $5, $6, $7, $8, $9, $10)

-- name: any_taken
-- Whether an endpoint has taken any message since then. The newest are looked at first: where it takes some,
-- one of them is near; where it takes none, it is not asked again.
SELECT EXISTS (
    SELECT 1 FROM (
        SELECT d.state, d.attempted_at FROM webhook_deliveries d
        WHERE d.endpoint_id = $1 ORDER BY d.created_at DESC, d.id DESC) newest
    WHERE newest.state = 'delivered' AND newest.attempted_at >= to_timestamp($2::bigint))

-- name: page
-- An endpoint's messages, the newest first, after a cursor.
SELECT id, event_id, type, batch_id, happened_at, state, attempts, status, error,
       extract(epoch FROM created_at)::bigint AS created_at, extract(epoch FROM due_at)::bigint AS due_at,
       extract(epoch FROM attempted_at)::bigint AS attempted_at
FROM webhook_deliveries d
WHERE d.endpoint_id = $1
  AND (d.created_at, d.id) < (coalesce((SELECT c.created_at FROM webhook_deliveries c WHERE c.id = $2),
                                       'infinity'), coalesce($2, ''))
ORDER BY d.created_at DESC, d.id DESC LIMIT $3

-- name: one
-- One message of an endpoint.
SELECT id, event_id, type, batch_id, happened_at, state, attempts, status, error,
       extract(epoch FROM created_at)::bigint AS created_at, extract(epoch FROM due_at)::bigint AS due_at,
       extract(epoch FROM attempted_at)::bigint AS attempted_at
FROM webhook_deliveries WHERE id = $1 AND endpoint_id = $2

-- name: redeliver
-- Sends a message again at once, whatever became of it, and from the beginning of the schedule.
UPDATE webhook_deliveries SET state = 'pending', due_at = clock_timestamp(), in_a_row = 0
WHERE id = $1 AND endpoint_id = $2

-- name: prune
-- Forgets messages that came to an end, so many seconds after they were made, some at a time.
DELETE FROM webhook_deliveries WHERE id = ANY (ARRAY(
    SELECT p.id FROM webhook_deliveries p
    WHERE p.due_at IS NULL AND p.created_at < clock_timestamp() - make_interval(secs => $1)
    ORDER BY p.created_at LIMIT $2))
