-- Rights of the application's roles, and what the policies and the application ask of the owner (wall.py).
-- Run as the owner after each migration; every statement may be repeated.

GRANT USAGE ON SCHEMA public TO jingwei_platform;
-- The months of event tables are reached through their parents only.
DO $$
DECLARE name regclass;
BEGIN
    FOR name IN
        SELECT oid FROM pg_class
         WHERE relnamespace = 'public'::regnamespace AND relkind IN ('r', 'p', 'v') AND NOT relispartition
           AND relname NOT IN ('django_migrations', 'wall_dropped_index')
           AND pg_get_userbyid(relowner) = current_user
    LOOP
        EXECUTE format('GRANT SELECT, INSERT, UPDATE, DELETE ON %s TO jingwei_platform', name);
    END LOOP;
    -- Triggers keep counts and histories that who acts may not see as a whole.
    FOR name IN
        SELECT oid FROM pg_proc
         WHERE pronamespace = 'public'::regnamespace AND prorettype = 'trigger'::regtype AND NOT prosecdef
           AND pg_get_userbyid(proowner) = current_user
    LOOP
        EXECUTE format('ALTER FUNCTION %s SECURITY DEFINER SET search_path = public, pg_temp',
                       name::oid::regprocedure);
    END LOOP;
END
$$;
GRANT SELECT, USAGE ON ALL SEQUENCES IN SCHEMA public TO jingwei_platform;

-- A month of an event table: its partition, named after the table and the month.
CREATE OR REPLACE FUNCTION wall_add_month(parent regclass, month date, since timestamptz, until timestamptz)
RETURNS void LANGUAGE plpgsql SECURITY DEFINER SET search_path = public, pg_temp AS $$
DECLARE name text := parent::text || to_char(month, '_YYYYMM');
BEGIN
    -- In two steps: a partition made in one would wait for every reader of the table, and all for it.
    EXECUTE format('CREATE TABLE %I (LIKE %s INCLUDING DEFAULTS INCLUDING CONSTRAINTS)', name, parent);
    EXECUTE format('ALTER TABLE %s ATTACH PARTITION %I FOR VALUES FROM (%L) TO (%L)', parent, name, since, until);
END
$$;
CREATE OR REPLACE FUNCTION wall_empty_month(name text)
RETURNS void LANGUAGE plpgsql SECURITY DEFINER SET search_path = public, pg_temp AS $$
BEGIN
    IF NOT EXISTS (SELECT FROM pg_class WHERE oid = name::regclass AND relispartition) THEN
        RAISE EXCEPTION '% is no month of an event table', name USING ERRCODE = 'insufficient_privilege';
    END IF;
    EXECUTE format('TRUNCATE %s', name::regclass);
END
$$;

-- Indexes around a large load. What is dropped is remembered until it is made again.
CREATE TABLE IF NOT EXISTS wall_dropped_index (name text PRIMARY KEY, "table" text NOT NULL, definition text NOT NULL);
CREATE OR REPLACE FUNCTION wall_drop_index(index regclass)
RETURNS void LANGUAGE plpgsql SECURITY DEFINER SET search_path = public, pg_temp AS $$
BEGIN
    IF EXISTS (SELECT FROM pg_index WHERE indexrelid = index AND indisunique) THEN
        RAISE EXCEPTION '% keeps rows unique', index USING ERRCODE = 'insufficient_privilege';
    END IF;
    INSERT INTO wall_dropped_index
        SELECT index::text, indrelid::regclass::text, pg_get_indexdef(indexrelid) FROM pg_index WHERE indexrelid = index;
    EXECUTE format('DROP INDEX %s', index);
END
$$;
CREATE OR REPLACE FUNCTION wall_make_index(wanted text)
RETURNS void LANGUAGE plpgsql SECURITY DEFINER SET search_path = public, pg_temp AS $$
DECLARE statement text;
BEGIN
    DELETE FROM wall_dropped_index WHERE name = wanted RETURNING definition INTO statement;
    IF statement IS NOT NULL THEN
        EXECUTE statement;
    END IF;
END
$$;
CREATE OR REPLACE FUNCTION wall_analyze(name regclass)
RETURNS void LANGUAGE plpgsql SECURITY DEFINER SET search_path = public, pg_temp AS $$
BEGIN
    EXECUTE format('ANALYZE %s', name);
END
$$;
-- The oldest transaction of the server that may yet write, in whichever database: the log is sealed behind it.
-- `who` is the process, or the name of a transaction that is prepared.
CREATE OR REPLACE FUNCTION wall_oldest_transaction(OUT who text, OUT database text, OUT since timestamptz)
LANGUAGE sql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
    SELECT running.who, running.database, running.since
      FROM (SELECT pid::text, datname::text, xact_start, backend_xid FROM pg_stat_activity
             WHERE backend_xid IS NOT NULL
             UNION ALL
            SELECT gid, database::text, prepared, transaction FROM pg_prepared_xacts
           ) AS running (who, database, since, number)
     ORDER BY age(running.number) DESC LIMIT 1
$$;
GRANT SELECT ON wall_dropped_index, django_migrations TO jingwei_platform;
REVOKE EXECUTE ON FUNCTION wall_add_month, wall_empty_month, wall_drop_index, wall_make_index, wall_analyze,
    wall_oldest_transaction FROM PUBLIC;
GRANT EXECUTE ON FUNCTION wall_add_month, wall_empty_month, wall_drop_index, wall_make_index, wall_analyze,
    wall_oldest_transaction TO jingwei_platform;
