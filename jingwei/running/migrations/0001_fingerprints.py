from django.db import migrations, models


class Migration(migrations.Migration):
    initial = True

    dependencies = []

    operations = [
        migrations.CreateModel(
            name="Fingerprint",
            fields=[
                (
                    "name",
                    models.CharField(max_length=20, primary_key=True, serialize=False, verbose_name="密钥"),
                ),
                ("digest", models.CharField(max_length=64, verbose_name="指纹")),
            ],
            options={"verbose_name": "密钥指纹"},
        ),
    ]
