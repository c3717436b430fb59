-- What the leader and the workers write to the work board and the read models, one call each: nobody holds
-- a lock across a round trip.
-- oldest program: 0.1.0

-- Cuts the next lines of a batch into a chunk that a worker may claim; NULL where the board has moved on.
CREATE FUNCTION hand_out(leader text, leader_token uuid, batch text, from_line bigint, line_count integer)
RETURNS bigint
LANGUAGE plpgsql VOLATILE SET enable_seqscan = off AS $$
DECLARE
    made bigint;
BEGIN
    PERFORM require_leadership(leader, leader_token);
    UPDATE batch_work b SET next_line = b.next_line + line_count
    WHERE b.batch_id = batch AND b.phase = 'running' AND b.next_line = from_line
      AND b.next_line + line_count <= b.total;
    IF NOT FOUND THEN
        RETURN NULL;
    END IF;
    INSERT INTO claims (batch_id, first_line, lines, done)
    VALUES (batch, from_line, line_count, repeat('0', line_count)::varbit)
    RETURNING id INTO made;
    RETURN made;
END
$$;

-- Frees the claims of workers that died (NULL: of every worker), counts the death against each, and forgets
-- the workers; where everybody is dead, nobody lends a batch a hand either. A claim that died three times without progress is cut into suspects of one line.
CREATE FUNCTION void_claims(dead text[]) RETURNS bigint
LANGUAGE plpgsql VOLATILE AS $$
DECLARE
    voided bigint;
BEGIN
    UPDATE batch_work b SET helper = NULL WHERE dead IS NULL AND b.helper IS NOT NULL;
    PERFORM 1 FROM workers w WHERE dead IS NULL OR w.id = ANY (dead) ORDER BY w.id FOR UPDATE;
    DELETE FROM workers w WHERE dead IS NULL OR w.id = ANY (dead);
    PERFORM 1 FROM claims c WHERE c.worker IS NOT NULL AND (dead IS NULL OR c.worker = ANY (dead))
    ORDER BY c.id FOR NO KEY UPDATE;
    UPDATE claims c SET worker = NULL, token = NULL, deaths = c.deaths + 1
    WHERE c.worker IS NOT NULL AND (dead IS NULL OR c.worker = ANY (dead));
    GET DIAGNOSTICS voided = ROW_COUNT;
    INSERT INTO claims (batch_id, first_line, lines, done, suspect)
    SELECT c.batch_id, c.first_line + i, 1, B'0', true
    FROM claims c CROSS JOIN LATERAL generate_series(0, c.lines - 1) AS i
    WHERE c.worker IS NULL AND NOT c.suspect AND c.deaths >= 3 AND get_bit(c.done, i) = 0;
    DELETE FROM claims c WHERE c.worker IS NULL AND NOT c.suspect AND c.deaths >= 3;
    RETURN voided;
END
$$;

-- A worker stops cleanly: what it holds is free again, no death counted.
CREATE FUNCTION leave(leaver text) RETURNS void
LANGUAGE plpgsql VOLATILE AS $$
BEGIN
    DELETE FROM workers w WHERE w.id = leaver;
    PERFORM 1 FROM claims c WHERE c.worker = leaver ORDER BY c.id FOR NO KEY UPDATE;
    UPDATE claims c SET worker = NULL, token = NULL WHERE c.worker = leaver;
END
$$;

-- Writes read-model rows forward and moves a follower's checkpoint, in one transaction. A row that is
-- already further is left alone.
CREATE FUNCTION advance(leader text, leader_token uuid, name text, upto bigint,
                        ids text[], versions bigint[], states text[], parks text[]) RETURNS void
LANGUAGE plpgsql VOLATILE SET enable_seqscan = off AS $$
BEGIN
    PERFORM require_leadership(leader, leader_token);
    PERFORM 1 FROM read_models m WHERE m.id = ANY (ids) ORDER BY m.id FOR NO KEY UPDATE;
    UPDATE read_models m SET version = n.version, state = n.state, parked = n.parked
    FROM unnest(ids, versions, states, parks) AS n (id, version, state, parked)
    WHERE m.id = n.id AND (m.version < n.version
                           OR m.version = n.version AND m.parked IS DISTINCT FROM n.parked);
    IF name IS NOT NULL THEN
        INSERT INTO checkpoints AS c (follower, position) VALUES (name, upto)
        ON CONFLICT (follower) DO UPDATE SET position = excluded.position
        WHERE c.position < excluded.position;
    END IF;
END
$$;
