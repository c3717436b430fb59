-- Rows of the read models say, in their state, with which shape a program wrote them, and who may read that; so
-- programs of different ages stand on one database, and none undoes or misreads what another knows.
-- oldest program: 0.1.0

-- The number of the shape that a state was written with; 0 before rows said it.
CREATE FUNCTION shape_of(state text) RETURNS integer
LANGUAGE sql IMMUTABLE AS $$
    SELECT coalesce(substring(state FROM '^\{"shape":\[(\d{1,9}),\d{1,9}\],')::integer, 0)
$$;

-- The version after which a program that knows the shape `own` has to fold: the row's, but all of a stream, where it
-- has at most `again` events, whose row is of an older shape, or of a newer one that this program would misread.
CREATE FUNCTION fold_after(state text, version bigint, own integer, again bigint) RETURNS bigint
LANGUAGE sql IMMUTABLE AS $$
    SELECT CASE
        WHEN version <= again
             AND (shape_of(state) < own
                  OR substring(state FROM '^\{"shape":\[\d{1,9},(\d{1,9})\],')::integer > own)
        THEN 0 ELSE version END
$$;

-- As in 0002, but a row never goes back to an older shape, unless nobody who knows the newer one has moved it
-- forward for a thousand events; and a newer one may take its place a few events back, which every look folds.
CREATE OR REPLACE FUNCTION advance(leader text, leader_token uuid, name text, upto bigint,
                                   ids text[], versions bigint[], states text[], parks text[]) RETURNS void
LANGUAGE plpgsql VOLATILE SET enable_seqscan = off AS $$
BEGIN
    PERFORM require_leadership(leader, leader_token);
    PERFORM 1 FROM read_models m WHERE m.id = ANY (ids) ORDER BY m.id FOR NO KEY UPDATE;
    UPDATE read_models m SET version = n.version, state = n.state, parked = n.parked
    FROM unnest(ids, versions, states, parks) AS n (id, version, state, parked)
    WHERE m.id = n.id
        AND (m.version < n.version AND (shape_of(n.state) >= shape_of(m.state) OR n.version - m.version >= 1000)
             OR shape_of(n.state) > shape_of(m.state) AND m.version - n.version < 1000
             OR m.version = n.version AND shape_of(n.state) = shape_of(m.state)
                AND m.parked IS DISTINCT FROM n.parked);
    IF name IS NOT NULL THEN
        INSERT INTO checkpoints AS c (follower, position) VALUES (name, upto)
        ON CONFLICT (follower) DO UPDATE SET position = excluded.position
        WHERE c.position < excluded.position;
    END IF;
END
$$;
