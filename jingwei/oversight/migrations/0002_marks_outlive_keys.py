from django.db import migrations


class Migration(migrations.Migration):
    dependencies = [("oversight", "0001_erasures")]

    operations = [migrations.RemoveField("erasurerequest", "mark_key")]
