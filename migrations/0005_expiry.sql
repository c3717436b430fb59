-- When the time of a file or upload is over, as a column of its row, so that an index finds the few that are due.
-- oldest program: 0.1.0

-- Made from `state` by the database, whichever program wrote that. Looked for as text: a JSON function would
-- refuse a row whose file name holds U+0000. In JSON, no quote within a text stands without a backslash, so
-- no file name looks like the field.
ALTER TABLE read_models ADD COLUMN expires_at bigint GENERATED ALWAYS AS (
    CASE WHEN kind IN ('file', 'upload') THEN substring(state FROM '[{,]"expires_at":(\d+)')::bigint END) STORED;
CREATE INDEX read_models_expiry ON read_models (expires_at) WHERE expires_at IS NOT NULL AND NOT hidden;
