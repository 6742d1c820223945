from django.db import migrations


class Migration(migrations.Migration):
    dependencies = [("base", "0009_attachments")]

    operations = [migrations.AlterModelOptions(name="logkey", options={"verbose_name": "日志密钥"})]
