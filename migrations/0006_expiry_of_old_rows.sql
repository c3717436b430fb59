-- Notes the expiry of the rows that were there before 0005; apart from it, so that nobody waits for more than a row.
-- oldest program: 0.1.0

UPDATE read_models SET state = state WHERE kind IN ('file', 'upload') AND state IS NOT NULL AND NOT hidden;
