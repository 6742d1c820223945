"""Columns that hold a region without a foreign key."""

from django.db import models


class RegionCodeField(models.CharField):
    """A region's code on an event: no foreign key to check a million times, but it moves with the region."""

    def __init__(self, *args, **kwargs):
        super().__init__(*args, **{"max_length": 15, "db_collation": "C", **kwargs})

    def deconstruct(self):
        name, _, args, kwargs = super().deconstruct()
        return name, "django.db.models.CharField", args, kwargs
