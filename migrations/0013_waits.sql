-- What batches have waited for, and how long: each reason that the work board gave, from when to when. Kept beside
-- the log, as what the leader saw; nothing is decided by it.
-- oldest program: 0.1.0

CREATE TABLE batch_waits (
    batch_id text        NOT NULL,
    began_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    ended_at timestamptz,
    reason   text        NOT NULL,
    PRIMARY KEY (batch_id, began_at)
);

-- Follows `waiting` of a batch. A reason whose numbers alone change, behind its colon, is the same one; what lasted
-- less than a tenth of a second is forgotten.
CREATE FUNCTION note_wait() RETURNS trigger
LANGUAGE plpgsql AS $$
DECLARE
    became text := CASE WHEN TG_OP = 'DELETE' THEN NULL ELSE NEW.waiting END;
BEGIN
    IF split_part(became, ':', 1) = split_part(OLD.waiting, ':', 1) THEN
        RETURN NULL;
    END IF;
    IF OLD.waiting IS NOT NULL THEN
        DELETE FROM batch_waits w WHERE w.batch_id = OLD.batch_id AND w.ended_at IS NULL
            AND w.began_at > clock_timestamp() - interval '100 milliseconds';
        UPDATE batch_waits w SET ended_at = clock_timestamp()
        WHERE w.batch_id = OLD.batch_id AND w.ended_at IS NULL;
    END IF;
    IF became IS NOT NULL THEN
        INSERT INTO batch_waits (batch_id, reason) VALUES (OLD.batch_id, became);
    END IF;
    RETURN NULL;
END
$$;
CREATE TRIGGER batch_work_waits AFTER UPDATE OF waiting ON batch_work
FOR EACH ROW WHEN (OLD.waiting IS DISTINCT FROM NEW.waiting) EXECUTE FUNCTION note_wait();
CREATE TRIGGER batch_work_ended AFTER DELETE ON batch_work
FOR EACH ROW WHEN (OLD.waiting IS NOT NULL) EXECUTE FUNCTION note_wait();

GRANT SELECT, INSERT, UPDATE, DELETE ON batch_waits TO batchmill_app;
