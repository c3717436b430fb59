-- Stops a slip of who owns the tables: nothing of the log is changed or deleted, but for bodies through `erase`.
-- oldest program: 0.1.0

-- Refuses the statement, and says in its first argument what to do instead. Where there is a second one, it lets
-- the function of that name pass, which sets `batchmill.function` to it for this statement: nobody does by chance.
CREATE FUNCTION refuse_change() RETURNS trigger
LANGUAGE plpgsql AS $$
BEGIN
    IF current_setting('batchmill.function', true) = TG_ARGV[1] THEN
        RETURN NULL;
    END IF;
    RAISE EXCEPTION '% of % is refused: the log is append-only, for its owner too', TG_OP, TG_TABLE_NAME
        USING ERRCODE = 'BM005', HINT = TG_ARGV[0];
END
$$;

-- As in 0001, and let through.
CREATE OR REPLACE FUNCTION erase(batch text, file text) RETURNS bigint
LANGUAGE plpgsql VOLATILE SECURITY DEFINER
SET search_path = public, pg_temp SET enable_seqscan = off AS $$
DECLARE
    erased bigint;
BEGIN
    IF NOT EXISTS (SELECT 1 FROM events e WHERE e.stream_id = file AND e.type IN ('FileDeleted', 'FileExpired'))
       OR NOT EXISTS (SELECT 1 FROM events e WHERE e.stream_id = batch
                      AND e.type IN ('BatchCompleted', 'BatchCancelled', 'BatchExpired')
                      AND coalesce(e.data::json ->> 'output_file_id', e.data::json ->> 'error_file_id') = file)
    THEN
        RAISE EXCEPTION 'batch % has not ended, or its file % is not gone: nothing may be erased', batch, file
            USING ERRCODE = 'BM004';
    END IF;
    PERFORM set_config('batchmill.function', 'erase', true);
    DELETE FROM attachments a WHERE a.batch_id = batch;
    GET DIAGNOSTICS erased = ROW_COUNT;
    PERFORM set_config('batchmill.function', '', true);
    RETURN erased;
END
$$;

-- In the order in which an append writes the tables. An INSERT fires none of these.
CREATE TRIGGER attachments_append_only BEFORE UPDATE OR DELETE OR TRUNCATE ON attachments
FOR EACH STATEMENT EXECUTE FUNCTION refuse_change(
    'Result lines go when the output file of their batch is deleted: `batchmill files delete`, or the API.',
    'erase');
CREATE TRIGGER events_append_only BEFORE UPDATE OR DELETE OR TRUNCATE ON events
FOR EACH STATEMENT EXECUTE FUNCTION refuse_change(
    'Delete files by the API: their contents go, and the proof stays. For an older state of everything, restore a '
    'backup into a database of its own and run `batchmill log fork`.');
CREATE TRIGGER incarnations_append_only BEFORE UPDATE OR DELETE OR TRUNCATE ON incarnations
FOR EACH STATEMENT EXECUTE FUNCTION refuse_change(
    'After a restore, `batchmill log fork` begins a new incarnation beside the old ones.');
CREATE TRIGGER signed_checkpoints_append_only BEFORE UPDATE OR DELETE OR TRUNCATE ON signed_checkpoints
FOR EACH STATEMENT EXECUTE FUNCTION refuse_change(
    'What was signed stays signed. After a restore, `batchmill log fork` begins a tree of its own.');
