from django.db import migrations, models


class Migration(migrations.Migration):

    dependencies = [
        ("base", "0002_append_only_log"),
    ]

    operations = [
        migrations.AddField(
            model_name="load",
            name="undone",
            field=models.JSONField(default=dict, verbose_name="撤销"),
        ),
        migrations.AlterField(
            model_name="loadrow",
            name="outcome",
            field=models.CharField(max_length=60, verbose_name="结果"),
        ),
    ]
