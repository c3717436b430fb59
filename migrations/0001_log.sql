-- The event log and its attachments, the three functions through which alone it is written, and what can
-- be rebuilt from it: read models, work board, leaderships, checkpoints.
-- oldest program: 0.1.0

CREATE TABLE events (
    position       bigint      PRIMARY KEY,
    event_id       uuid        NOT NULL UNIQUE,
    stream_id      text        NOT NULL,
    version        bigint      NOT NULL,
    type           text        NOT NULL,
    project_id     text        NOT NULL,
    data           text        NOT NULL,
    lines          bytea,
    metadata       text        NOT NULL,
    attachments    bytea,
    content_digest bytea       NOT NULL,
    digest         bytea       NOT NULL,
    recorded_at    timestamptz NOT NULL,
    UNIQUE (stream_id, version)
) WITH (autovacuum_vacuum_insert_scale_factor = 0.02);

CREATE TABLE attachments (
    event_id uuid    NOT NULL,
    ordinal  integer NOT NULL,
    batch_id text    NOT NULL,
    salt     bytea   NOT NULL,
    body     bytea   NOT NULL,
    PRIMARY KEY (event_id, ordinal)
);
-- The bodies come compressed: a second compression by Postgres would cost time and win nothing.
ALTER TABLE attachments ALTER COLUMN body SET STORAGE EXTERNAL;
CREATE INDEX attachments_batch ON attachments (batch_id);

-- The log's incarnations: the newest one names the log in cursors, CloudEvents and checkpoints.
CREATE TABLE incarnations (
    id         uuid        PRIMARY KEY DEFAULT gen_random_uuid(),
    position   bigint      NOT NULL,
    reason     text        NOT NULL,
    started_at timestamptz NOT NULL DEFAULT clock_timestamp()
);
INSERT INTO incarnations (position, reason) VALUES (0, 'first');

CREATE TABLE read_models (
    id         text        PRIMARY KEY,
    kind       text        NOT NULL,
    project_id text        NOT NULL,
    label      text,
    stored     text,
    created_at timestamptz NOT NULL,
    hidden     boolean     NOT NULL DEFAULT false,
    version    bigint      NOT NULL DEFAULT 0,
    state      text,
    parked     text
) WITH (fillfactor = 70);
CREATE INDEX read_models_page ON read_models (kind, project_id, created_at, id) WHERE NOT hidden;
CREATE INDEX read_models_stored ON read_models (stored) WHERE stored IS NOT NULL;
CREATE INDEX read_models_key ON read_models (label) WHERE kind = 'key';

CREATE TABLE batch_work (
    batch_id      text        PRIMARY KEY,
    project_id    text        NOT NULL,
    phase         text        NOT NULL CHECK (phase IN ('planning', 'running', 'stopping', 'finalizing')),
    input_file_id text        NOT NULL,
    model         text,
    total         bigint      NOT NULL DEFAULT 0,
    next_line     bigint      NOT NULL DEFAULT 0,
    expires_at    timestamptz NOT NULL,
    stop_at       timestamptz,
    waiting       text,
    helper        text,
    helped_at     timestamptz,
    changed_at    timestamptz NOT NULL DEFAULT clock_timestamp()
) WITH (fillfactor = 70, autovacuum_vacuum_scale_factor = 0.01, autovacuum_vacuum_cost_delay = 0);
CREATE INDEX batch_work_input ON batch_work (input_file_id);

CREATE TABLE claims (
    id         bigint  GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    batch_id   text    NOT NULL,
    first_line bigint  NOT NULL,
    lines      integer NOT NULL,
    done       varbit  NOT NULL,
    suspect    boolean NOT NULL DEFAULT false,
    deaths     integer NOT NULL DEFAULT 0,
    worker     text,
    token      uuid
) WITH (fillfactor = 70, autovacuum_vacuum_scale_factor = 0.01, autovacuum_vacuum_cost_delay = 0);
CREATE INDEX claims_batch ON claims (batch_id);

CREATE TABLE workers (
    id         text        PRIMARY KEY,
    beat       bigint      NOT NULL DEFAULT 0,
    pauses     text        NOT NULL DEFAULT '{}',
    started_at timestamptz NOT NULL DEFAULT clock_timestamp()
) WITH (fillfactor = 50, autovacuum_vacuum_scale_factor = 0.01, autovacuum_vacuum_cost_delay = 0);

