-- The roles of the application, once per server, and what search under row security needs, once per database.
-- Run by a superuser, connected to the database; every statement may be repeated.
--
--   jingwei           owns the tables; migrations sign in as it, nothing else
--   jingwei_app       web, worker and command line sign in as it; row security holds for it
--   jingwei_platform  nobody signs in as it: the application takes it for what reaches beyond a scope
DO $$
BEGIN
    IF NOT EXISTS (SELECT FROM pg_roles WHERE rolname = 'jingwei') THEN
        CREATE ROLE jingwei LOGIN;
    END IF;
    IF NOT EXISTS (SELECT FROM pg_roles WHERE rolname = 'jingwei_platform') THEN
        CREATE ROLE jingwei_platform NOLOGIN BYPASSRLS;
    END IF;
    IF NOT EXISTS (SELECT FROM pg_roles WHERE rolname = 'jingwei_app') THEN
        CREATE ROLE jingwei_app LOGIN IN ROLE jingwei_platform;
    END IF;
END
$$;
-- Without this an index of fragments is not used under row security. Neither function tells of its arguments
-- but by its result.
ALTER FUNCTION pg_catalog.arraycontains(anyarray, anyarray) LEAKPROOF;
ALTER FUNCTION pg_catalog."left"(text, integer) LEAKPROOF;
-- The owner alone sees which transaction holds up the sealing of the log; the application is told by a function
-- who and since when, nothing more (wall.sql).
GRANT pg_read_all_stats TO jingwei;
