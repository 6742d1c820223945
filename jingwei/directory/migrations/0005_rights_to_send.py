"""The shipped roles of operators held every right to short messages, the release of group sendings included.

Where they still do, they keep what is their work. A role in which somebody has chosen stays as it is.
"""

from django.db import migrations

ALL = {
    *("sms-messages.view", "sms-messages.export", "sms-messages.resend", "sms-messages.settle"),
    *("sms-messages.cancel", "sms-messages.clear", "sms-batches.view", "sms-batches.export"),
    *("sms-batches.release", "sms-batches.cancel", "sms-replies.view", "sms-replies.export"),
    *("sms-replies.clear", "sms-templates.view", "sms-templates.add", "sms-templates.change"),
    *("sms-templates.delete", "sms-templates.export", "sms-send.send"),
}
KEPT = {
    *("sms-messages.view", "sms-messages.resend", "sms-messages.settle", "sms-messages.cancel"),
    *("sms-batches.view", "sms-batches.cancel", "sms-replies.view", "sms-templates.view", "sms-send.send"),
}
READ = {"sms-messages.view", "sms-batches.view", "sms-replies.view", "sms-templates.view", "sms-outbox.view"}
# What each held, and what is taken away.
ROLES = {
    "区级操作员": (ALL, ALL - KEPT),
    "乡镇街道操作员": (ALL, ALL - KEPT),
    "村社区操作员": (ALL, ALL - KEPT),
    "领导查阅": (READ - {"sms-outbox.view"}, READ),
}


def narrow(apps, schema_editor):
    """Take away what is not their work."""
    roles = apps.get_model("directory", "Role").objects
    for role in roles.filter(name__in=ROLES):
        held, gone = ROLES[role.name]
        if held <= set(role.permissions):
            role.permissions = [permission for permission in role.permissions if permission not in gone]
            role.version += 1
            role.save(update_fields=["permissions", "version"])


class Migration(migrations.Migration):
    dependencies = [("directory", "0004_oa")]
    operations = [migrations.RunPython(narrow, migrations.RunPython.noop)]
