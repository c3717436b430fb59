-- Notes the bytes of the rows that were there before 0008, locked in the order in which a running program locks
-- them.
-- oldest program: 0.1.0

WITH old AS (
    SELECT id FROM read_models
    WHERE kind IN ('file', 'upload') AND NOT hidden AND bytes IS NULL AND state IS NOT NULL
    ORDER BY id FOR NO KEY UPDATE)
UPDATE read_models r SET state = r.state FROM old WHERE r.id = old.id;
