-- What the application may do: read the log and call its three functions; all of what can be rebuilt.
-- oldest program: 0.1.0

REVOKE ALL ON FUNCTION append, flush, erase, insert_event, write_board FROM PUBLIC;
GRANT EXECUTE ON FUNCTION append, flush, erase TO batchmill_app;
GRANT USAGE ON SCHEMA public TO batchmill_app;
GRANT SELECT ON events, attachments, incarnations, schema_migrations TO batchmill_app;
GRANT SELECT, INSERT, UPDATE, DELETE ON read_models, batch_work, claims, workers, leaderships, checkpoints
    TO batchmill_app;
