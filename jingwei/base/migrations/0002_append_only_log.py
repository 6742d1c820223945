from django.db import migrations

# Not even the application may change what was logged (P-3.1, SEC-9).
PROTECT = """
CREATE FUNCTION base_refuse_change() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    RAISE EXCEPTION 'The operation log is append-only: % refused', TG_OP USING ERRCODE = 'insufficient_privilege';
END
$$;
CREATE TRIGGER append_only BEFORE UPDATE OR DELETE OR TRUNCATE ON base_logentry
    FOR EACH STATEMENT EXECUTE FUNCTION base_refuse_change();
"""

UNPROTECT = """
DROP TRIGGER append_only ON base_logentry;
DROP FUNCTION base_refuse_change();
"""


class Migration(migrations.Migration):

    dependencies = [
        ('base', '0001_initial'),
    ]

    operations = [
        migrations.RunSQL(PROTECT, UNPROTECT),
    ]
