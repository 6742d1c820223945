"""The columns of a list as the page, an export and the command line show them."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import date, datetime
from functools import cache
from typing import Any

from django.contrib.postgres.fields import ArrayField
from django.core.exceptions import FieldDoesNotExist
from django.db import models
from django.utils import timezone

from jingwei.base import codes
from jingwei.base.codes import CodeField
from jingwei.base.fields import Sealed, SealedField
from jingwei.base.resource import Column


def field_at(model, path):
    """The model field at `path` ("region__parent__name"), or None where the path leads nowhere."""
    field = None
    for name in path.split("__"):
        if field is not None:
            model = field.related_model
        try:
            field = model._meta.get_field(name)
        except (AttributeError, FieldDoesNotExist):
            return None
    return field


@dataclass(frozen=True)
class ListColumn:
    """One column: heading, the model field it sorts by ("" for none) and the fields it reads.

    `shown` says what a field of the row's own table shows, given its value alone; None for what is worked out
    or stands in another table.
    """

    name: str
    heading: str
    order: str
    needs: tuple[str, ...]
    read: Callable[[Any], Any]
    shown: Callable[[Any], Any] | None = None

    def value(self, row, clear=False):
        """What the cell holds: text, number, date, naive local time; personal ones masked unless `clear`."""
        return cell(self.read(row), clear)


def cell(value, clear=False):
    """A value as a cell holds it."""
    if isinstance(value, Sealed):
        return value.clear() if clear else value.masked()
    if isinstance(value, datetime) and timezone.is_aware(value):
        return timezone.make_naive(value)
    return "" if value is None else value


def text(value) -> str:
    """A cell's value in words: times to the second, as exports and the command line write them."""
    if isinstance(value, datetime):
        return f"{value:%Y-%m-%d %H:%M:%S}"
    if isinstance(value, date):
        return value.isoformat()
    return str(value)


def wording(field) -> Callable[[Any], Any]:
    """How a field's value is shown: labels of codes and choices, 是/否."""
    if isinstance(field, CodeField):
        return lambda value: codes.labels(field.dictionary).get(value, value)
    if isinstance(field, models.BooleanField):
        return lambda value: {True: "是", False: "否"}.get(value, "")
    if isinstance(field, ArrayField):
        return lambda value: "、".join(value or ())
    if field.choices:
        labels = dict(field.flatchoices)
        return lambda value: labels.get(value, "")
    return lambda value: value


def reader(field) -> Callable[[Any], Any]:
    """What a row shows of a field: its value, or the name of what it refers to."""
    name = field.name
    if isinstance(field, models.ForeignKey):
        return lambda row: "" if getattr(row, field.attname) is None else str(getattr(row, name))
    if isinstance(field, models.ManyToManyField):
        return lambda row: "、".join(str(other) for other in getattr(row, name).all())
    shown = wording(field)
    return lambda row: shown(getattr(row, name))


def list_column(model, declared) -> ListColumn:
    """The list column of a declared one: a field's name, a path over foreign keys, or a Column."""
    if isinstance(declared, Column):
        return ListColumn(
            declared.name, declared.heading, declared.order, tuple(declared.needs), declared.value
        )
    field = field_at(model, declared)
    *path, _ = declared.split("__")
    read = reader(field)

    def read_path(row):
        for step in path:
            row = getattr(row, step)
            if row is None:
                return None
        return read(row)

    sortable = not isinstance(field, SealedField | models.ManyToManyField | ArrayField | models.JSONField)
    return ListColumn(
        declared,
        str(field.verbose_name),
        declared if sortable else "",
        (declared,),
        read_path if path else read,
        None if path or field.is_relation else wording(field),
    )


@cache
def columns_of(resource) -> tuple[ListColumn, ...]:
    """Every column of a resource's list, the hidden ones included, in the declared order."""
    columns = [list_column(resource.model, declared) for declared in resource.columns]
    sorts = resource.sorts
    return tuple(c if sorts is None or c.name in sorts else replace(c, order="") for c in columns)


def link_of(resource) -> str:
    """The name of the column that opens a row."""
    return resource.link or columns_of(resource)[0].name


def fetch(queryset, needs, related=()):
    """`queryset` made to read just the fields and paths of `needs`, what they refer to in the same statement.

    `related` are further paths that labels read. Rows that are referred to come without documents and arrays:
    a name needs no boundary polygon.
    """
    model = queryset.model
    begun = {path.partition("__")[0] for path in needs}
    only, joined, several = {field.name for field in model._meta.pk_fields}, set(), []
    for path in [*needs, *(path for path in related if path.partition("__")[0] in begun)]:
        field = field_at(model, path)
        if isinstance(field, models.ManyToManyField):
            several.append(path)
            continue
        steps = path.split("__")
        if isinstance(field, models.ForeignKey):
            fields = field.related_model._meta.concrete_fields
            light = [f for f in fields if not isinstance(f, models.JSONField | ArrayField)]
            only |= {f"{path}__{f.name}" for f in light}
        else:
            only.add(path)
            steps.pop()
        joined |= {"__".join(steps[: depth + 1]) for depth in range(len(steps))}
    queryset = queryset.select_related(None).only(*only, *joined).prefetch_related(*several)
    return queryset.select_related(*joined) if joined else queryset
