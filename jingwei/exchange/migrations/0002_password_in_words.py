from django.db import migrations


class Migration(migrations.Migration):
    dependencies = [("exchange", "0001_initial")]

    operations = [migrations.AlterModelOptions(name="frontpassword", options={"verbose_name": "前置库口令"})]
