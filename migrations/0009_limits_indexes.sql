-- Finds what a project keeps, and its open batches; apart from 0008, whose lock nobody should wait behind.
-- oldest program: 0.1.0

CREATE INDEX read_models_kept ON read_models (project_id) INCLUDE (id, bytes)
WHERE kind IN ('file', 'upload') AND NOT hidden;
CREATE INDEX batch_work_project ON batch_work (project_id);
