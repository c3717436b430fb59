-- A copy of the read models beside the live ones, which a rebuild fills from the log and then puts in their place.
-- oldest program: 0.1.0

-- Makes an empty copy, of whatever the live table has by now, and begins to follow the log from where it ends.
CREATE FUNCTION begin_copy(leader text, leader_token uuid) RETURNS bigint
LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = public, pg_temp AS $$
DECLARE
    of_live record;
    head bigint;
BEGIN
    PERFORM require_leadership(leader, leader_token);
    DROP TABLE IF EXISTS read_models_copy;
    CREATE TABLE read_models_copy (LIKE read_models INCLUDING DEFAULTS INCLUDING CONSTRAINTS INCLUDING STORAGE);
    FOR of_live IN SELECT unnest(c.reloptions) AS option FROM pg_class c WHERE c.oid = 'read_models'::regclass LOOP
        EXECUTE format('ALTER TABLE read_models_copy SET (%s)', of_live.option);
    END LOOP;
    FOR of_live IN
        SELECT c.relname, i.indisprimary, pg_get_indexdef(i.indexrelid) AS made_by
        FROM pg_index i JOIN pg_class c ON c.oid = i.indexrelid WHERE i.indrelid = 'read_models'::regclass
    LOOP
        EXECUTE replace(replace(of_live.made_by, ' ON public.read_models ', ' ON public.read_models_copy '),
                        format(' INDEX %I ', of_live.relname), format(' INDEX %I ', 'copy_' || of_live.relname));
        IF of_live.indisprimary THEN
            EXECUTE format('ALTER TABLE read_models_copy ADD PRIMARY KEY USING INDEX %I', 'copy_' || of_live.relname);
        END IF;
    END LOOP;
    FOR of_live IN
        SELECT pg_get_triggerdef(t.oid) AS made_by FROM pg_trigger t
        WHERE t.tgrelid = 'read_models'::regclass AND NOT t.tgisinternal
    LOOP
        EXECUTE replace(of_live.made_by, ' ON public.read_models ', ' ON public.read_models_copy ');
    END LOOP;
    FOR of_live IN
        SELECT a.privilege_type, CASE a.grantee WHEN 0 THEN 'PUBLIC' ELSE quote_ident(r.rolname) END AS grantee
        FROM pg_class c CROSS JOIN aclexplode(c.relacl) a LEFT JOIN pg_roles r ON r.oid = a.grantee
        WHERE c.oid = 'read_models'::regclass AND a.grantee <> c.relowner
    LOOP
        EXECUTE format('GRANT %s ON read_models_copy TO %s', of_live.privilege_type, of_live.grantee);
    END LOOP;
    SELECT coalesce(max(e.position), 0) INTO head FROM events e;
    INSERT INTO checkpoints AS c (follower, position) VALUES ('rebuild', head)
    ON CONFLICT (follower) DO UPDATE SET position = excluded.position;
    RETURN head;
END
$$;

-- Writes rows of the copy, and how far it follows the log. A row that is already further is left alone. When an
-- append began is not in the log: where the live row can be believed, it is taken from there, so that no list
-- changes its order.
CREATE FUNCTION write_copy(leader text, leader_token uuid, upto bigint,
                           ids text[], kinds text[], projects text[], labels text[], stored_at text[],
                           created timestamptz[], hidings boolean[], versions bigint[], states text[], parks text[])
RETURNS void
LANGUAGE plpgsql VOLATILE SET enable_seqscan = off AS $$
BEGIN
    PERFORM require_leadership(leader, leader_token);
    INSERT INTO read_models_copy AS c
        (id, kind, project_id, label, stored, created_at, hidden, version, state, parked)
    SELECT n.id, n.kind, n.project_id, n.label, n.stored,
           CASE WHEN m.created_at BETWEEN n.created_at - interval '10 minutes' AND n.created_at
                THEN m.created_at ELSE n.created_at END,
           n.hidden, n.version, n.state, n.parked
    FROM unnest(ids, kinds, projects, labels, stored_at, created, hidings, versions, states, parks)
        AS n (id, kind, project_id, label, stored, created_at, hidden, version, state, parked)
    LEFT JOIN read_models m ON m.id = n.id
    ON CONFLICT (id) DO UPDATE SET
        label = excluded.label, stored = excluded.stored, hidden = excluded.hidden, version = excluded.version,
        state = excluded.state, parked = excluded.parked
    WHERE c.version <= excluded.version;
    UPDATE checkpoints c SET position = upto WHERE c.follower = 'rebuild';
