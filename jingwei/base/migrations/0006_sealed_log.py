"""The chain of the operation log, its key, and what the database itself refuses (SEC-9)."""

import secrets

import django.contrib.postgres.fields
import django.contrib.postgres.indexes
import jingwei.base.models
from django.db import migrations, models


# Rows of the log go only when they are older than 180 days, seals never.
PROTECT = """
DROP TRIGGER append_only ON base_logentry;
CREATE TRIGGER append_only BEFORE UPDATE OR TRUNCATE ON base_logentry
    FOR EACH STATEMENT EXECUTE FUNCTION base_refuse_change();
CREATE FUNCTION base_refuse_early_drop() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF OLD.at < now() - interval '180 days' THEN
        RETURN OLD;
    END IF;
    RAISE EXCEPTION 'The operation log is append-only: % refused', TG_OP USING ERRCODE = 'insufficient_privilege';
END
$$;
CREATE TRIGGER append_only_for_long BEFORE DELETE ON base_logentry
    FOR EACH ROW EXECUTE FUNCTION base_refuse_early_drop();
CREATE TRIGGER append_only BEFORE UPDATE OR DELETE OR TRUNCATE ON base_logseal
    FOR EACH STATEMENT EXECUTE FUNCTION base_refuse_change();
CREATE TRIGGER append_only BEFORE UPDATE OR DELETE OR TRUNCATE ON base_logdrop
    FOR EACH STATEMENT EXECUTE FUNCTION base_refuse_change();
CREATE FUNCTION base_drop_log(seal bigint) RETURNS bigint LANGUAGE plpgsql
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
"""

UNPROTECT = """
DROP FUNCTION base_drop_log(bigint);
DROP TRIGGER append_only ON base_logdrop;
DROP TRIGGER append_only ON base_logseal;
DROP TRIGGER append_only_for_long ON base_logentry;
DROP FUNCTION base_refuse_early_drop();
DROP TRIGGER append_only ON base_logentry;
CREATE TRIGGER append_only BEFORE UPDATE OR DELETE OR TRUNCATE ON base_logentry
    FOR EACH STATEMENT EXECUTE FUNCTION base_refuse_change();
"""


def make_key(apps, schema_editor):
    from jingwei.base.crypto import Column, provider

    [sealed] = provider().encrypt(Column("base.logkey.key", False), [secrets.token_hex(32)])
    apps.get_model("base", "LogKey").objects.create(key=sealed)


class Migration(migrations.Migration):

    dependencies = [
        ('base', '0005_worksheet'),
    ]

    operations = [
        migrations.CreateModel(
            name='LogDrop',
            fields=[
                ('id', models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name='ID')),
                ('upto', models.BigIntegerField()),
                ('at', models.DateTimeField()),
                ('digest', models.BinaryField()),
            ],
            options={
                'ordering': ['upto'],
            },
        ),
        migrations.CreateModel(
            name='LogKey',
            fields=[
                ('id', models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name='ID')),
                ('key', models.BinaryField(verbose_name='日志密钥')),
            ],
        ),
        migrations.CreateModel(
            name='LogSeal',
            fields=[
                ('number', models.BigIntegerField(primary_key=True, serialize=False, verbose_name='封存号')),
                ('at', models.DateTimeField(db_index=True, verbose_name='时间')),
                ('era', models.BigIntegerField()),
                ('floor', models.BigIntegerField()),
                ('watermark', models.BigIntegerField()),
                ('entries', django.contrib.postgres.fields.ArrayField(base_field=models.BigIntegerField(), size=None)),
                ('digests', models.BinaryField()),
                ('digest', models.BinaryField()),
            ],
            options={
                'verbose_name': '日志封存',
                'ordering': ['number'],
            },
        ),
        migrations.AddField(
            model_name='logentry',
            name='digest',
            field=models.BinaryField(null=True),
        ),
        migrations.AddField(
            model_name='logentry',
            name='transaction',
            field=models.BigIntegerField(db_default=jingwei.base.models.TransactionNumber(), editable=False),
        ),
        migrations.AddIndex(
            model_name='logentry',
            index=django.contrib.postgres.indexes.BrinIndex(autosummarize=True, fields=['transaction'], name='log_to_seal'),
        ),
        migrations.RunSQL(PROTECT, UNPROTECT),
        migrations.RunPython(make_key, migrations.RunPython.noop),
    ]