CREATE TABLE leaderships (
    name  text   PRIMARY KEY,
    token uuid   NOT NULL,
    beat  bigint NOT NULL DEFAULT 0
) WITH (fillfactor = 50, autovacuum_vacuum_scale_factor = 0.01, autovacuum_vacuum_cost_delay = 0);

CREATE TABLE checkpoints (
    follower text   PRIMARY KEY,
    position bigint NOT NULL
) WITH (fillfactor = 50, autovacuum_vacuum_scale_factor = 0.01, autovacuum_vacuum_cost_delay = 0);

-- Length-prefixed parts: no two lists of parts give the same bytes. An absent part is length -1.
CREATE FUNCTION length_prefixed(part bytea) RETURNS bytea
LANGUAGE sql IMMUTABLE AS $$
    SELECT CASE WHEN part IS NULL THEN int4send(-1) ELSE int4send(length(part)) || part END
$$;

-- The digest of an event: all of its columns but the position are under it.
CREATE FUNCTION event_digest(stream_id text, version bigint, event_id uuid, project_id text, metadata text,
                             recorded_at timestamptz, content_digest bytea) RETURNS bytea
LANGUAGE sql STABLE AS $$
    SELECT sha256(length_prefixed(convert_to(stream_id, 'UTF8'))
                  || length_prefixed(int8send(version))
                  || length_prefixed(uuid_send(event_id))
                  || length_prefixed(convert_to(project_id, 'UTF8'))
                  || length_prefixed(convert_to(metadata, 'UTF8'))
                  || length_prefixed(int8send((extract(epoch FROM recorded_at) * 1000000)::bigint))
                  || length_prefixed(content_digest))
$$;

-- Refuses any isolation in which a later statement would not see what was committed while it waited.
CREATE FUNCTION require_read_committed() RETURNS void
LANGUAGE plpgsql AS $$
BEGIN
    IF current_setting('transaction_isolation') <> 'read committed' THEN
        RAISE EXCEPTION 'the log is written in READ COMMITTED only, not in %',
            current_setting('transaction_isolation') USING ERRCODE = 'BM000';
    END IF;
END
$$;

-- The one lock that makes positions dense and in commit order; held from here to the commit.
CREATE FUNCTION lock_log() RETURNS void
LANGUAGE sql AS $$ SELECT pg_advisory_xact_lock(7022079501) $$;

-- Whether an event id was recorded before with the same content; raises BM003 if with other content.
CREATE FUNCTION already_recorded(id uuid, content bytea) RETURNS bigint
LANGUAGE plpgsql STABLE AS $$
DECLARE
    found_position bigint;
    found_content bytea;
BEGIN
    SELECT e.position, e.content_digest INTO found_position, found_content FROM events e WHERE e.event_id = id;
    IF found_content <> content THEN
        RAISE EXCEPTION 'event id % was recorded before with other content', id USING ERRCODE = 'BM003';
    END IF;
    RETURN found_position;
END
$$;

-- Inserts one event at a position, as the next version of its stream. Only under the log lock.
CREATE FUNCTION insert_event(at_position bigint, id uuid, stream text, kind text, project text, body text,
                             line_facts bytea, meta text, attachment_digests bytea, content bytea)
RETURNS void
LANGUAGE plpgsql AS $$
DECLARE
    next_version bigint;
    now_us timestamptz := clock_timestamp();
BEGIN
    SELECT coalesce(max(e.version), 0) + 1 INTO next_version FROM events e WHERE e.stream_id = stream;
    INSERT INTO events (position, event_id, stream_id, version, type, project_id, data, lines, metadata,
                        attachments, content_digest, digest, recorded_at)
    VALUES (at_position, id, stream, next_version, kind, project, body, line_facts, meta,
            attachment_digests, content,
            event_digest(stream, next_version, id, project, meta, now_us, content), now_us);
END
$$;

-- Raises BM002 unless the leadership is held with this token; holds it until the commit.
CREATE FUNCTION require_leadership(leader text, leader_token uuid) RETURNS void
LANGUAGE plpgsql AS $$
BEGIN
    IF leader IS NULL THEN
        RETURN;
    END IF;
    PERFORM 1 FROM leaderships l WHERE l.name = leader AND l.token = leader_token FOR SHARE;
    IF NOT FOUND THEN
        RAISE EXCEPTION 'leadership % is held by another process now', leader USING ERRCODE = 'BM002';
    END IF;
END
$$;

-- Raises BM001 where an event other than LinesCompleted came after the version that was expected.
CREATE FUNCTION require_version(stream text, expected bigint) RETURNS void
LANGUAGE plpgsql AS $$
DECLARE
    actual bigint;
