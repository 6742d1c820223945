import django.db.models.deletion
from django.db import migrations, models


class Migration(migrations.Migration):

    dependencies = [
        ("base", "0003_undoing"),
    ]

    operations = [
        migrations.CreateModel(
            name="LoadFindings",
            fields=[
                ("id", models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name="ID")),
                ("kind", models.CharField(max_length=10)),
                ("number", models.PositiveIntegerField()),
                ("count", models.PositiveIntegerField()),
                ("said", models.JSONField()),
                (
                    "load",
                    models.ForeignKey(
                        on_delete=django.db.models.deletion.CASCADE, related_name="findings", to="base.load"
                    ),
                ),
            ],
            options={
                "constraints": [
                    models.UniqueConstraint(fields=("load", "kind", "number"), name="each_findings_once")
                ],
            },
        ),
    ]
