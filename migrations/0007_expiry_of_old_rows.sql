-- Notes the expiry of the rows that were there before 0005: those that have one, locked in the order in which a
-- running program locks them.
-- oldest program: 0.1.0

WITH old AS (
    SELECT id FROM read_models
    WHERE kind IN ('file', 'upload') AND NOT hidden AND expires_at IS NULL AND state ~ '[{,]"expires_at":\d'
    ORDER BY id FOR NO KEY UPDATE)
UPDATE read_models r SET state = r.state FROM old WHERE r.id = old.id;
