"""Columns of regions without a foreign key, and of networks."""

from django.contrib.postgres.fields import ArrayField
from django.core.exceptions import ValidationError
from django.db import models

from jingwei.kit.networks import clean_network


class RegionCodeField(models.CharField):
    """A region's code on an event: no foreign key to check a million times, but it moves with the region."""

    def __init__(self, *args, **kwargs):
        super().__init__(*args, **{"max_length": 15, "db_collation": "C", **kwargs})

    def deconstruct(self):
        name, _, args, kwargs = super().deconstruct()
        return name, "django.db.models.CharField", args, kwargs


class NetworksField(ArrayField):
    """Networks in CIDR notation from which one may sign in; none: from anywhere (SEC-19)."""

    def __init__(self, verbose_name, **kwargs):
        kwargs |= {"base_field": models.CharField(max_length=43), "default": list, "blank": True}
        super().__init__(verbose_name=verbose_name, **kwargs)

    def deconstruct(self):
        name, _, args, kwargs = super().deconstruct()
        return name, "django.contrib.postgres.fields.ArrayField", args, kwargs

    def clean(self, value, model_instance):
        try:
            return super().clean([clean_network(text) for text in value or []], model_instance)
        except ValueError as error:
            raise ValidationError(str(error)) from error
