import django.utils.timezone
from django.db import migrations, models

import jingwei.directory.models.accounts

# Accounts of before that have no end get a year from today, and none more than three. Disuse goes on counting
# from when they were made.
GIVE = """
UPDATE directory_operator
   SET enabled_at = created_at, ends_on = least(coalesce(ends_on, CURRENT_DATE + 365), CURRENT_DATE + 1095)
"""


class Migration(migrations.Migration):
    dependencies = [
        ("base", "0001_initial"),  # the default of the end is a parameter
        ("directory", "0008_second_factor_in_words"),
    ]

    operations = [
        migrations.AddField(
            model_name="operator",
            name="enabled_at",
            field=models.DateTimeField(
                default=django.utils.timezone.now, editable=False, verbose_name="启用时间"
            ),
        ),
        migrations.RunSQL(GIVE, migrations.RunSQL.noop),
        migrations.AlterField(
            model_name="operator",
            name="ends_on",
            field=models.DateField(
                default=jingwei.directory.models.accounts.end_of_account,
                error_messages={"null": "请填写有效期"},
                verbose_name="有效期至",
            ),
        ),
    ]
