from django.db import migrations


class Migration(migrations.Migration):
    dependencies = [("directory", "0007_wechat")]

    operations = [migrations.AlterModelOptions(name="secondfactor", options={"verbose_name": "双因素"})]
