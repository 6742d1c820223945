from django.db import migrations


class Migration(migrations.Migration):

    dependencies = [
        ("people", "0005_filters_of_few"),
    ]

    operations = [
        migrations.RemoveIndex(
            model_name="unregistered",
            name="unregistered_by_load",
        ),
        migrations.RemoveField(
            model_name="unregistered",
            name="load",
        ),
    ]
