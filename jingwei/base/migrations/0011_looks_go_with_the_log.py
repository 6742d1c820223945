from django.db import migrations, models

# Whom an entry is about goes with the entry, and not before it.
PROTECT = """
DROP TRIGGER append_only ON base_logpeople;
CREATE TRIGGER append_only BEFORE UPDATE OR TRUNCATE ON base_logpeople
    FOR EACH STATEMENT EXECUTE FUNCTION base_refuse_change();
CREATE FUNCTION base_refuse_lone_drop() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF EXISTS (SELECT FROM base_logentry WHERE id = OLD.entry) THEN
        RAISE EXCEPTION 'The operation log is append-only: % refused', TG_OP
            USING ERRCODE = 'insufficient_privilege';
    END IF;
    RETURN OLD;
END
$$;
CREATE TRIGGER append_only_for_long BEFORE DELETE ON base_logpeople
    FOR EACH ROW EXECUTE FUNCTION base_refuse_lone_drop();
CREATE OR REPLACE FUNCTION base_drop_log(seal bigint) RETURNS bigint LANGUAGE plpgsql
    SECURITY DEFINER SET search_path = pg_catalog, public AS $$
DECLARE
    gone bigint;
    old bigint[] := (SELECT entries FROM public.base_logseal WHERE number = seal);
BEGIN
    DELETE FROM public.base_logentry WHERE id = ANY (old);
    GET DIAGNOSTICS gone = ROW_COUNT;
    DELETE FROM public.base_logpeople WHERE entry = ANY (old);
    RETURN gone;
END
$$;
"""

UNPROTECT = """
CREATE OR REPLACE FUNCTION base_drop_log(seal bigint) RETURNS bigint LANGUAGE plpgsql
    SECURITY DEFINER SET search_path = pg_catalog, public AS $$
DECLARE
    gone bigint;
BEGIN
    DELETE FROM public.base_logentry
     WHERE id IN (SELECT unnest(entries) FROM public.base_logseal WHERE number = seal);
    GET DIAGNOSTICS gone = ROW_COUNT;
    RETURN gone;
END
$$;
DROP TRIGGER append_only_for_long ON base_logpeople;
DROP FUNCTION base_refuse_lone_drop();
DROP TRIGGER append_only ON base_logpeople;
CREATE TRIGGER append_only BEFORE UPDATE OR DELETE OR TRUNCATE ON base_logpeople
    FOR EACH STATEMENT EXECUTE FUNCTION base_refuse_change();
"""


class Migration(migrations.Migration):

    dependencies = [
        ('base', '0010_log_key_in_words'),
    ]

    operations = [
        migrations.AddIndex(
            model_name='logpeople',
            index=models.Index(fields=['entry'], name='log_people_of_entry'),
        ),
        migrations.RunSQL(PROTECT, UNPROTECT),
    ]
