-- Messages on their way to webhook endpoints: one row for each announcement and endpoint.
-- oldest program: 0.1.0

CREATE TABLE webhook_deliveries (
    id           text        PRIMARY KEY,
    endpoint_id  text        NOT NULL,
    project_id   text        NOT NULL,
    event_id     text        NOT NULL,
    type         text        NOT NULL,
    batch_id     text        NOT NULL,
    happened_at  bigint      NOT NULL,
    state        text        NOT NULL DEFAULT 'pending' CHECK (state IN ('pending', 'delivered', 'failed')),
    attempts     integer     NOT NULL DEFAULT 0,
    in_a_row     integer     NOT NULL DEFAULT 0,
    due_at       timestamptz DEFAULT clock_timestamp(),
    attempted_at timestamptz,
    status       integer,
    error        text,
    created_at   timestamptz NOT NULL DEFAULT clock_timestamp(),
    CHECK ((state = 'pending') = (due_at IS NOT NULL))
) WITH (fillfactor = 70);
CREATE INDEX webhook_deliveries_due ON webhook_deliveries (endpoint_id, due_at) WHERE due_at IS NOT NULL;
CREATE INDEX webhook_deliveries_page ON webhook_deliveries (endpoint_id, created_at, id);
CREATE INDEX webhook_deliveries_ended ON webhook_deliveries (created_at) WHERE due_at IS NULL;

-- Records how sending went: delivered, failed for good, or due again in so many seconds. `tried` is 1 for an
-- attempt and 0 where nothing could be sent. Nothing where the row has moved on since `before` attempts, or was
-- asked for again: then `row_before`, the attempts since it last was, has begun anew.
CREATE FUNCTION settle_delivery(leader text, leader_token uuid, delivery text, before integer, row_before integer,
                                tried integer, became text, again_within float8, answered integer, reason text) RETURNS void
LANGUAGE plpgsql VOLATILE SET enable_seqscan = off AS $$
BEGIN
    PERFORM require_leadership(leader, leader_token);
    UPDATE webhook_deliveries d SET
        state = became,
        attempts = d.attempts + tried,
        in_a_row = d.in_a_row + tried,
        due_at = clock_timestamp() + make_interval(secs => again_within),
        attempted_at = CASE WHEN tried > 0 THEN clock_timestamp() ELSE d.attempted_at END,
        status = answered,
        error = reason
    WHERE d.id = delivery AND d.attempts = before AND d.in_a_row = row_before AND d.due_at IS NOT NULL;
END
$$;

GRANT SELECT, INSERT, UPDATE, DELETE ON webhook_deliveries TO batchmill_app;
