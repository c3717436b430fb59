-- When the time of a file or upload is over, as a column of its row.
-- oldest program: 0.1.0

ALTER TABLE read_models ADD COLUMN expires_at bigint;

-- The time is taken from `state`, whichever program wrote that. It is looked for as text: a JSON function would
-- refuse a row whose file name holds U+0000. In JSON, no quote within a text stands without a backslash, so no
-- file name looks like the field.
CREATE FUNCTION note_expiry() RETURNS trigger
LANGUAGE plpgsql AS $$
BEGIN
    NEW.expires_at := substring(NEW.state FROM '[{,]"expires_at":(\d+)')::bigint;
    RETURN NEW;
END
$$;
CREATE TRIGGER read_models_expiry BEFORE INSERT OR UPDATE OF state ON read_models
FOR EACH ROW WHEN (NEW.kind IN ('file', 'upload') AND NEW.state IS NOT NULL) EXECUTE FUNCTION note_expiry();