BEGIN
    SELECT coalesce(max(e.version), 0) INTO actual FROM events e WHERE e.stream_id = stream;
    IF expected > actual OR EXISTS (SELECT 1 FROM events e WHERE e.stream_id = stream
                                    AND e.version > expected AND e.type <> 'LinesCompleted') THEN
        RAISE EXCEPTION 'stream % is at version %, expected %', stream, actual, expected
            USING ERRCODE = 'BM001', DETAIL = actual::text;
    END IF;
END
$$;

-- Writes the work board for one batch and revokes its claims where that is asked.
CREATE FUNCTION write_board(board json) RETURNS void
LANGUAGE plpgsql AS $$
DECLARE
    of_batch text := board ->> 'batch_id';
BEGIN
    IF board ->> 'phase' IS NULL THEN
        DELETE FROM batch_work WHERE batch_id = of_batch;
    ELSE
        INSERT INTO batch_work AS b (batch_id, project_id, phase, input_file_id, model, total, expires_at)
        VALUES (of_batch, board ->> 'project_id', board ->> 'phase', coalesce(board ->> 'input_file_id', ''),
                board ->> 'model', coalesce((board ->> 'total')::bigint, 0),
                date_trunc('second', clock_timestamp())
                + make_interval(secs => coalesce((board ->> 'expires_within')::float8, 0)))
        ON CONFLICT (batch_id) DO UPDATE SET
            phase = excluded.phase,
            model = coalesce(board ->> 'model', b.model),
            total = coalesce((board ->> 'total')::bigint, b.total),
            stop_at = coalesce(clock_timestamp() + make_interval(secs => (board ->> 'stop_within')::float8),
                               b.stop_at),
            waiting = NULL,
            changed_at = clock_timestamp();
    END IF;
    IF (board ->> 'revoke')::boolean THEN
        PERFORM 1 FROM claims c WHERE c.batch_id = of_batch ORDER BY c.id FOR NO KEY UPDATE;
        DELETE FROM claims c WHERE c.batch_id = of_batch;
    END IF;
END
$$;

-- `enable_seqscan = off` in what follows: the plans of a function are kept for as long as its session, also
-- those made while a table was small, or before an old snapshot let its dead rows pile up.

-- Records events of one or several streams in one transaction; returns their positions.
CREATE FUNCTION append(
    event_ids uuid[], streams text[], projects text[], types text[], datas text[], line_facts bytea[],
    metadatas text[], attachment_digests bytea[], content_digests bytea[],
    body_events uuid[], body_ordinals integer[], body_batches text[], body_salts bytea[], bodies bytea[],
    expected_streams text[], expected_versions bigint[],
    model_rows json, board json, leader text, leader_token uuid
) RETURNS bigint[]
LANGUAGE plpgsql VOLATILE SECURITY DEFINER
SET search_path = public, pg_temp SET enable_seqscan = off AS $$
DECLARE
    positions bigint[] := '{}';
    recorded bigint;
    last_position bigint;
BEGIN
    PERFORM require_read_committed();
    FOR i IN 1 .. cardinality(event_ids) LOOP
        recorded := already_recorded(event_ids[i], content_digests[i]);
        IF recorded IS NOT NULL THEN
            positions := positions || recorded;
        END IF;
    END LOOP;
    IF cardinality(positions) = cardinality(event_ids) AND cardinality(event_ids) > 0 THEN
        RETURN positions;
    ELSIF cardinality(positions) > 0 THEN
        RAISE EXCEPTION 'some of the event ids % were recorded before, in another append', event_ids
            USING ERRCODE = 'BM003';
    END IF;

    PERFORM require_leadership(leader, leader_token);
    INSERT INTO read_models AS m (id, kind, project_id, label, stored, created_at, hidden)
    SELECT r.id, r.kind, r.project_id, r.label, r.stored, clock_timestamp(), r.hidden
    FROM json_to_recordset(model_rows)
        AS r (id text, kind text, project_id text, label text, stored text, hidden boolean)
    ORDER BY r.id
    ON CONFLICT (id) DO UPDATE SET hidden = excluded.hidden;
    IF board IS NOT NULL THEN
        PERFORM write_board(board);
    END IF;
    INSERT INTO attachments (event_id, ordinal, batch_id, salt, body)
    SELECT * FROM unnest(body_events, body_ordinals, body_batches, body_salts, bodies);

    PERFORM lock_log();
    SELECT coalesce(max(e.position), 0) INTO last_position FROM events e;
    FOR i IN 1 .. cardinality(expected_streams) LOOP
        PERFORM require_version(expected_streams[i], expected_versions[i]);
    END LOOP;
    positions := '{}';
    FOR i IN 1 .. cardinality(event_ids) LOOP
        last_position := last_position + 1;
        positions := positions || last_position;
        PERFORM insert_event(last_position, event_ids[i], streams[i], types[i], projects[i], datas[i],
                             line_facts[i], metadatas[i], attachment_digests[i], content_digests[i]);
    END LOOP;
    RETURN positions;
