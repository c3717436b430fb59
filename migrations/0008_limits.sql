-- What the limits of projects are kept by: the order in which batches came and the tokens they are estimated to
-- have, on the work board; the bytes of files, and of uploads on their way, in their rows.
-- oldest program: 0.1.0

ALTER TABLE read_models ADD COLUMN bytes bigint;
ALTER TABLE batch_work
    ADD COLUMN created_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    ADD COLUMN estimated_tokens bigint NOT NULL DEFAULT 0;
UPDATE batch_work b SET created_at = r.created_at FROM read_models r WHERE r.id = b.batch_id;

-- The size is taken from `state`, whichever program wrote that, as text and for the reasons that `note_expiry`
-- has. An upload's own size stands before those of its parts.
CREATE FUNCTION note_bytes() RETURNS trigger
LANGUAGE plpgsql AS $$
BEGIN
    NEW.bytes := substring(NEW.state FROM '[{,]"size":(\d+)')::bigint;
    RETURN NEW;
END
$$;
CREATE TRIGGER read_models_bytes BEFORE INSERT OR UPDATE OF state ON read_models
FOR EACH ROW WHEN (NEW.kind IN ('file', 'upload') AND NEW.state IS NOT NULL AND NEW.bytes IS NULL)
EXECUTE FUNCTION note_bytes();

-- As in 0001, with the estimated tokens.
CREATE OR REPLACE FUNCTION write_board(board json) RETURNS void
LANGUAGE plpgsql AS $$
DECLARE
    of_batch text := board ->> 'batch_id';
BEGIN
    IF board ->> 'phase' IS NULL THEN
        DELETE FROM batch_work WHERE batch_id = of_batch;
    ELSE
        INSERT INTO batch_work AS b (batch_id, project_id, phase, input_file_id, model, total, estimated_tokens,
                                     expires_at)
        VALUES (of_batch, board ->> 'project_id', board ->> 'phase', coalesce(board ->> 'input_file_id', ''),
                board ->> 'model', coalesce((board ->> 'total')::bigint, 0),
                coalesce((board ->> 'estimated_tokens')::bigint, 0),
                date_trunc('second', clock_timestamp())
                + make_interval(secs => coalesce((board ->> 'expires_within')::float8, 0)))
        ON CONFLICT (batch_id) DO UPDATE SET
            phase = excluded.phase,
            model = coalesce(board ->> 'model', b.model),
            total = coalesce((board ->> 'total')::bigint, b.total),
            estimated_tokens = coalesce((board ->> 'estimated_tokens')::bigint, b.estimated_tokens),
            stop_at = coalesce(clock_timestamp() + make_interval(secs => (board ->> 'stop_within')::float8),
                               b.stop_at),
            waiting = NULL,
            changed_at = clock_timestamp();
    END IF;
    IF (board ->> 'revoke')::boolean THEN
        PERFORM 1 FROM claims c WHERE c.batch_id = of_batch ORDER BY c.id FOR NO KEY UPDATE;
        DELETE FROM claims c WHERE c.batch_id = of_batch;
    END IF;
END
$$;
