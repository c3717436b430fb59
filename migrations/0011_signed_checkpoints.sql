-- What was signed of the audit's tree: each checkpoint as its note, so that any of them can be given out.
-- oldest program: 0.1.0

CREATE TABLE signed_checkpoints (
    incarnation uuid        NOT NULL,
    size        bigint      NOT NULL,
    root        bytea       NOT NULL,
    note        text        NOT NULL,
    signed_at   timestamptz NOT NULL DEFAULT clock_timestamp(),
    PRIMARY KEY (incarnation, size)
);

-- Keeps what the leader signed, and returns the note that is kept of that size: nothing takes its place.
CREATE FUNCTION keep_checkpoint(leader text, leader_token uuid, log uuid, leaves bigint, its_root bytea,
                                signed text) RETURNS text
LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = public, pg_temp AS $$
DECLARE
    kept text;
BEGIN
    PERFORM require_leadership(leader, leader_token);
    INSERT INTO signed_checkpoints (incarnation, size, root, note) VALUES (log, leaves, its_root, signed)
    ON CONFLICT (incarnation, size) DO NOTHING;
    INSERT INTO checkpoints AS c (follower, position) VALUES ('sealer', leaves)
    ON CONFLICT (follower) DO UPDATE SET position = excluded.position;
    SELECT s.note INTO kept FROM signed_checkpoints s WHERE s.incarnation = log AND s.size = leaves;
    RETURN kept;
END
$$;

REVOKE ALL ON FUNCTION keep_checkpoint FROM PUBLIC;
GRANT EXECUTE ON FUNCTION keep_checkpoint TO batchmill_app;
GRANT SELECT ON signed_checkpoints TO batchmill_app;