END
$$;

-- Records outcomes of claims in one transaction; returns 'recorded' or 'lost' for each, in order.
CREATE FUNCTION flush(
    claim_ids bigint[], tokens uuid[], done_bits text[],
    event_ids uuid[], streams text[], projects text[], types text[], datas text[], line_facts bytea[],
    metadatas text[], attachment_digests bytea[], content_digests bytea[], salts bytea[], bodies bytea[]
) RETURNS text[]
LANGUAGE plpgsql VOLATILE SECURITY DEFINER
SET search_path = public, pg_temp SET enable_seqscan = off AS $$
DECLARE
    results text[] := array_fill(NULL::text, ARRAY[cardinality(claim_ids)]);
    bits varbit;
    last_position bigint;
    fresh boolean := false;
BEGIN
    PERFORM require_read_committed();
    PERFORM 1 FROM claims c WHERE c.id = ANY (claim_ids) ORDER BY c.id FOR NO KEY UPDATE;
    FOR i IN 1 .. cardinality(claim_ids) LOOP
        IF already_recorded(event_ids[i], content_digests[i]) IS NOT NULL THEN
            results[i] := 'recorded';
            CONTINUE;
        END IF;
        bits := done_bits[i]::varbit;
        UPDATE claims c SET done = c.done | bits, deaths = 0
        WHERE c.id = claim_ids[i] AND c.token = tokens[i] AND c.batch_id = streams[i]
          AND length(c.done) = length(bits) AND bit_count(c.done & bits) = 0;
        IF NOT FOUND THEN
            results[i] := 'lost';
        ELSE
            fresh := true;
        END IF;
    END LOOP;
    IF NOT fresh THEN
        RETURN results;
    END IF;
    DELETE FROM claims c
    WHERE c.id = ANY (claim_ids) AND bit_count(c.done) = c.lines;
    INSERT INTO attachments (event_id, ordinal, batch_id, salt, body)
    SELECT event_ids[i], 0, streams[i], salts[i], bodies[i]
    FROM generate_subscripts(claim_ids, 1) AS i WHERE results[i] IS NULL;

    PERFORM lock_log();
    SELECT coalesce(max(e.position), 0) INTO last_position FROM events e;
    FOR i IN 1 .. cardinality(claim_ids) LOOP
        CONTINUE WHEN results[i] IS NOT NULL;
        last_position := last_position + 1;
        PERFORM insert_event(last_position, event_ids[i], streams[i], types[i], projects[i], datas[i],
                             line_facts[i], metadatas[i], attachment_digests[i], content_digests[i]);
        results[i] := 'recorded';
    END LOOP;
    RETURN results;
END
$$;

-- Erases the bodies of an ended batch whose output file (error file, where there is no output) is gone; the
-- events and their digests stay.
CREATE FUNCTION erase(batch text, file text) RETURNS bigint
LANGUAGE plpgsql VOLATILE SECURITY DEFINER
SET search_path = public, pg_temp SET enable_seqscan = off AS $$
DECLARE
    erased bigint;
BEGIN
    IF NOT EXISTS (SELECT 1 FROM events e WHERE e.stream_id = file AND e.type IN ('FileDeleted', 'FileExpired'))
       OR NOT EXISTS (SELECT 1 FROM events e WHERE e.stream_id = batch
                      AND e.type IN ('BatchCompleted', 'BatchCancelled', 'BatchExpired')
                      AND coalesce(e.data::json ->> 'output_file_id', e.data::json ->> 'error_file_id') = file)
    THEN
        RAISE EXCEPTION 'batch % has not ended, or its file % is not gone: nothing may be erased', batch, file
            USING ERRCODE = 'BM004';
    END IF;
    DELETE FROM attachments a WHERE a.batch_id = batch;
    GET DIAGNOSTICS erased = ROW_COUNT;
    RETURN erased;
END
$$;
