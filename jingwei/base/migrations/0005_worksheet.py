from django.db import migrations, models


class Migration(migrations.Migration):

    dependencies = [
        ("base", "0004_every_finding"),
    ]

    operations = [
        migrations.AddField(
            model_name="load",
            name="worksheet",
            field=models.CharField(blank=True, max_length=60, verbose_name="工作表"),
        ),
    ]