END
$$;

-- Has the planner know what the copy holds: it is to be asked as fast as what it replaces.
CREATE FUNCTION analyze_copy(leader text, leader_token uuid) RETURNS void
LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = public, pg_temp AS $$
BEGIN
    PERFORM require_leadership(leader, leader_token);
    ANALYZE read_models_copy;
END
$$;

-- Puts the copy in the place of the read models; nothing where it is `behind` by more than `most` events, or the
-- live table has `changed` its shape since the copy was begun. Whoever reads or writes them waits for as long as
-- this takes, then finds the new ones: the names are looked up, and snapshots taken, after the lock. Of objects that
-- are younger than the copy the live rows are taken, as the appends have written them.
CREATE FUNCTION swap_copy(leader text, leader_token uuid, upto bigint, most bigint, patience text) RETURNS text
LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = public, pg_temp AS $$
DECLARE
    head bigint;
    of_copy record;
BEGIN
    PERFORM require_read_committed();
    PERFORM require_leadership(leader, leader_token);
    SELECT coalesce(max(e.position), 0) INTO head FROM events e;
    IF head - upto > most THEN
        RETURN 'behind';
    END IF;
    PERFORM set_config('lock_timeout', patience, true);
    LOCK TABLE read_models IN ACCESS EXCLUSIVE MODE;
    IF table_shape('read_models'::regclass) <> table_shape('read_models_copy'::regclass) THEN
        RETURN 'changed';
    END IF;
    SELECT coalesce(max(e.position), 0) INTO head FROM events e;
    IF head - upto > most THEN
        RETURN 'behind';
    END IF;
    INSERT INTO read_models_copy AS c
    SELECT m.* FROM read_models m
    WHERE m.id = ANY (ARRAY(SELECT DISTINCT e.stream_id FROM events e WHERE e.position > upto))
    ON CONFLICT (id) DO UPDATE SET hidden = excluded.hidden;
    DROP TABLE read_models;
    ALTER TABLE read_models_copy RENAME TO read_models;
    FOR of_copy IN
        SELECT c.relname FROM pg_index i JOIN pg_class c ON c.oid = i.indexrelid
        WHERE i.indrelid = 'read_models'::regclass
    LOOP
        EXECUTE format('ALTER INDEX %I RENAME TO %I', of_copy.relname, substr(of_copy.relname, 6));
    END LOOP;
    INSERT INTO checkpoints AS c (follower, position) VALUES ('projector', upto)
    ON CONFLICT (follower) DO UPDATE SET position = excluded.position WHERE c.position < excluded.position;
    DELETE FROM checkpoints c WHERE c.follower = 'rebuild';
    RETURN 'swapped';
END
$$;

-- The columns of a table in order, and how many indexes and triggers it has.
CREATE FUNCTION table_shape(of_table regclass) RETURNS text
LANGUAGE sql STABLE AS $$
    SELECT concat_ws('; ',
        (SELECT string_agg(a.attname || ' ' || format_type(a.atttypid, a.atttypmod), ', ' ORDER BY a.attnum)
         FROM pg_attribute a WHERE a.attrelid = of_table AND a.attnum > 0 AND NOT a.attisdropped),
        (SELECT count(*) FROM pg_index i WHERE i.indrelid = of_table),
        (SELECT count(*) FROM pg_trigger t WHERE t.tgrelid = of_table AND NOT t.tgisinternal))
$$;

REVOKE ALL ON FUNCTION begin_copy, analyze_copy, swap_copy FROM PUBLIC;
GRANT EXECUTE ON FUNCTION begin_copy, analyze_copy, swap_copy TO batchmill_app;
