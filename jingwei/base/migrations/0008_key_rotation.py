import django.utils.timezone
from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [("base", "0007_alarms")]

    operations = [
        migrations.CreateModel(
            name="KeyRotation",
            fields=[
                (
                    "id",
                    models.BigAutoField(
                        auto_created=True, primary_key=True, serialize=False, verbose_name="ID"
                    ),
                ),
                ("old_key", models.CharField(max_length=4, verbose_name="旧密钥")),
                ("new_key", models.CharField(max_length=4, verbose_name="新密钥")),
                ("started_by", models.CharField(max_length=80, verbose_name="发起人")),
                (
                    "started_at",
                    models.DateTimeField(default=django.utils.timezone.now, verbose_name="开始时间"),
                ),
                ("ended_at", models.DateTimeField(null=True, verbose_name="完成时间")),
                ("moved", models.BigIntegerField(default=0, verbose_name="已转换")),
                ("reached", models.JSONField(default=dict)),
            ],
            options={"verbose_name": "密钥轮换", "ordering": ["-pk"]},
        ),
        migrations.AddConstraint(
            model_name="keyrotation",
            constraint=models.UniqueConstraint(
                condition=models.Q(("ended_at", None)), fields=("new_key",), name="one_rotation_to_a_key"
            ),
        ),
    ]
