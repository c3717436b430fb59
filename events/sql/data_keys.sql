-- name: living
-- The data key of a project.
SELECT id, project_id, wrapped, wrapped_by FROM data_keys WHERE project_id = $1 AND wrapped IS NOT NULL

-- name: found
-- A data key by its id, living or destroyed.
SELECT id, project_id, wrapped, wrapped_by FROM data_keys WHERE id = $1

-- name: make
-- Gives a project its data key, where it has none.
INSERT INTO data_keys (id, project_id, wrapped, wrapped_by) VALUES ($1, $2, $3, $4)
ON CONFLICT (project_id) WHERE wrapped IS NOT NULL DO NOTHING

-- name: destroy
-- Destroys the data key of a project; what is left of it says that it was there.
UPDATE data_keys SET wrapped = NULL, wrapped_by = NULL, destroyed_at = clock_timestamp()
WHERE project_id = $1 AND wrapped IS NOT NULL RETURNING id

-- name: wrapped_by
-- What living data keys are wrapped by, and how many by each.
SELECT wrapped_by, count(*) AS keys FROM data_keys WHERE wrapped IS NOT NULL GROUP BY wrapped_by ORDER BY wrapped_by

-- name: page
-- The next living data keys behind a project.
SELECT id, project_id, wrapped, wrapped_by FROM data_keys
WHERE wrapped IS NOT NULL AND project_id > $1 ORDER BY project_id LIMIT $2

-- name: rewrap
-- Wraps a data key otherwise, unless somebody has changed it meanwhile.
UPDATE data_keys SET wrapped = $3, wrapped_by = $4 WHERE id = $1 AND wrapped = $2
