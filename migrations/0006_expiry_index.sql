-- Finds the few files and uploads that are due; apart from 0005, whose lock nobody should wait behind.
-- oldest program: 0.1.0

CREATE INDEX read_models_expiry ON read_models (expires_at) WHERE expires_at IS NOT NULL AND NOT hidden;
