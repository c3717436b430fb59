-- What the leader and the workers do on the work board, one call each.
-- oldest program: 0.1.0

-- Cuts the next lines of a batch into a chunk that a worker may claim; NULL where the board has moved on.
CREATE FUNCTION hand_out(leader text, leader_token uuid, batch text, from_line bigint, line_count integer)
RETURNS bigint
LANGUAGE plpgsql VOLATILE AS $$
DECLARE
    made bigint;
    on_route text;
BEGIN
    PERFORM require_leadership(leader, leader_token);
    UPDATE batch_work b SET next_line = b.next_line + line_count
    WHERE b.batch_id = batch AND b.phase = 'running' AND b.next_line = from_line
      AND b.next_line + line_count <= b.total
    RETURNING b.route INTO on_route;
    IF NOT FOUND THEN
        RETURN NULL;
    END IF;
    INSERT INTO claims (batch_id, route, first_line, lines, done)
    VALUES (batch, on_route, from_line, line_count, repeat('0', line_count)::varbit)
    RETURNING id INTO made;
    RETURN made;
END
$$;

-- Frees the claims of workers that died (NULL: of every worker), counts the death against each, and forgets
-- the workers. A claim that died three times without progress is cut into suspects of one line.
CREATE FUNCTION void_claims(dead text[]) RETURNS bigint
LANGUAGE plpgsql VOLATILE AS $$
DECLARE
    voided bigint;
BEGIN
    PERFORM 1 FROM workers w WHERE dead IS NULL OR w.id = ANY (dead) ORDER BY w.id FOR UPDATE;
    DELETE FROM workers w WHERE dead IS NULL OR w.id = ANY (dead);
    PERFORM 1 FROM claims c WHERE c.worker IS NOT NULL AND (dead IS NULL OR c.worker = ANY (dead))
    ORDER BY c.id FOR NO KEY UPDATE;
    UPDATE claims c SET worker = NULL, token = NULL, deaths = c.deaths + 1
    WHERE c.worker IS NOT NULL AND (dead IS NULL OR c.worker = ANY (dead));
    GET DIAGNOSTICS voided = ROW_COUNT;
    INSERT INTO claims (batch_id, route, first_line, lines, done, suspect)
    SELECT c.batch_id, c.route, c.first_line + i, 1, B'0', true
    FROM claims c CROSS JOIN LATERAL generate_series(0, c.lines - 1) AS i
    WHERE c.worker IS NULL AND NOT c.suspect AND c.deaths >= 3 AND get_bit(c.done, i) = 0;
    DELETE FROM claims c WHERE c.worker IS NULL AND NOT c.suspect AND c.deaths >= 3;
    RETURN voided;
END
$$;
