-- What the bodies of a project are encrypted with, wrapped by a key that is not in the database.
-- oldest program: 0.1.0

-- A project has at most one key that lives. Of one that was destroyed only the row is left: so whoever meets what
-- was encrypted with it can tell that this is erased, and not that a key is missing.
CREATE TABLE data_keys (
    id           uuid        PRIMARY KEY,
    project_id   text        NOT NULL,
    wrapped      bytea,
    wrapped_by   text,
    made_at      timestamptz NOT NULL DEFAULT clock_timestamp(),
    destroyed_at timestamptz,
    CHECK ((wrapped IS NULL) = (wrapped_by IS NULL)),
    CHECK ((wrapped IS NULL) = (destroyed_at IS NOT NULL))
);
CREATE UNIQUE INDEX data_keys_living ON data_keys (project_id) WHERE wrapped IS NOT NULL;

GRANT SELECT, INSERT ON data_keys TO batchmill_app;
GRANT UPDATE (wrapped, wrapped_by, destroyed_at) ON data_keys TO batchmill_app;
