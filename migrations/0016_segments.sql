-- What `batchmill prune` has moved out of the log into storage: which segment holds which events.
-- oldest program: 0.1.0

-- A segment is one object in storage. No position is in two of them.
CREATE TABLE segments (
    first     bigint         PRIMARY KEY,
    positions int8multirange NOT NULL,
    name      text           NOT NULL,
    sha256    bytea          NOT NULL UNIQUE,
    bytes     bigint         NOT NULL,
    pruned_at timestamptz    NOT NULL DEFAULT clock_timestamp(),
    EXCLUDE USING gist (positions WITH &&)
);
CREATE INDEX segments_span ON segments USING gist (range_merge(positions));

-- Which versions of a stream lie in which segment, by that one's first position.
CREATE TABLE segment_streams (
    stream_id     text   NOT NULL,
    first_version bigint NOT NULL,
    last_version  bigint NOT NULL,
    segment       bigint NOT NULL,
    PRIMARY KEY (stream_id, first_version)
);

-- Raises BM006, and says why.
CREATE FUNCTION refuse_prune(why text) RETURNS void
LANGUAGE plpgsql AS $$
BEGIN
    RAISE EXCEPTION 'nothing is pruned: %', why USING ERRCODE = 'BM006';
END
$$;

-- Deletes events that a segment in storage holds, and notes where they are. Looks for itself whether they may go:
-- outcomes and indexes of lines, as they were digested, of batches that have ended, whose result file and bodies
-- are gone, and whose read model needs none of them; under a checkpoint that was signed.
CREATE FUNCTION prune(its_positions bigint[], its_digests bytea[], its_name text, its_sha256 bytea, its_bytes bigint)
RETURNS void
LANGUAGE plpgsql VOLATILE SECURITY DEFINER
SET search_path = public, pg_temp SET enable_seqscan = off AS $$
DECLARE
    last_position bigint := (SELECT max(p) FROM unnest(its_positions) p);
    held bigint;
    open_stream text;
BEGIN
    PERFORM require_read_committed();
    IF NOT EXISTS (
        SELECT 1 FROM signed_checkpoints s WHERE s.size >= last_position AND s.incarnation = (
            SELECT i.id FROM incarnations i ORDER BY i.position DESC, i.started_at DESC LIMIT 1))
    THEN
        PERFORM refuse_prune(format('position %s is under no signed checkpoint', last_position));
    ELSIF last_position >= (SELECT max(e.position) FROM events e) THEN
        PERFORM refuse_prune(format('position %s is the last one of the log', last_position));
    ELSIF EXISTS (SELECT 1 FROM checkpoints c WHERE c.follower = 'rebuild' AND c.position < last_position) THEN
        PERFORM refuse_prune('a rebuild of the read models is under way; when it has ended, run this again');
    END IF;

    SELECT count(*) INTO held FROM (
        SELECT 1 FROM unnest(its_positions, its_digests) AS p (position, digest)
        JOIN events e ON e.position = p.position AND e.digest = p.digest
        WHERE e.type IN ('LinesCompleted', 'LinesIndexed') FOR UPDATE OF e) locked;
    IF held <> cardinality(its_positions) THEN
        PERFORM refuse_prune(format('%s of %s positions from %s on hold no such event of lines any more',
                                    cardinality(its_positions) - held, cardinality(its_positions), its_positions[1]));
    END IF;
    IF EXISTS (SELECT 1 FROM events e JOIN attachments a ON a.event_id = e.event_id
               WHERE e.position = ANY (its_positions)) THEN
        PERFORM refuse_prune(format('bodies of events from position %s on are not erased', its_positions[1]));
    END IF;
    SELECT s.stream_id INTO open_stream
    FROM (SELECT e.stream_id, max(e.version) AS version FROM events e WHERE e.position = ANY (its_positions)
          GROUP BY e.stream_id) s
    WHERE NOT EXISTS (
        SELECT 1 FROM events ended
        JOIN events gone ON gone.type IN ('FileDeleted', 'FileExpired') AND gone.stream_id
            = coalesce(ended.data::json ->> 'output_file_id', ended.data::json ->> 'error_file_id')
        JOIN read_models m ON m.id = ended.stream_id AND m.version >= ended.version AND m.parked IS NULL
        WHERE ended.stream_id = s.stream_id AND ended.version > s.version
          AND ended.type IN ('BatchCompleted', 'BatchCancelled', 'BatchExpired'))
    LIMIT 1;
    IF open_stream IS NOT NULL THEN
        PERFORM refuse_prune(format('batch %s has not ended, its results are not gone, or its read model is not '
                                    'written forward', open_stream));
    END IF;

    INSERT INTO segments (first, positions, name, sha256, bytes)
    SELECT min(p), range_agg(int8range(p, p, '[]')), its_name, its_sha256, its_bytes FROM unnest(its_positions) p;
    INSERT INTO segment_streams (stream_id, first_version, last_version, segment)
    SELECT e.stream_id, min(e.version), max(e.version), (SELECT min(p) FROM unnest(its_positions) p)
    FROM events e WHERE e.position = ANY (its_positions) GROUP BY e.stream_id;
    PERFORM set_config('batchmill.function', 'prune', true);
    DELETE FROM events e WHERE e.position = ANY (its_positions);
    PERFORM set_config('batchmill.function', '', true);
END
$$;

-- As in 0014, and lets this one pass.
CREATE OR REPLACE TRIGGER events_append_only BEFORE UPDATE OR DELETE OR TRUNCATE ON events
FOR EACH STATEMENT EXECUTE FUNCTION refuse_change(
    'Delete files by the API: their contents go, and the proof stays. For an older state of everything, restore a '
    'backup into a database of its own and run `batchmill log fork`. `batchmill prune` moves what is old to storage.',
    'prune');
CREATE TRIGGER segments_append_only BEFORE UPDATE OR DELETE OR TRUNCATE ON segments
FOR EACH STATEMENT EXECUTE FUNCTION refuse_change(
    'What was moved to storage is a part of the log, and is found by this.');
CREATE TRIGGER segment_streams_append_only BEFORE UPDATE OR DELETE OR TRUNCATE ON segment_streams
FOR EACH STATEMENT EXECUTE FUNCTION refuse_change(
    'What was moved to storage is a part of the log, and is found by this.');

-- The owner alone prunes: the application's login deletes nothing of the log.
REVOKE ALL ON FUNCTION prune FROM PUBLIC;
GRANT SELECT ON segments, segment_streams TO batchmill_app;
