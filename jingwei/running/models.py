"""What the database knows of the machines that serve the instance."""

from django.db import models

from jingwei.base.access import Rows, Scope


class Fingerprint(models.Model):
    """A keyed digest of a secret that every machine must have alike; see `machines`. Tells nothing of it."""

    name = models.CharField("密钥", max_length=20, primary_key=True)
    digest = models.CharField("指纹", max_length=64)

    objects = Rows.as_manager()
    scope = Scope(shared=True)

    class Meta:
        verbose_name = "密钥指纹"

    def __str__(self):
        return self.name
